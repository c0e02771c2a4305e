"""How this package sees a dataset's files: as a listing, with a way to open each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, NamedTuple, Protocol


class SourceFile(Protocol):
    """One file of a dataset: its path relative to the dataset's root, and its size in bytes."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...


class NamedFile(NamedTuple):
    """A file that is known only by its path."""

    path: str
    size: int = 0


class Source(Protocol):
    """The files of one dataset version, in any storage."""

    url: str

    def files(self) -> Sequence[SourceFile]:
        """Return all files, sorted by path, without those whose name begins with "_" or "."."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading. The file is seekable; several threads may call this at once.

        Raises:
            StorageError: the file is missing or cannot be read.
        """
        ...
