"""The settings that decide findings, apart from the data, and how those of two audits differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labelaudit.audit_changes import ChangedSetting
from labelaudit.codec import Json, JsonObject, from_record
from labelaudit.config import DatasetConfig
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.text import listing

# Sections of the config that findings depend on. The keys of `dataset` that only name it are left out.
DECIDING = ("dataset", "model", "training", "cross_validation", "detection")
NAMING = ("url", "name", "version")
# Key of `dataset` that changes no flag, except of a table, whose other columns are the inputs.
_COMPARING = ("slices",)
# Packages that findings depend on. With external probabilities, nothing is trained here.
COMPUTING = ("python", "labelaudit", "torch", "torchvision", "scikit-learn", "cleanlab", "numpy", "pandas", "pyarrow")
DETECTING = ("python", "labelaudit", "cleanlab", "numpy", "pandas")
PROBABILITIES = "probabilities"
# Key among the columns of an audit of probabilities: no id column was named, so the ids are row numbers.
MADE_UP_IDS = "made_up_ids"
ROW_NUMBERS = (
    "Rows without an id column are identified by row number, and row numbers mean other rows in another version. "
    "Audit the probabilities again, and name their ids with --id."
)
_READING_DEFAULTS: JsonObject = DatasetConfig(url="").model_dump(mode="json", exclude=set(NAMING))
# Earlier releases trained the network alone.
_MODEL_DEFAULTS: JsonObject = {"views": "network", "encoder": None, "encoder_kwargs": {}}
# As many changed settings as a sentence shows; the summary has all.
SHOWN_SETTINGS = 8


@dataclass(frozen=True)
class DecisiveSettings:
    """The values that findings depend on, apart from the data. Earlier releases may have stored other names."""

    kind: str  # image, text, vector, table or probabilities
    config: JsonObject
    recipe: JsonObject
    code: str | None  # digest of a user's own network and local weights
    versions: dict[str, str | None]  # of packages

    @classmethod
    def of_audit(cls, audit: JsonObject) -> DecisiveSettings:
        """Return the decisive settings in the record of a plan, or in the manifest of an audit.

        Raises:
            ValueError: values have other types.
        """
        columns, config, versions = (_object(audit[name]) for name in ("columns", "config", "versions"))
        kind = str(columns.get("kind", PROBABILITIES))
        sections = {section: config[section] for section in DECIDING if section in config}
        dataset = _object(sections.pop("dataset", {}))
        if "model" in sections and audit.get("views"):
            sections["model"] = {**_object(sections["model"]), **_views_and_encoder(audit)}
        if kind != PROBABILITIES:
            # No dataset was read for probabilities, so it does not matter how to read one.
            sections["dataset"] = _reading(dataset, kind)
        packages = DETECTING if kind == PROBABILITIES else COMPUTING
        recorded = {name: versions.get(name) for name in packages}
        return from_record(
            cls,
            {
                "kind": kind,
                "config": sections,
                "recipe": audit["recipe"],
                "code": audit.get("code"),
                "versions": recorded,
            },
        )


def changed_settings(before: DecisiveSettings, now: DecisiveSettings) -> list[ChangedSetting]:
    """Return the settings that differ between two audits.

    A value of the recipe is what an `auto` of the config became, so it is listed only if no key of the config with the
    same name changed. Its cause is the first of config, package and code that changed, or the data if none did.
    """
    if before.kind != now.kind:
        # Then nearly everything else differs too.
        return [ChangedSetting("kind", before.kind, now.kind, "config")]
    changed = [
        *_differences("", _with_defaults(before), _with_defaults(now), "config"),
        *_differences("versions", {**before.versions}, {**now.versions}, "package"),
    ]
    if before.code != now.code:
        changed.append(ChangedSetting("model code", _short(before.code), _short(now.code), "code"))
    named = {setting.setting.rpartition(".")[2] for setting in changed}
    cause = changed[0].cause if changed else "data"
    recipe = _differences("recipe", before.recipe, now.recipe, cause)
    return changed + [setting for setting in recipe if setting.setting.rpartition(".")[2] not in named]


def _with_defaults(settings: DecisiveSettings) -> JsonObject:
    """Return the config with the keys that an earlier release does not have. It worked as these defaults say."""
    config = dict(settings.config)
    for section, defaults in (("dataset", _READING_DEFAULTS), ("model", _MODEL_DEFAULTS)):
        given = config.get(section)
        if isinstance(given, dict):
            config[section] = {**defaults, **given}
    return config


def _reading(dataset: JsonObject, kind: str) -> JsonObject:
    """Return how a dataset is read. It matters whether there are annotations, but not their URL."""
    idle = NAMING if kind == "table" else (*NAMING, *_COMPARING)
    reading = {name: value for name, value in dataset.items() if name not in idle}
    if reading.get("annotations") is not None:
        reading["annotations"] = "given"
    return reading


def _views_and_encoder(audit: JsonObject) -> JsonObject:
    """Return what these settings of the model became, because `auto` depends on the installed packages."""
    views, encoder = audit["views"], audit.get("encoder")
    names = [str(_object(view)["name"]) for view in views] if isinstance(views, list) else []
    # The key of the encoder covers its arguments.
    key = None if encoder is None else from_record(EncoderSpec, _object(encoder)).key
    return {"views": ", ".join(names), "encoder": key, "encoder_kwargs": {}}


def is_other_work(changed: Sequence[ChangedSetting]) -> bool:
    """Return whether anything but the data changed."""
    return any(setting.cause != "data" for setting in changed)


def other_work_in_words(changed: Sequence[ChangedSetting], version: str) -> str | None:
    """Return a sentence that names what changed apart from the data; None if nothing did."""
    settings = [in_words(setting) for setting in changed if setting.cause != "data"]
    if not settings:
        return None
    named = listing(settings, shown=SHOWN_SETTINGS, separator="; ")
    return f"Not only the data changed since {version}: {named}."


def in_words(setting: ChangedSetting) -> str:
    """Return a changed setting in the form `training.epochs 10 → 5`."""
    return f"{setting.setting} {_shown(setting.before)} \N{RIGHTWARDS ARROW} {_shown(setting.now)}"


def _differences(prefix: str, before: Json, now: Json, cause: str) -> list[ChangedSetting]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found: list[ChangedSetting] = []
        for name in sorted({*before, *now}):
            path = f"{prefix}.{name}" if prefix else str(name)
            found += _differences(path, before.get(name), now.get(name), cause)
        return found
    return [] if before == now else [ChangedSetting(prefix, before, now, cause)]


def _object(value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is not a JSON object")
    return value


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]


def _shown(value: Json) -> str:
    return "none" if value is None else str(value)
