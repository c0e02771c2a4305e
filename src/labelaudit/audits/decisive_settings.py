"""What the findings of an audit follow from besides its data, and what of it changed since another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labelaudit.codec import Json, JsonObject, from_record
from labelaudit.findings import ChangedSetting
from labelaudit.text import listing

# Of the config: what findings depend on. Of `dataset` what names it is left out, and how it is read stays.
DECIDING = ("dataset", "model", "training", "cross_validation", "detection")
NAMING = ("url", "name", "version")
# Packages that compute; of probabilities from outside nothing is trained here.
COMPUTING = ("python", "labelaudit", "torch", "torchvision", "scikit-learn", "cleanlab", "numpy", "pandas", "pyarrow")
DETECTING = ("python", "labelaudit", "cleanlab", "numpy", "pandas")
PROBABILITIES = "probabilities"
# Among the columns of an audit of probabilities: no column of ids was named, so rows are called by their numbers.
MADE_UP_IDS = "made_up_ids"
ROW_NUMBERS = (
    "rows without ids of their own are called by their row numbers, which mean other rows in another version. "
    "Audit the probabilities again and name their ids with --id."
)
# Changed settings in a sentence; all are in the summary.
SHOWN_SETTINGS = 8


@dataclass(frozen=True)
class DecisiveSettings:
    """The values that findings depend on besides the data. Audits of earlier releases may have other names in them."""

    kind: str  # image, text, table or probabilities
    config: JsonObject
    recipe: JsonObject
    code: str | None  # digest of a user's own network and local weights
    versions: dict[str, str | None]  # of packages

    @classmethod
    def of_audit(cls, audit: JsonObject) -> DecisiveSettings:
        """The decisive part of what the plan or the manifest of an audit says. Raises `ValueError` for other JSON."""
        columns, config, versions = (_object(audit[name]) for name in ("columns", "config", "versions"))
        kind = str(columns.get("kind", PROBABILITIES))
        sections = {section: config[section] for section in DECIDING if section in config}
        dataset = _object(sections.pop("dataset", {}))
        if kind != PROBABILITIES:
            # How a dataset is read means nothing if none was read.
            sections["dataset"] = {name: value for name, value in dataset.items() if name not in NAMING}
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
    """What differs between the deciding values of two audits, by setting.

    Values of the recipe stand for an `auto` of the config: they are named where no key of the config explains them.
    Their cause is the first of config, package and code that changed, and the data where none did.
    """
    if before.kind != now.kind:
        # Nearly everything else differs because of it.
        return [ChangedSetting("kind", before.kind, now.kind, "config")]
    changed = [
        *_differences("", before.config, now.config, "config"),
        *_differences("versions", {**before.versions}, {**now.versions}, "package"),
    ]
    if before.code != now.code:
        changed.append(ChangedSetting("model code", _short(before.code), _short(now.code), "code"))
    named = {setting.setting.rpartition(".")[2] for setting in changed}
    cause = changed[0].cause if changed else "data"
    recipe = _differences("recipe", before.recipe, now.recipe, cause)
    return changed + [setting for setting in recipe if setting.setting.rpartition(".")[2] not in named]


def is_other_work(changed: Sequence[ChangedSetting]) -> bool:
    """Whether anything but the data changed."""
    return any(setting.cause != "data" for setting in changed)


def other_work_in_words(changed: Sequence[ChangedSetting], version: str) -> str | None:
    """That not only the data changed since another version, and what else did; None where nothing else did."""
    settings = [in_words(setting) for setting in changed if setting.cause != "data"]
    if not settings:
        return None
    named = listing(settings, shown=SHOWN_SETTINGS, separator="; ")
    return f"Not only the data changed since {version}: {named}."


def in_words(setting: ChangedSetting) -> str:
    """`training.epochs 10 → 5`."""
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
