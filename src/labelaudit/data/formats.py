"""Which files of a dataset hold its rows, and in which format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from labelaudit.data.source import Source, SourceFile
from labelaudit.errors import DatasetError

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
# First bytes of files that are often saved under a wrong name.
FOREIGN = {
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
    """The files of a dataset: `tables` hold its rows (none in an image folder), `images` lie beside them."""

    format: str  # parquet | csv | jsonl | image_folder
    tables: tuple[SourceFile, ...]
    images: tuple[SourceFile, ...]


def find_layout(source: Source) -> Layout:
    """Sorts the files of a dataset by their suffixes.

    Raises:
        DatasetError: there is no file, none that holds data, or tables of several formats.
    """
    files = source.files()
    images = tuple(file for file in files if _suffix(file) in IMAGE_SUFFIXES)
    tables = [file for file in files if _suffix(file) in FORMATS]
    # `dataset_info.json` and its like lie beside data of every format.
    tables = [file for file in tables if _suffix(file) != ".json"] or tables
    if any(_suffix(file) == ".json" for file in tables) and _is_class_folder(images):
        tables = []
    formats = {FORMATS[_suffix(file)] for file in tables}
    if len(formats) > 1:
        named = ", ".join(f"{name} ({_first_of(name, tables)})" for name in sorted(formats))
        raise DatasetError(
            f"{source.url} holds files of several formats: {named}; point dataset.url at the file or folder to audit"
        )
    if tables:
        return Layout(formats.pop(), tuple(tables), images)
    if images:
        _check_folders(source, images)
        return Layout("image_folder", (), images)
    found = ", ".join(file.path for file in files[:5]) or "no file at all"
    raise DatasetError(
        f"{source.url} holds no data: found {found}; data files end in {', '.join(FORMATS)}, "
        "or are images in one folder per class"
    )


def check_head(source: Source, file: SourceFile, format: str) -> None:
    """Looks at the first bytes of a data file, so that the usual mix-ups are named plainly.

    Raises:
        DatasetError: the file is empty, is a web page, or has the magic bytes of another format.
    """
    with source.open(file.path) as handle:
        head = handle.read(HEAD_BYTES)
    if not head.strip():
        raise DatasetError(f"{file.path} is empty; remove it or write it again")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DatasetError(
            f"{file.path} is a web page (HTML or XML), not {format}; the download probably failed, fetch it again"
        )
    if format == "parquet":
        if not head.startswith(b"PAR1"):
            raise DatasetError(f"{file.path} is not a Parquet file (it lacks the magic bytes); write it again")
        return
    for magic, name in FOREIGN.items():
        if head.startswith(magic):
            raise DatasetError(f"{file.path} is {name}, not {format}; convert it or give it the right suffix")


@contextmanager
def reading(path: str, format: str) -> Iterator[None]:
    """Turns what a decoder raises into a DatasetError that names the file.

    Errors of the operating system or the network have a number and pass through: they say
    nothing about the data, and may go away.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        reason = " ".join(str(error).split())[:300]
        raise DatasetError(f"{path} cannot be read as {format}: {reason}; write the file again") from error


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
            f"{source.url} holds images but no folders: an image folder needs one folder per class "
            "(<class>/<file>), or a CSV, JSONL or Parquet file with a label for each image"
        )
    if folders <= SPLIT_NAMES:
        raise DatasetError(
            f"the folders of {source.url} are splits ({', '.join(sorted(folders))}), not classes; "
            "point dataset.url at one of them"
        )
