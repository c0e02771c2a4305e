"""All files below a local folder, through links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from labelaudit.errors import DatasetError


class LocalFile(NamedTuple):
    """One file: its path relative to the listed folder, with slashes, and the `stat` of what it links to."""

    path: str
    status: os.stat_result


def local_files(root: str) -> Iterator[LocalFile]:
    """Yield the files below a folder. Links to files and folders are followed, except into a folder around them.

    fsspec skips folders that are links. A dataset made of links would lose whole classes.

    Raises:
        DatasetError: a link leads nowhere.
    """
    yield from _below(root, "", (os.path.realpath(root),))


def _below(folder: str, prefix: str, around: tuple[str, ...]) -> Iterator[LocalFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir():
            real = os.path.realpath(entry.path) if entry.is_symlink() else f"{around[-1]}/{entry.name}"
            if real not in around:
                yield from _below(entry.path, f"{prefix}{entry.name}/", (*around, real))
        elif entry.is_symlink() or entry.is_file():
            yield from _stat(entry, prefix)


def _stat(entry: os.DirEntry[str], prefix: str) -> Iterator[LocalFile]:
    try:
        yield LocalFile(prefix + entry.name, entry.stat())
    except FileNotFoundError as error:
        # A file that was removed while the folder was listed is gone. A link that leads nowhere is a mistake.
        if entry.is_symlink() and os.path.lexists(entry.path):
            raise DatasetError(
                f"{entry.path} is a link to a file that does not exist ({os.readlink(entry.path)}). Restore the file "
                "or remove the link."
            ) from error
