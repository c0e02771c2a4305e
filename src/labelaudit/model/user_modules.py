"""Modules of a user that a config names, such as that of a network (`model.network: nets:build`)."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


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
