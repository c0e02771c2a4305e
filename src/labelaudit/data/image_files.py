"""Image files next to a table, or in one folder per class."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from labelaudit.data.source import Source, SourceFile

MAX_FILE_BYTES = 64 << 20
# Many small requests to storage are much faster in parallel.
READ_THREADS = 16
MAX_BYTES_AT_ONCE = 32 << 20  # of files that are read ahead


def image_sizes(images: Sequence[SourceFile]) -> dict[str, int]:
    """Return the size in bytes of each image file, by path."""
    return {file.path: file.size for file in images}


def find_image(sizes: Mapping[str, int], table_path: str, reference: str) -> str | None:
    """Return the file that a table means by `reference`: relative to the table, else to the dataset's root.

    Returns None if it is not one of the dataset's files. So no reference ("../..", "/etc") leads out of the dataset.
    """
    reference = reference.replace("\\", "/")
    for base in (posixpath.dirname(table_path), ""):
        path = posixpath.normpath(posixpath.join(base, reference))
        if path in sizes:
            return path
    return None


def read_images(
    source: Source, sizes: Mapping[str, int], paths: Sequence[str | None]
) -> Iterator[tuple[bytes | None, str]]:
    """Yield (bytes, "") for each file, or (None, reason) if it is missing or too large.

    Raises:
        StorageError: a listed file cannot be read.
    """
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for portion in _portions(sizes, paths):
            yield from pool.map(lambda path: _read(source, sizes, path), portion)


def _portions(sizes: Mapping[str, int], paths: Sequence[str | None]) -> Iterator[list[str | None]]:
    """Yield the paths in order, in lists of files that fit into memory together."""
    portion: list[str | None] = []
    size = 0
    for path in paths:
        added = 0 if path is None else min(sizes[path], MAX_FILE_BYTES)
        if portion and size + added > MAX_BYTES_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(path)
        size += added
    if portion:
        yield portion


def _read(source: Source, sizes: Mapping[str, int], path: str | None) -> tuple[bytes | None, str]:
    if path is None:
        return None, "no such image file in the dataset"
    if sizes[path] > MAX_FILE_BYTES:
        return None, f"{sizes[path] >> 20} MiB are more than {MAX_FILE_BYTES >> 20}"
    with source.open(path) as handle:
        return handle.read(MAX_FILE_BYTES), ""
