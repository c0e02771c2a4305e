"""Packages that only some encoders need, imported when such an encoder is used. Imports no torch."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from labelaudit.errors import ConfigError

_EXTRA = "pip install 'labelaudit[encoders]'"
# Packages that the extra does not install.
_COMMANDS = {"timm": "pip install timm", "open_clip": "pip install open_clip_torch"}


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def check_installed(package: str, encoder: str) -> None:
    """Check that a package can be imported, without importing it.

    Raises:
        ConfigError: It is not installed.
    """
    if not is_installed(package):
        raise ConfigError(_missing(package, encoder))


def require_package(package: str, encoder: str) -> ModuleType:
    """Import a package that an encoder needs.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(_missing(package, encoder)) from error


def file_of_package(package: str, *parts: str, encoder: str) -> Path:
    """Return the path of a file inside a package, without importing the package.

    Raises:
        ConfigError: The package is not installed, or does not contain the file.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(_missing(package, encoder))
    path = Path(found.origin).parent.joinpath(*parts)
    if not path.is_file():
        raise ConfigError(
            f"The package {package}, which contains the weights of encoder {encoder!r}, has no file "
            f"{'/'.join(parts)}. Install the package again: {_EXTRA}."
        )
    return path


def _missing(package: str, encoder: str) -> str:
    command = _COMMANDS.get(package, _EXTRA)
    return f"The encoder {encoder!r} needs the package {package}, which is not installed. Install it: {command}."
