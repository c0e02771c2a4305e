"""The files of a dataset that contain its rows, and their format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from labelaudit.data.csv_dialect import Dialect
from labelaudit.data.source import Source, SourceFile
from labelaudit.errors import DatasetError
from labelaudit.text import listing

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
SPLIT_NAMES = frozenset({"train", "training", "test", "val", "valid", "validation", "dev"})
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


@dataclass(frozen=True)
class Layout:
    """The files of a dataset: `tables` contain its rows (empty in an image folder), `images` its images."""

    format: str  # parquet | csv | jsonl | image_folder
    tables: tuple[SourceFile, ...]
    images: tuple[SourceFile, ...]
    dialect: Dialect | None = None  # of CSV files
    text_columns: tuple[str, ...] = ()  # columns of a Parquet file whose bytes are text


def find_layout(source: Source) -> Layout:
    """Return the files of a dataset, sorted by their suffixes into tables and images.

    Raises:
        DatasetError: there are no data files, or tables of several formats.
    """
    files = source.files()
    images = tuple(file for file in files if _suffix(file) in IMAGE_SUFFIXES)
    tables = [file for file in files if _suffix(file) in FORMATS]
    # Datasets of all formats come with files such as `dataset_info.json`.
    tables = [file for file in tables if _suffix(file) != ".json"] or tables
    if any(_suffix(file) == ".json" for file in tables) and _is_class_folder(images):
        tables = []
    formats = {FORMATS[_suffix(file)] for file in tables}
    if len(formats) > 1:
        named = ", ".join(f"{name} ({_first_of(name, tables)})" for name in sorted(formats))
        raise DatasetError(
            f"{source.url} contains files of several formats: {named}. Point dataset.url at one file or folder."
        )
    if tables:
        return Layout(formats.pop(), tuple(tables), images)
    if images:
        _check_folders(source, images)
        return Layout("image_folder", (), images)
    found = f"no data files, only {listing(file.path for file in files)}" if files else "no files"
    raise DatasetError(
        f"{source.url} has {found}. Point dataset.url at files that end in {', '.join(FORMATS)}, "
        "or at images in one folder per class."
    )


def check_head(source: Source, file: SourceFile, format: str) -> None:
    """Check the first bytes of a data file for common mistakes.

    Raises:
        DatasetError: the file is empty, a web page, or has the magic bytes of another format.
    """
    with source.open(file.path) as handle:
        head = handle.read(HEAD_BYTES)
    if not head.strip():
        raise DatasetError(f"{file.path} is empty. Remove it or write it again.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DatasetError(
            f"{file.path} is a web page (HTML or XML), not {format}. The download probably failed. Download it again."
        )
    if format == "parquet":
        if not head.startswith(b"PAR1"):
            raise DatasetError(f"{file.path} is not a Parquet file: it does not begin with PAR1. Write it again.")
        return
    for magic, name in OTHER_FORMATS.items():
        # CSV may be UTF-16.
        if head.startswith(magic) and not (format == "csv" and name == "UTF-16 text"):
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


def _suffix(file: SourceFile) -> str:
    return PurePosixPath(file.path).suffix.lower()


def _first_of(format: str, tables: list[SourceFile]) -> str:
    return next(file.path for file in tables if FORMATS[_suffix(file)] == format)


def _is_class_folder(images: tuple[SourceFile, ...]) -> bool:
    return len({file.path.split("/")[0] for file in images if "/" in file.path}) > 1


def _check_folders(source: Source, images: tuple[SourceFile, ...]) -> None:
    folders = {file.path.split("/")[0] for file in images if "/" in file.path}
    if not folders:
        raise DatasetError(
            f"{source.url} contains images but no folders. Put them into one folder per class (<class>/<file>), or "
            "add a CSV, JSONL or Parquet file with a label for each image."
        )
    if folders <= SPLIT_NAMES:
        raise DatasetError(
            f"The folders of {source.url} are splits ({', '.join(sorted(folders))}), not classes. "
            "Point dataset.url at one of them."
        )
