"""Image files next to a table, or in one folder per class."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from labelaudit.data.source import Source, SourceFile

MAX_FILE_BYTES = 64 << 20
# Many small requests to storage are much faster in parallel.
READ_THREADS = 16
MAX_BYTES_AT_ONCE = 32 << 20  # of files that are read ahead


class ImageFiles:
    """The image files of a dataset, found by the references in its tables."""

    def __init__(self, source: Source, files: Sequence[SourceFile]) -> None:
        self._source = source
        self._sizes = {file.path: file.size for file in files}

    def __len__(self) -> int:
        return len(self._sizes)

    def find(self, table_path: str, reference: str) -> str | None:
        """Return the path of the file that a table means by `reference`; None if it is not one of the dataset's files.

        That is the file at this path relative to the table, else to the dataset's root, else the only file of this
        name, with or without its suffix. So no reference ("../..", "/etc") leads out of the dataset.
        """
        reference = reference.replace("\\", "/")
        for base in (posixpath.dirname(table_path), ""):
            path = posixpath.normpath(posixpath.join(base, reference))
            if path in self._sizes:
                return path
        return self._only_ones.get(posixpath.basename(reference))

    def read(self, paths: Sequence[str | None]) -> Iterator[tuple[bytes | None, str]]:
        """Yield (bytes, "") for each file, or (None, reason) if it is missing or too large.

        Raises:
            StorageError: a listed file cannot be read.
        """
        with ThreadPoolExecutor(READ_THREADS) as pool:
            for portion in self._portions(paths):
                yield from pool.map(self._read, portion)

    @cached_property
    def _only_ones(self) -> dict[str, str]:
        """The path of each file by its name, and by its name without suffix, if no other file has that name."""
        found: dict[str, str] = {}
        repeated: set[str] = set()
        for path in self._sizes:
            name = posixpath.basename(path)
            for key in {name, posixpath.splitext(name)[0]}:
                if key in found:
                    repeated.add(key)
                found[key] = path
        return {key: path for key, path in found.items() if key not in repeated}

    def _portions(self, paths: Sequence[str | None]) -> Iterator[list[str | None]]:
        """Yield the paths in order, in lists of files that fit into memory together."""
        portion: list[str | None] = []
        size = 0
        for path in paths:
            added = 0 if path is None else min(self._sizes[path], MAX_FILE_BYTES)
            if portion and size + added > MAX_BYTES_AT_ONCE:
                yield portion
                portion, size = [], 0
            portion.append(path)
            size += added
        if portion:
            yield portion

    def _read(self, path: str | None) -> tuple[bytes | None, str]:
        if path is None:
            return None, "no such image file in the dataset"
        if self._sizes[path] > MAX_FILE_BYTES:
            return None, f"{self._sizes[path] >> 20} MiB are more than {MAX_FILE_BYTES >> 20}"
        with self._source.open(path) as handle:
            return handle.read(MAX_FILE_BYTES), ""
