"""What a dataset's files look like to this room: a listing and a way to open each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol


class SourceFile(Protocol):
    """One file of a dataset: its path relative to the dataset's root, and its size in bytes."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...


class Source(Protocol):
    """The files of one dataset version, wherever they are stored."""

    url: str

    def files(self) -> Sequence[SourceFile]:
        """All files, sorted by path; those whose name begins with "_" or "." are left out."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Opens a file for reading, seekable; may be called from several threads.

        Raises:
            StorageError: the file is missing or cannot be reached.
        """
        ...
