"""Image files next to a table, or in one folder per class."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property, partial

from labelaudit.data.formats import Format, format_by_name
from labelaudit.data.source import Source, SourceFile
from labelaudit.errors import StorageError
from labelaudit.read_ahead import mapped_ahead

MAX_FILE_BYTES = 64 << 20
# Many small requests to storage are much faster in parallel.
READ_THREADS = 16
MAX_BYTES_AT_ONCE = 32 << 20  # of files that are read ahead
FILES_AHEAD = 2 * READ_THREADS  # files of unknown sizes that are read ahead


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
        for path in _candidates(table_path, reference):
            if path in self._sizes:
                return path
        return self._only_ones.get(posixpath.basename(reference.replace("\\", "/")))

    def load(self, table_path: str, references: Sequence[str | None]) -> Iterator[tuple[bytes | None, str]]:
        """Yield what `read` yields for the files that a table means by its references."""
        return self.read([self.find(table_path, reference) if reference else None for reference in references])

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


class NamedImageFiles:
    """Image files that are opened by their names, because a listing of millions of files takes long.

    Args:
        source: the dataset's files.
        list_all: returns all image files. Called only if a reference is not the path of a file.
    """

    def __init__(self, source: Source, list_all: Callable[[], ImageFiles]) -> None:
        self._source = source
        self._list_all = list_all
        self._listed: ImageFiles | None = None

    def read(self, paths: Sequence[str]) -> Iterator[tuple[bytes | None, str]]:
        """Yield (bytes, "") for each file.

        Raises:
            StorageError: a file is missing or cannot be read.
        """
        return mapped_ahead(self._read, paths, READ_THREADS, FILES_AHEAD)

    def load(self, table_path: str, references: Sequence[str | None]) -> Iterator[tuple[bytes | None, str]]:
        """Yield what `ImageFiles.load` yields for files that it finds."""
        start = 0
        if self._listed is None:
            load = partial(self._load, table_path)
            with closing(mapped_ahead(load, references, READ_THREADS, FILES_AHEAD)) as loaded:
                for pair in loaded:
                    if pair is None:
                        self._listed = self._list_all()
                        break
                    yield pair
                    start += 1
        if self._listed is not None:
            yield from self._listed.load(table_path, references[start:])

    def _read(self, path: str) -> tuple[bytes, str]:
        with self._source.open(path) as handle:
            return handle.read(MAX_FILE_BYTES), ""

    def _load(self, table_path: str, reference: str | None) -> tuple[bytes | None, str] | None:
        """Return what `load` yields for a reference; None if a listing is needed."""
        if not reference:
            return None, "it has no path"
        for path in _candidates(table_path, reference):
            # Hidden files are not part of the dataset, and neither are those outside of it.
            if any(part.startswith((".", "_")) or not part for part in path.split("/")):
                return None
            # Only its content says whether another file is an image, and the listing has looked at it.
            if format_by_name(path) is not Format.IMAGE:
                return None
            try:
                return self._read(path)
            except StorageError as error:
                if error.transient:
                    raise
        return None


def _candidates(table_path: str, reference: str) -> list[str]:
    """Return the paths that a table may mean by a reference, the likeliest first."""
    reference = reference.replace("\\", "/")
    return [posixpath.normpath(posixpath.join(base, reference)) for base in (posixpath.dirname(table_path), "")]
