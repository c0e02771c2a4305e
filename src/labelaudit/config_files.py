"""Config files: local or in storage, named by path, URL or, in deployed runs, by dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from labelaudit.config import AuditConfig, parse_config
from labelaudit.errors import ConfigError
from labelaudit.storage.store import Store

CONFIGS_VARIABLE = "LABELAUDIT_CONFIGS"
CONFIG_SUFFIXES = (".yaml", ".yml")


def is_config_file(target: str) -> bool:
    """Return whether a path or URL has the suffix of a config."""
    return Path(target.rpartition("://")[2]).suffix.lower() in CONFIG_SUFFIXES


def read_config(target: str, *, overrides: Iterable[str] = ()) -> AuditConfig:
    """Return the config in a YAML file, with `a.b=value` overrides on top.

    Raises:
        ConfigError: if the file cannot be read or the config is not valid.
    """
    return parse_config(_read_text(target), overrides=overrides, source=target)


def referenced_config(reference: str) -> AuditConfig:
    """Return the config that a deployed run names: a file below LABELAUDIT_CONFIGS; if that is not set, any file.

    Configs may name code. If the variable is set, users who may start runs or post events can only choose one of
    the files there.

    Raises:
        ConfigError: if there is not such a file, or the config is not valid.
    """
    url = config_url(reference)
    if "://" not in url and not Path(url).is_file():
        raise ConfigError(
            f"The config {url} does not exist. Put the dataset's YAML file there, or set {CONFIGS_VARIABLE} in the "
            "environment of the worker to the folder or URL that has it."
        )
    return read_config(url)


def config_url(reference: str) -> str:
    """Return the path or URL of the config that a deployed run names.

    Raises:
        ConfigError: if it is not below LABELAUDIT_CONFIGS.
    """
    root = os.environ.get(CONFIGS_VARIABLE)
    file = reference if is_config_file(reference) else f"{reference}.yaml"
    if not root:
        return file
    if "://" in file or file.startswith("/") or ".." in file.split("/"):
        raise ConfigError(
            f"The config {reference!r} is not below {CONFIGS_VARIABLE} ({root}), as deployed runs require. "
            "Name a file there, such as fruit.yaml."
        )
    return f"{root.rstrip('/')}/{file}"


def known_configs() -> list[str]:
    """Return the names of the config files below LABELAUDIT_CONFIGS, sorted.

    Raises:
        ConfigError: if the variable is not set.
    """
    root = os.environ.get(CONFIGS_VARIABLE)
    if not root:
        raise ConfigError(f"{CONFIGS_VARIABLE} is not set. Set it to the folder or URL of the dataset configs.")
    return [name for name in Store(root).children() if is_config_file(name)]


def _read_text(target: str) -> str:
    if "://" in target:
        folder, _, name = target.rpartition("/")
        data = Store(folder).read(name)
    else:
        try:
            data = Path(target).read_bytes()
        except OSError as error:
            raise ConfigError(f"The config {target} cannot be read: {error.strerror}. Check the path.") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"The config {target} is not valid UTF-8 (byte {error.start}). Save it as UTF-8.") from error
