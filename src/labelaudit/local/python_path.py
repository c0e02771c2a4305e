"""The module search path of commands and worker processes: installed packages first, the user's folder last."""

from __future__ import annotations

import os
import sys


def append_working_directory() -> None:
    """Let imports find modules in the working directory, such as a user's network (`model.network: nets:build`).

    The directory comes last, so that a file such as `random.py` in it does not replace the standard library's module.
    """
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this Python with arguments such as `-m`, `module`."""
    # Without -P, both -m and -c put the working directory first on the path.
    return [sys.executable, "-P", *arguments]


def python_path() -> str:
    """Return a PYTHONPATH with which a new interpreter finds modules where this one does, and in the same order."""
    folder = os.getcwd()
    return os.pathsep.join(dict.fromkeys([*(entry or folder for entry in sys.path), folder]))
