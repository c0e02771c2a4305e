"""The files of a dataset that contain its rows: how they are found, and which are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from labelaudit.data.csv_dialect import Dialect
from labelaudit.data.formats import TABLE_FORMATS, Format, format_by_content, format_by_name
from labelaudit.data.partitions import partition_columns
from labelaudit.data.source import Source, SourceFile
from labelaudit.data.split_names import are_splits, splits_of_files
from labelaudit.errors import DatasetError
from labelaudit.findings import SHOWN_NAMES, LeftOut
from labelaudit.text import listing

IMAGE_FOLDER = "image_folder"
# Files of an unknown suffix that are opened, for each suffix. If none of so many is data, the others are not either.
OPENED_PER_SUFFIX = 20
OPEN_THREADS = 16
# Folders of formats whose files also contain rows that were deleted or replaced.
_TRANSACTION_LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}


@dataclass(frozen=True)
class Layout:
    """The files of a dataset.

    Attributes:
        format: of the tables; IMAGE_FOLDER if there are none.
        tables: files that contain the rows.
        splits: the split of each table, all None if there are no splits.
        partitions: names of the columns in the names of folders.
        images: image files.
        left_out: files that are not read.
        dialect: how CSV files are written.
        text_columns: columns of Parquet files whose bytes are text.
    """

    format: str  # parquet | arrow | csv | jsonl | image_folder
    tables: tuple[SourceFile, ...]
    splits: tuple[str | None, ...]
    partitions: tuple[str, ...]
    images: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...]
    dialect: Dialect | None = None
    text_columns: tuple[str, ...] = ()

    def without(self, tables: Iterable[SourceFile], reason: str) -> Layout:
        """Return the layout without some of its tables, which are left out for a reason."""
        removed = {file.path for file in tables}
        if not removed:
            return self
        kept = [(f, s) for f, s in zip(self.tables, self.splits, strict=True) if f.path not in removed]
        splits = tuple(split for _, split in kept)
        return replace(
            self,
            tables=tuple(file for file, _ in kept),
            splits=splits if len(set(splits)) > 1 else (None,) * len(kept),
            left_out=(*self.left_out, files_left_out(sorted(removed), reason)),
        )


def files_left_out(paths: Sequence[str], reason: str) -> LeftOut:
    """Return how a report names files that are not read."""
    return LeftOut("file", reason, len(paths), tuple(map(printable_path, paths[:SHOWN_NAMES])))


def printable_path(path: str) -> str:
    """Return a path as valid UTF-8: bytes that are not UTF-8 become `\\xe9`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def find_layout(source: Source, *, skips_unreadable: bool = False) -> Layout:
    """Sort the files of a dataset, by their names and else by their first bytes, into tables, images and others.

    Args:
        source: the dataset's files.
        skips_unreadable: leave out files that look like data but are of a format that is not read.

    Raises:
        DatasetError: there are no data files, tables of several formats, or files of an unsupported format.
    """
    files = list(source.files())
    _check_no_transactions(source, files)
    by_format = _by_format(source, files)
    left_out = _left_out(files, by_format)
    _check_supported(source, by_format[Format.UNSUPPORTED], skips_unreadable)
    if aside := _aside(by_format, by_format[Format.IMAGE]):
        left_out.append(files_left_out([file.path for file in aside], "its folder begins with _"))
    if by_format[Format.UNSUPPORTED]:
        paths = [file.path for file in by_format[Format.UNSUPPORTED]]
        left_out.append(files_left_out(paths, "its format is not supported"))
    images = tuple(by_format[Format.IMAGE])
    tables, descriptions = _tables(source, by_format, images)
    if descriptions:
        left_out.append(files_left_out([file.path for file in descriptions], "it describes the dataset"))
    if tables:
        paths = [file.path for file in tables]
        return Layout(
            format=_format_of(tables, by_format),
            tables=tuple(tables),
            splits=tuple(splits_of_files(paths)),
            partitions=_partitions(source, paths),
            images=images,
            left_out=tuple(left_out),
        )
    if images:
        _check_folders(source, images)
        return Layout(IMAGE_FOLDER, (), (), (), images, tuple(left_out))
    found = f"no data files, only {listing(printable_path(file.path) for file in files)}" if files else "no files"
    raise DatasetError(
        f"{source.url} has {found}. Point dataset.url at Parquet, Arrow, CSV, TSV or JSON Lines files, or at images in "
        "one folder per class."
    )


def _check_no_transactions(source: Source, files: Sequence[SourceFile]) -> None:
    for file in files:
        for folder in file.path.split("/")[:-1]:
            if folder in _TRANSACTION_LOGS:
                raise DatasetError(
                    f"{source.url} is a {_TRANSACTION_LOGS[folder]} table ({folder}). Its files also contain rows that "
                    "were deleted or replaced. Export the current rows as Parquet."
                )
    folders = {file.path.split("/")[0] for file in files if "/" in file.path}
    if {"blobs", "snapshots"} <= folders:
        snapshot = next(file.path for file in files if file.path.startswith("snapshots/"))
        raise DatasetError(
            f"{source.url} is a cache of the Hugging Face Hub, which may contain several versions. "
            f"Point dataset.url at one of them, such as {'/'.join(snapshot.split('/')[:2])}."
        )


def _by_format(source: Source, files: Sequence[SourceFile]) -> dict[Format, list[SourceFile]]:
    found: dict[Format, list[SourceFile]] = {format: [] for format in Format}
    unknown: dict[str, list[SourceFile]] = {}
    for file in files:
        if _is_hidden(file.path):
            continue
        format = format_by_name(file.path)
        if format is None:
            unknown.setdefault(PurePosixPath(file.path).suffix.lower(), []).append(file)
        else:
            found[format].append(file)
    for suffix, some in unknown.items():
        formats = _formats_by_content(source, some, is_sample=bool(suffix))
        if len(files) == 1 and formats == [Format.OTHER]:
            # A single file is what the user wants to read. What it contains if nothing else matches is CSV.
            formats = [Format.CSV]
        for file, format in zip(some, formats, strict=True):
            found[format].append(file)
    return {format: sorted(some, key=lambda file: file.path) for format, some in found.items()}


def _formats_by_content(source: Source, files: Sequence[SourceFile], *, is_sample: bool) -> list[Format]:
    """Return the formats of files of one suffix. With `is_sample`, few are opened if they are all not data."""
    with ThreadPoolExecutor(OPEN_THREADS) as pool:
        first = files[:OPENED_PER_SUFFIX] if is_sample else files
        formats = list(pool.map(lambda file: format_by_content(source, file.path), first))
        rest = files[len(first) :]
        if set(formats) <= {Format.OTHER}:
            return [*formats, *[Format.OTHER] * len(rest)]
        return [*formats, *pool.map(lambda file: format_by_content(source, file.path), rest)]


def _left_out(files: Sequence[SourceFile], by_format: Mapping[Format, Sequence[SourceFile]]) -> list[LeftOut]:
    hidden = [file.path for file in files if _is_hidden(file.path)]
    others = [file.path for file in by_format[Format.OTHER]]
    reasons = {"a name in its path begins with a dot": hidden, "it is not data": others}
    return [files_left_out(paths, reason) for reason, paths in reasons.items() if paths]


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _check_supported(source: Source, files: Sequence[SourceFile], skips_unreadable: bool) -> None:
    if not files or skips_unreadable:
        return
    suffixes = Counter(PurePosixPath(file.path).suffix.lower() for file in files)
    raise DatasetError(
        f"{source.url} contains {len(files):,} files of formats that cannot be read ({listing(sorted(suffixes))}), "
        f"such as {printable_path(files[0].path)}. Convert them to Parquet or CSV, unpack them, move them away, or set "
        "dataset.unreadable_files to skip."
    )


def _tables(
    source: Source, by_format: Mapping[Format, Sequence[SourceFile]], images: Sequence[SourceFile]
) -> tuple[list[SourceFile], list[SourceFile]]:
    """Return the files that contain the rows, and JSON files that describe the dataset."""
    found = [(format, file) for format in TABLE_FORMATS for file in by_format[format]]
    found = [(format, file) for format, file in found if file not in _aside(by_format, images)]
    # Datasets of all formats come with files such as `dataset_info.json`.
    plain = [(format, file) for format, file in found if not _is_description(file)]
    if (plain and len(plain) < len(found)) or (not plain and _class_folders(images)):
        descriptions = [file for _, file in found if _is_description(file)]
    else:
        plain, descriptions = found, []
    formats = dict.fromkeys(format for format, _ in plain)
    if len(formats) > 1:
        first = {format: next(file.path for other, file in plain if other == format) for format in formats}
        named = ", ".join(f"{format} ({printable_path(path)})" for format, path in sorted(first.items()))
        raise DatasetError(
            f"{source.url} contains files of several formats: {named}. Point dataset.url at one file or folder."
        )
    return sorted((file for _, file in plain), key=lambda file: file.path), descriptions


def _aside(by_format: Mapping[Format, Sequence[SourceFile]], images: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the tables in folders whose name begins with `_`, if there is other data.

    Spark and Hive write unfinished output and logs there, and their readers skip it.
    """
    tables = [file for format in TABLE_FORMATS for file in by_format[format]]
    aside = [file for file in tables if any(part.startswith("_") for part in file.path.split("/")[:-1])]
    return aside if len(aside) < len(tables) or _class_folders(images) else []


def _format_of(tables: Sequence[SourceFile], by_format: Mapping[Format, Sequence[SourceFile]]) -> str:
    return next(format.value for format in TABLE_FORMATS if tables[0] in by_format[format])


def _is_description(file: SourceFile) -> bool:
    return file.path.lower().endswith(".json")


def _partitions(source: Source, paths: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(partition_columns(paths))
    except ValueError as error:
        raise DatasetError(
            f"The folders of {source.url} name different columns: {error}. Give all files the same folders."
        ) from error


def _class_folders(images: Sequence[SourceFile]) -> set[str]:
    """Return the folders directly below the root that contain images, if there are several."""
    folders = {file.path.split("/")[0] for file in images if "/" in file.path}
    return folders if len(folders) > 1 else set()


def _check_folders(source: Source, images: Sequence[SourceFile]) -> None:
    folders = {file.path.split("/")[0] for file in images if "/" in file.path}
    if not folders:
        raise DatasetError(
            f"{source.url} contains images but no folders. Put them into one folder per class (<class>/<file>), or "
            "add a CSV, JSONL or Parquet file with a label for each image."
        )
    if are_splits(folders):
        raise DatasetError(
            f"The folders of {source.url} are splits ({', '.join(sorted(map(printable_path, folders)))}), not classes. "
            "Point dataset.url at one of them."
        )
    if len(folders) == 1 and (below := _only_folder_with_folders(images)) is not None:
        raise DatasetError(
            f"All images of {source.url} are in the folder {below}, and the folders in it look like the classes. "
            f"Point dataset.url at {source.url.rstrip('/')}/{below}."
        )


def _only_folder_with_folders(images: Sequence[SourceFile]) -> str | None:
    """Return the deepest folder that contains all images, if they are in several folders below it."""
    parents = [file.path.split("/")[:-1] for file in images]
    if any(not parent for parent in parents):
        return None
    common = 0
    while all(len(parent) > common + 1 for parent in parents) and len({parent[common] for parent in parents}) == 1:
        common += 1
    below = {parent[common] for parent in parents}
    return printable_path("/".join(parents[0][:common])) if common and len(below) > 1 else None
