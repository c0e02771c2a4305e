"""The format of a file, by its name or by its first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from labelaudit.data.compression import open_decompressed, without_compression
from labelaudit.data.images import looks_like_image
from labelaudit.data.source import Source, SourceFile
from labelaudit.errors import DatasetError


class Format(StrEnum):
    """What a file contains, as far as its name or its first bytes show."""

    PARQUET = "parquet"
    ARROW = "arrow"
    CSV = "csv"
    JSONL = "jsonl"
    IMAGE = "image"
    UNSUPPORTED = "unsupported"  # data, but of a format that is not read
    OTHER = "other"  # not data: documentation, code, checksums, …


TABLE_FORMATS = (Format.PARQUET, Format.ARROW, Format.CSV, Format.JSONL)
TABLE_SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".parq": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".tab": Format.CSV,
    ".psv": Format.CSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
}
# fmt: off
# Pictures that cannot be decoded are rows too; they get the status `unreadable`.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)
_UNDECODED_SUFFIXES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".dcm", ".dng", ".cr2", ".cr3", ".nef", ".arw",
    ".orf", ".rw2", ".raf", ".tga", ".exr", ".hdr",
)
_UNSUPPORTED_SUFFIXES = (
    ".xlsx", ".xls", ".xlsb", ".ods", ".orc", ".avro", ".pkl", ".pickle", ".h5", ".hdf5", ".npz", ".npy", ".tfrecord",
    ".tfrecords", ".sqlite", ".sqlite3", ".db", ".sav", ".dta", ".sas7bdat", ".rds", ".rdata", ".mat", ".lmdb", ".mdb",
    ".tar", ".tgz", ".7z", ".rar", ".zip", ".gz", ".bz2", ".xz", ".zst",
)
# Files of text that describe data. Their first bytes would not show that they are not data.
_OTHER_SUFFIXES = (
    ".md", ".rst", ".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".ipynb", ".sh", ".r",
    ".sql", ".log", ".pdf", ".doc", ".docx", ".tex", ".bib", ".sha256", ".sha1", ".md5", ".asc", ".sig", ".lock",
    ".css", ".js", ".license", ".cff", ".bak", ".backup", ".old", ".orig", ".tmp", ".temp", ".part", ".partial",
    ".crdownload", ".swp",
)
# fmt: on
HEAD_BYTES = 512
# First bytes of files that often have the wrong suffix.
OTHER_FORMATS = {
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive or an Excel sheet",
    b"ARROW1": "an Arrow file",
    b"%PDF": "PDF",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_ARROW_STREAM = b"\xff\xff\xff\xff"


class FileSurvey(NamedTuple):
    """The columns of one file, and the number of its rows, counted apart from reading their values."""

    schema: pa.Schema
    rows: int


def format_by_name(path: str) -> Format | None:
    """Return the format that a file's suffix names; None if only its content can say."""
    name = without_compression(path)
    suffix = PurePosixPath(name).suffix.lower()
    if name.endswith("~"):
        return Format.OTHER
    if suffix in TABLE_SUFFIXES:
        return TABLE_SUFFIXES[suffix]
    if name != path:
        return Format.UNSUPPORTED
    for suffixes, format in (
        ((*IMAGE_SUFFIXES, *_UNDECODED_SUFFIXES), Format.IMAGE),
        (_UNSUPPORTED_SUFFIXES, Format.UNSUPPORTED),
        (_OTHER_SUFFIXES, Format.OTHER),
    ):
        if suffix in suffixes:
            return format
    return None


def format_by_content(source: Source, path: str) -> Format:
    """Return the format that the first bytes of a file show."""
    with source.open(path) as handle:
        head = handle.read(HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith((b"ARROW1", _ARROW_STREAM)):
        return Format.ARROW
    if looks_like_image(head):
        return Format.IMAGE
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b'{"'):
        return Format.JSONL
    return Format.OTHER


def check_head(source: Source, file: SourceFile, format: str) -> None:
    """Check the first bytes of a data file for common mistakes.

    Raises:
        DatasetError: the file is empty, a web page, or has the magic bytes of another format.
    """
    with open_decompressed(source, file.path) as handle, reading(file.path, format):
        head = handle.read(HEAD_BYTES)
    if not head.strip():
        raise DatasetError(f"{file.path} is empty. Remove it or write it again.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DatasetError(
            f"{file.path} is a web page (HTML or XML), not {format}. The download probably failed. Download it again."
        )
    if format == Format.PARQUET:
        if not head.startswith(b"PAR1"):
            raise DatasetError(f"{file.path} is not a Parquet file: it does not begin with PAR1. Write it again.")
        return
    if format == Format.ARROW:
        if not head.startswith((b"ARROW1", _ARROW_STREAM)):
            raise DatasetError(f"{file.path} is not an Arrow file: its first bytes are others. Write it again.")
        return
    for magic, name in OTHER_FORMATS.items():
        # CSV may be UTF-16.
        if head.startswith(magic) and not (format == Format.CSV and name == "UTF-16 text"):
            raise DatasetError(f"{file.path} is {name}, not {format}. Convert it or correct its suffix.")


@contextmanager
def reading(path: str, format: str) -> Iterator[None]:
    """Raise errors of a decoder as a DatasetError that names the file.

    Errors of the operating system or network (those with an errno) pass unchanged: a retry may help.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        reason = " ".join(str(error).split())[:300]
        raise DatasetError(f"{path} cannot be read as {format}: {reason}. Write the file again.") from error
