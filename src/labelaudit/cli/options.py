"""The config that a command works with, made from its options."""

from __future__ import annotations

import json

from labelaudit.cli.dataset_options import DatasetOptions
from labelaudit.config import AuditConfig, build_config
from labelaudit.config_files import is_config_file, read_config
from labelaudit.errors import ConfigError

# These options describe a dataset URL. A config file contains the same settings.
_DESCRIBING = ("label", "id", "input", "kind", "group", "ignore", "annotations", "slices")


def config_from(target: str, options: DatasetOptions | None = None) -> AuditConfig:
    """Return the config of a command.

    Args:
        target: A config file, or the URL of a dataset.
        options: The options of the command.

    Raises:
        ConfigError: The file or an option is not valid.
    """
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
            annotations=options.annotations,
            slices=options.slices or None,
        ),
        "output": given(url=options.output),
    }
    return build_config(values, overrides=options.set, source="the command line")


def given(**values: object) -> dict[str, object]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _config_file(target: str, options: DatasetOptions) -> AuditConfig:
    described = [f"--{name}" for name in _DESCRIBING if getattr(options, name)]
    if described:
        raise ConfigError(
            f"{', '.join(described)} describe a dataset URL, but {target} is a config file. Change the file, or use "
            "--set, for example --set dataset.label=label."
        )
    shortcuts = {"dataset.name": options.name, "dataset.version": options.version, "output.url": options.output}
    overrides = [
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in shortcuts.items() if value is not None
    ]
    return read_config(target, overrides=[*options.set, *overrides])
