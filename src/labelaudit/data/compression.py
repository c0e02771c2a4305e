"""Compressed data files, read as if they were not compressed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa

from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

if TYPE_CHECKING:
    from typing_extensions import Buffer

# What the decoders raise for damaged files.
_ERRORS = (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")


def without_compression(path: str) -> str:
    """Return a path without the suffix of a compression: `a.csv.gz` is `a.csv`."""
    return path[: -len(suffix)] if (suffix := _suffix(path)) else path


class _Content(io.RawIOBase):
    """The content of a compressed file. Closing it closes the file too."""

    def __init__(self, content: io.RawIOBase, file: BinaryIO, path: str) -> None:
        self._content, self._file, self._path = content, file, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        try:
            return self._content.readinto(buffer)
        except (OSError, *_ERRORS) as error:
            # Errors of the system or network have a number. A retry may help.
            if getattr(error, "errno", None) is not None:
                raise
            raise DatasetError(
                f"{self._path} cannot be decompressed ({' '.join(str(error).split())}). Write the file again."
            ) from error

    def close(self) -> None:
        super().close()
        self._content.close()
        self._file.close()


def open_decompressed(source: Source, path: str) -> BinaryIO:
    """Open a file for reading from its start; the content of a compressed one.

    Raises:
        DatasetError: the file is damaged (also while it is read), or an archive does not contain exactly one file.
        StorageError: the file is missing or cannot be read.
    """
    suffix = _suffix(path)
    file = source.open(path)
    if not suffix:
        return file
    try:
        content = cast("io.RawIOBase", _OPEN[suffix](file, path))
        return cast("BinaryIO", io.BufferedReader(_Content(content, file, path)))
    except BaseException:
        file.close()
        raise


def _suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def _open_zip(file: BinaryIO, path: str) -> object:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise DatasetError(f"{path} is not a zip archive that can be read ({error}). Write the file again.") from error
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir() and not _is_extra(entry.filename)]
    if len(names) != 1:
        raise DatasetError(f"{path} contains {len(names)} files, but one is expected. Unpack it.")
    return archive.open(names[0])


def _is_extra(name: str) -> bool:
    """Return whether macOS added a file to an archive."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith((".DS_Store", "._"))


_OPEN: dict[str, Callable[[BinaryIO, str], object]] = {
    ".gz": lambda file, _: gzip.GzipFile(fileobj=file),
    ".bz2": lambda file, _: bz2.BZ2File(file),
    ".xz": lambda file, _: lzma.LZMAFile(file),  # noqa: SIM115, `_Content` closes it
    ".zst": lambda file, _: pa.CompressedInputStream(file, "zstd"),
    ".zip": _open_zip,
}
