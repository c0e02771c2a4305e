"""A file on this machine that is to be stored, and its checksum."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_PIECE_BYTES = 2**22


@dataclass(frozen=True)
class FileOnDisk:
    """A file on this machine that is to be stored. It is too large to be in memory."""

    path: Path
    bytes: int
    sha256: str  # that it must have
    is_temporary: bool  # whether it may be moved instead of copied

    @classmethod
    def of(cls, path: Path, sha256: str, *, is_temporary: bool) -> FileOnDisk:
        """Return a file with the checksum that it must have."""
        return cls(path, path.stat().st_size, sha256, is_temporary)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Read a file piece by piece."""
    while piece := file.read(_PIECE_BYTES):
        yield piece


class HashedFile:
    """A file that is written from its start to its end, and its sha256."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hasher.hexdigest()

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the sha256 in hex of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
