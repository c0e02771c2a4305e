"""Modules of a user that a config names, such as that of a network (`model.network: nets:build`)."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from labelaudit.errors import ConfigError


def find_user_module(name: str) -> ModuleSpec | None:
    """Return where a named module is: where Python finds it, else in the working directory; None if it is nowhere.

    If it is in the working directory, that is appended to the search path: the module may import others next to it. No
    file there replaces a module that Python finds elsewhere.

    Raises:
        ImportError: A parent package cannot be imported.
        ValueError: The name is not the name of a module.
    """
    package = name.partition(".")[0]
    folder = os.getcwd()
    if importlib.util.find_spec(package) is None and PathFinder.find_spec(package, [folder]) is not None:
        sys.path.append(folder)
        importlib.invalidate_caches()
    return importlib.util.find_spec(name)


def import_user_module(name: str) -> ModuleType:
    """Import a module that a config names.

    Raises:
        ImportError: It is not found or cannot be imported.
        ValueError: The name is not the name of a module.
    """
    find_user_module(name)
    return importlib.import_module(name)


def import_callable(name: str, *, subject: str, example: str) -> Callable[..., Any]:
    """Import a function or class that a config names.

    Args:
        name: `<module>:<name>`.
        subject: What it builds, as a message calls it, such as "Network".
        example: A name in the right form, for a message.

    Raises:
        ConfigError: It cannot be imported, or it is not callable.
    """
    path, _, attribute = name.partition(":")
    try:
        found = getattr(import_user_module(path), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{subject} {name!r} cannot be imported: {error}. Install its package on the machines of the workers, and "
            f"write the name as {example}."
        ) from error
    if not callable(found):
        raise ConfigError(f"{subject} {name!r} is a {type(found).__name__}. Name a function or a class.")
    factory: Callable[..., Any] = found
    return factory


def code_sha256(name: str) -> str | None:
    """Return the digest of the file of a module that a config names as `<module>:<name>`; None if it is not found."""
    try:
        found = find_user_module(name.partition(":")[0])
    except (ImportError, ValueError):
        return None
    if found is None or not found.origin or not Path(found.origin).is_file():
        return None
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()
