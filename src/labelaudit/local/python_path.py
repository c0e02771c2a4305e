"""The module search path of commands and worker processes, which never contains a folder by accident.

Python searches the working directory first in `python -m` and `python -c`, and for an empty entry of PYTHONPATH. A file
such as `random.py` or `sitecustomize.py` next to a dataset would then run. Only the module of a network that a config
names is searched there (`labelaudit.model.user_modules`).
"""

from __future__ import annotations

import os
import sys

_PYTHONPATH = "PYTHONPATH"


def leave_out_working_directory() -> None:
    """Remove the working directory from the search path of this process and of those that it starts.

    It stays if PYTHONPATH names it.
    """
    sys.path[:] = _without_working_directory()
    if _PYTHONPATH in os.environ:
        os.environ[_PYTHONPATH] = os.pathsep.join(_named())


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this Python with arguments such as `-m`, `module`."""
    # Without -P, both -m and -c put the working directory first on the path.
    return [sys.executable, "-P", *arguments]


def python_environment() -> dict[str, str]:
    """Return the environment of a new interpreter that finds modules where this one does, and in the same order.

    The working directory is left out in the same way.
    """
    # With PYTHONSAFEPATH, the processes that it starts leave out the working directory too.
    path = os.pathsep.join(dict.fromkeys(_without_working_directory()))
    return {**os.environ, _PYTHONPATH: path, "PYTHONSAFEPATH": "1"}


def _without_working_directory() -> list[str]:
    folder = os.getcwd()
    if folder in map(os.path.abspath, _named()):
        return [entry or folder for entry in sys.path]
    return [entry for entry in sys.path if entry and os.path.abspath(entry) != folder]


def _named() -> list[str]:
    """Return the entries of PYTHONPATH that are not empty."""
    return [entry for entry in os.environ.get(_PYTHONPATH, "").split(os.pathsep) if entry]
