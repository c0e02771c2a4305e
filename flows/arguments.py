"""From the arguments of a command to a config."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelaudit.config import AuditConfig, build_config, parse_config
from labelaudit.errors import ConfigError
from labelaudit.storage.store import Store

CONFIGS_VARIABLE = "LABELAUDIT_CONFIGS"
CONFIG_SUFFIXES = (".yaml", ".yml")
_NO_OPTIONS: dict[str, Any] = {
    **dict.fromkeys(("name", "dataset_version", "label", "id_column", "kind", "group", "output")),
    "inputs": (),
    "ignore": (),
    "overrides": (),
}


def config_from(target: str, options: Mapping[str, Any] | None = None) -> AuditConfig:
    """Config from a file, or from a dataset URL and the options that describe it."""
    options = {**_NO_OPTIONS, **(options or {})}
    if Path(target.rpartition("://")[2]).suffix.lower() in CONFIG_SUFFIXES:
        return _config_file(target, options)
    inputs = options["inputs"]
    values = {
        "dataset": given(
            url=target,
            name=options["name"],
            version=options["dataset_version"],
            label=options["label"],
            id=options["id_column"],
            input=inputs[0] if len(inputs) == 1 else inputs or None,
            kind=options["kind"],
            group=options["group"],
            ignore=options["ignore"] or None,
        ),
        "output": given(url=options["output"]),
    }
    return build_config(values, overrides=options["overrides"], source="the command line")


def _config_file(target: str, options: Mapping[str, Any]) -> AuditConfig:
    described = [name for name in ("label", "id_column", "inputs", "kind", "group", "ignore") if options[name]]
    if described:
        names = ", ".join("--" + {"id_column": "id", "inputs": "input"}.get(name, name) for name in described)
        raise ConfigError(
            f"{names} describe a dataset URL, but {target} is a config file. Write them there, or use "
            "--set, for example --set dataset.label=label."
        )
    shortcuts = {
        "dataset.name": options["name"],
        "dataset.version": options["dataset_version"],
        "output.url": options["output"],
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in shortcuts.items() if value is not None]
    return parse_config(_read_text(target), overrides=[*options["overrides"], *overrides], source=target)


def _read_text(target: str) -> str:
    if "://" in target:
        folder, _, name = target.rpartition("/")
        data = Store(folder).read(name)
    else:
        try:
            data = Path(target).read_bytes()
        except OSError as error:
            raise ConfigError(f"The config {target} cannot be read: {error.strerror}.") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"The config {target} is not UTF-8 text (byte {error.start}).") from error


def given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def referenced_config(reference: str) -> AuditConfig:
    """The config that a deployed run names: a file below LABELAUDIT_CONFIGS, or anywhere where that is not set.

    Where the variable is set, whoever may start runs or post events chooses among the files there, and cannot
    bring a config, which may name code, of their own. Raises `ConfigError`.
    """
    url = config_url(reference)
    if "://" not in url and not Path(url).is_file():
        raise ConfigError(
            f"There is no config {url}. Put the dataset's YAML file there, or set {CONFIGS_VARIABLE} in the "
            "environment of the worker to the folder or URL that has it."
        )
    return config_from(url)


def config_url(reference: str) -> str:
    """Path or URL of the config that a name stands for."""
    root = os.environ.get(CONFIGS_VARIABLE)
    file = reference if Path(reference).suffix.lower() in CONFIG_SUFFIXES else f"{reference}.yaml"
    if not root:
        return file
    if "://" in file or file.startswith("/") or ".." in file.split("/"):
        raise ConfigError(
            f"The config {reference!r} is not below {CONFIGS_VARIABLE} ({root}), which deployed runs are held to. "
            "Name a file there, such as fruit.yaml."
        )
    return f"{root.rstrip('/')}/{file}"


def known_configs() -> list[str]:
    """Names of the config files below LABELAUDIT_CONFIGS, sorted. Raises `ConfigError` where it is not set."""
    root = os.environ.get(CONFIGS_VARIABLE)
    if not root:
        raise ConfigError(f"{CONFIGS_VARIABLE} is not set. Set it to the folder or URL of the dataset configs.")
    return [name for name in Store(root).children() if Path(name).suffix.lower() in CONFIG_SUFFIXES]
