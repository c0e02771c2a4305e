"""What the findings of an audit follow from besides its data, and what of it changed since another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
class ChangedSetting:
    """A value that differs between two audits. `cause`: config, code, package, or data (an `auto` that follows it)."""

    setting: str  # such as training.epochs
    before: Any
    now: Any
    cause: str


def has_made_up_ids(audit: Mapping[str, Any]) -> bool:
    """Whether the ids of an audit are row numbers, which mean other rows in another version.

    `audit` has the key `columns` of a manifest.
    """
    return bool(audit["columns"].get(MADE_UP_IDS))


def deciding(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The deciding values of an audit: config, recipe, code and package versions.

    `audit` has the keys of a manifest: config, columns, recipe, versions, code.
    """
    kind = audit["columns"].get("kind", PROBABILITIES)
    config = {section: audit["config"][section] for section in DECIDING if section in audit["config"]}
    packages = DETECTING if kind == PROBABILITIES else COMPUTING
    dataset = {name: value for name, value in config.pop("dataset", {}).items() if name not in NAMING}
    return {
        "kind": kind,
        # How a dataset is read means nothing where none was read.
        "config": config if kind == PROBABILITIES else {"dataset": dataset, **config},
        "recipe": audit["recipe"],
        "code": audit.get("code"),
        "versions": {name: audit["versions"].get(name) for name in packages},
    }


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[ChangedSetting]:
    """What differs between the deciding values of two audits, by setting.

    Values of the recipe stand for an `auto` of the config: they are named where no key of the config explains them.
    Their cause is the first of config, package and code that changed, and the data where none did.
    """
    if before["kind"] != now["kind"]:
        # Nearly everything else differs because of it.
        return [ChangedSetting("kind", before["kind"], now["kind"], "config")]
    changed = [
        *_differences("", before["config"], now["config"], "config"),
        *_differences("versions", before["versions"], now["versions"], "package"),
    ]
    if before["code"] != now["code"]:
        changed.append(ChangedSetting("model code", _short(before["code"]), _short(now["code"]), "code"))
    named = {setting.setting.rpartition(".")[2] for setting in changed}
    cause = changed[0].cause if changed else "data"
    recipe = _differences("recipe", before["recipe"], now["recipe"], cause)
    return changed + [setting for setting in recipe if setting.setting.rpartition(".")[2] not in named]


def is_other_work(changed: list[ChangedSetting]) -> bool:
    """Whether anything but the data changed."""
    return any(setting.cause != "data" for setting in changed)


def other_work_in_words(changed: list[ChangedSetting], version: str) -> str | None:
    """That not only the data changed since another version, and what else did; None where nothing else did."""
    settings = [in_words(setting) for setting in changed if setting.cause != "data"]
    if not settings:
        return None
    named = listing(settings, shown=SHOWN_SETTINGS, separator="; ")
    return f"Not only the data changed since {version}: {named}."


def in_words(setting: ChangedSetting) -> str:
    """`training.epochs 10 → 5`."""
    return f"{setting.setting} {_shown(setting.before)} \N{RIGHTWARDS ARROW} {_shown(setting.now)}"


def as_records(changed: list[ChangedSetting]) -> list[dict[str, Any]]:
    return [asdict(setting) for setting in changed]


def _differences(prefix: str, before: Any, now: Any, cause: str) -> list[ChangedSetting]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found: list[ChangedSetting] = []
        for name in sorted({*before, *now}):
            path = f"{prefix}.{name}" if prefix else str(name)
            found += _differences(path, before.get(name), now.get(name), cause)
        return found
    # A tuple of a fresh record and the list that JSON makes of it are the same.
    same = list(before) == list(now) if _is_list(before) and _is_list(now) else before == now
    return [] if same else [ChangedSetting(prefix, before, now, cause)]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
