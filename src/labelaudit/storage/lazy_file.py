"""A stored object as a file whose reads are retried."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from labelaudit.errors import StorageUnavailableError


class LazyFile(io.BufferedIOBase):
    """An open fsspec file that is fetched as it is read.

    Args:
        file: the fsspec file.
        place: the URL that messages name.
        call: calls a function with arguments, and retries it. Each read goes through it.
    """

    def __init__(self, file: BinaryIO, place: str, call: Callable[..., bytes]) -> None:
        self._file = file
        self._place = place
        self._call = call
        self._size: int | None = getattr(file, "size", None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        return self._call(self._read, self.tell(), -1 if size is None else size)

    def read1(self, size: int = -1) -> bytes:
        return self.read(size)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _read(self, position: int, size: int) -> bytes:
        # A failed try may have changed the position.
        if self._file.tell() != position:
            self._file.seek(position)
        data: bytes = self._file.read(size)
        if self._size is not None:
            expected = max(0, self._size - position)
            # A body that was cut must not look like the end of the file.
            if len(data) < (expected if size < 0 else min(size, expected)):
                raise StorageUnavailableError(
                    f"Reading {self._place} ended after {position + len(data):,} of {self._size:,} bytes. "
                    "Run the audit again."
                )
        return data
