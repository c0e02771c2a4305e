"""Options of commands that describe a dataset, and the config that they make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from labelaudit.config import AuditConfig, build_config
from labelaudit.config_files import is_config_file, read_config
from labelaudit.errors import ConfigError

# Options that describe a dataset URL; a config file says the same itself.
_DESCRIBING = ("label", "id", "input", "kind", "group", "ignore")


@dataclass(frozen=True)
class DatasetOptions:
    """What a command was told about a dataset besides its config or URL; `set` are overrides such as a.b=value."""

    name: str | None = None
    version: str | None = None
    label: str | None = None
    id: str | None = None
    input: tuple[str, ...] = ()
    kind: str | None = None
    group: str | None = None
    ignore: tuple[str, ...] = ()
    output: str | None = None
    set: tuple[str, ...] = ()


def config_from(target: str, options: DatasetOptions | None = None) -> AuditConfig:
    """The config in a file, or of a dataset URL and the options that describe it. Raises `ConfigError`."""
    options = options or DatasetOptions()
    if is_config_file(target):
        return _config_file(target, options)
    values = {
        "dataset": given(
            url=target,
            name=options.name,
            version=options.version,
            label=options.label,
            id=options.id,
            input=options.input[0] if len(options.input) == 1 else options.input or None,
            kind=options.kind,
            group=options.group,
            ignore=options.ignore or None,
        ),
        "output": given(url=options.output),
    }
    return build_config(values, overrides=options.set, source="the command line")


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _config_file(target: str, options: DatasetOptions) -> AuditConfig:
    described = [f"--{name}" for name in _DESCRIBING if getattr(options, name)]
    if described:
        raise ConfigError(
            f"{', '.join(described)} describe a dataset URL, but {target} is a config file. Write them there, or use "
            "--set, for example --set dataset.label=label."
        )
    shortcuts = {"dataset.name": options.name, "dataset.version": options.version, "output.url": options.output}
    overrides = [f"{key}={json.dumps(value)}" for key, value in shortcuts.items() if value is not None]
    return read_config(target, overrides=[*options.set, *overrides])
