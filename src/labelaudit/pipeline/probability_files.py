"""The files of external probabilities: Parquet and `.npy`, each one file or a folder of parts."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.data.file_layout import files_left_out, printable_path
from labelaudit.data.formats import Format, format_by_content, format_by_name
from labelaudit.data.partitions import Partitions, partition_columns, partitions_of
from labelaudit.data.values import without_encoding
from labelaudit.errors import DatasetError
from labelaudit.findings import LeftOut
from labelaudit.storage.store import DatasetFiles, open_dataset
from labelaudit.storage.versions import natural_order
from labelaudit.text import listing

_NPY = ".npy"
# Files that may lie next to the parts without being data.
_NOT_DATA = (Format.OTHER, Format.IMAGE)


@dataclass(frozen=True)
class Parts:
    """The files below one URL, in the natural order of their paths: `part-2` before `part-10`."""

    url: str
    source: DatasetFiles
    paths: tuple[str, ...]  # relative to the URL; for a single file, its name
    is_npy: bool
    left_out: tuple[LeftOut, ...] = ()

    def note(self, rows: int) -> tuple[str, ...]:
        """Return a sentence on the number of files and rows; none for a single file."""
        if self.source.is_single_file:
            return ()
        files = "1 file" if len(self.paths) == 1 else f"{len(self.paths):,} files"
        names = listing(map(printable_path, dict.fromkeys((self.paths[0], self.paths[-1]))), separator=" to ")
        return (f"{self.url}: {rows:,} rows of {files} in the natural order of their paths ({names})",)

    def place(self, path: str) -> str:
        """Return the name of a part for messages."""
        return self.url if self.source.is_single_file else f"{printable_path(path)} in {self.url}"

    def read(self, path: str) -> io.BytesIO:
        """Return the bytes of a part."""
        with self.source.open(path) as file:
            return io.BytesIO(file.read())


@dataclass(frozen=True)
class TableParts:
    """The tables of Parquet files, which all have the same columns."""

    parts: Parts
    tables: tuple[pa.Table, ...]  # one per file, with the columns in the names of its folders

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.tables[0].column_names)

    def chunks(self, name: str) -> list[pa.Array]:
        """Return a column, one array per file, without dictionary encoding."""
        return [without_encoding(table[name]) for table in self.tables]

    def class_names(self) -> tuple[str, ...] | None:
        """Return the class names in the files' metadata; None if there are none.

        Raises:
            DatasetError: the metadata is not a list of names, or differs between files.
        """
        found: dict[tuple[str, ...], str] = {}
        for path, table in zip(self.parts.paths, self.tables, strict=True):
            names = _stored_class_names(table)
            if names is not None:
                found.setdefault(names, path)
        if len(found) > 1:
            (names, path), (others, other) = list(found.items())[:2]
            raise DatasetError(
                f"The class_names in the metadata of {printable_path(path)} ({listing(names)}) are not those of "
                f"{printable_path(other)} ({listing(others)}). Write all files of {self.parts.url} with the same order "
                "of columns."
            )
        return next(iter(found), None)


@dataclass(frozen=True)
class ArrayParts:
    """The arrays of `.npy` files, which all have rows of the same kind."""

    parts: Parts
    arrays: tuple[np.ndarray, ...]

    @property
    def rows(self) -> np.ndarray:
        """Return the rows, one file after the other."""
        return self.arrays[0] if len(self.arrays) == 1 else np.concatenate(self.arrays)


def is_npy(name: str) -> bool:
    """Return whether an argument names a `.npy` file, or a folder with such a name."""
    return name.lower().rstrip("/").endswith(_NPY)


def is_npy_folder(name: str, options: Mapping[str, object]) -> bool:
    """Return whether an argument is the URL of a folder with `.npy` files."""
    try:
        source = open_dataset(name, options)
    except DatasetError:
        return False
    return not source.is_single_file and any(is_npy(file.path) for file in source.files())


def find_parts(url: str, options: Mapping[str, object]) -> Parts:
    """Find the files below a URL. If it is a folder, files that are not data are left out.

    Raises:
        DatasetError: the folder has no Parquet and no `.npy` files, or other files of data.
    """
    source = open_dataset(url, options)
    if source.is_single_file:
        return Parts(url, source, (source.files()[0].path,), is_npy(url))
    by_kind: dict[str, list[str]] = {}
    for file in source.files():
        by_kind.setdefault(_kind_of(source, file.path), []).append(file.path)
    left_out = by_kind.pop(Format.OTHER, [])
    if not by_kind:
        found = f"no data files, only {listing(map(printable_path, left_out))}" if left_out else "no files"
        raise DatasetError(f"{url} has {found}. Name a folder of Parquet or .npy files.")
    kind, *others = sorted(by_kind, key=lambda kind: kind not in (Format.PARQUET, _NPY))
    if others or kind not in (Format.PARQUET, _NPY):
        first = ", ".join(f"{kind} ({printable_path(paths[0])})" for kind, paths in sorted(by_kind.items()))
        raise DatasetError(
            f"{url} contains {first}, but probabilities are read from folders that contain only Parquet or only .npy "
            "files. Convert the files, or move the others away."
        )
    paths = sorted(by_kind[kind], key=natural_order)
    return Parts(
        url, source, tuple(paths), kind == _NPY, (files_left_out(left_out, "it is not data"),) if left_out else ()
    )


def read_tables(parts: Parts) -> TableParts:
    """Read Parquet files with all columns, also those in the names of folders (`fold=1/part-0.parquet`).

    Raises:
        DatasetError: a file cannot be read, or has other columns than the first one.
    """
    try:
        partition_columns([] if parts.source.is_single_file else parts.paths)
    except ValueError as error:
        raise DatasetError(
            f"The folders of {parts.url} name different columns: {error}. Give all files the same folders."
        ) from error
    tables = []
    for path in parts.paths:
        folders = {} if parts.source.is_single_file else partitions_of(path)
        tables.append(_with_partitions(_read_table(parts, path), folders))
    first = set(tables[0].column_names)
    for path, table in zip(parts.paths, tables, strict=True):
        columns = set(table.column_names)
        if columns != first:
            missing, more = sorted(first - columns), sorted(columns - first)
            different = [f"lacks {listing(missing)}"] if missing else []
            different += [f"also has {listing(more)}"] if more else []
            raise DatasetError(
                f"{parts.place(path)} has other columns than {printable_path(parts.paths[0])}: it "
                f"{' and '.join(different)}. Write all files with the same columns, or move this one away."
            )
    return TableParts(parts, tuple(tables))


def read_arrays(parts: Parts) -> ArrayParts:
    """Read `.npy` files.

    Raises:
        DatasetError: a file is not a `.npy` file, or its rows do not fit those of the first one.
    """
    arrays = tuple(_read_array(parts, path) for path in parts.paths)
    first = arrays[0]
    for path, array in zip(parts.paths, arrays, strict=True):
        if (array.dtype.kind, array.ndim, array.shape[1:]) != (first.dtype.kind, first.ndim, first.shape[1:]):
            raise DatasetError(
                f"{parts.place(path)} contains an array of shape {array.shape} and dtype {array.dtype}, which does not "
                f"fit that of {printable_path(parts.paths[0])}: shape {first.shape}, dtype {first.dtype}. Write all "
                "files with rows of the same kind."
            )
    return ArrayParts(parts, arrays)


def _kind_of(source: DatasetFiles, path: str) -> str:
    if is_npy(path):
        return _NPY
    if any(part.startswith(".") for part in path.split("/")):
        return Format.OTHER
    format = format_by_name(path) or format_by_content(source, path)
    return Format.OTHER if format in _NOT_DATA else format


def _read_table(parts: Parts, path: str) -> pa.Table:
    try:
        return pq.read_table(parts.read(path))
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0][:200]
        raise DatasetError(
            f"{parts.place(path)} cannot be read as Parquet ({reason}). Write the file again."
        ) from error


def _with_partitions(table: pa.Table, folders: Partitions) -> pa.Table:
    for name, value in folders.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
    return table


def _read_array(parts: Parts, path: str) -> np.ndarray:
    try:
        array = np.load(parts.read(path), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DatasetError(
            f"{parts.place(path)} is not a .npy file of numbers or strings ({str(error)[:120]}). Write it with "
            "numpy.save."
        ) from error
    return np.asarray(array)


def _stored_class_names(table: pa.Table) -> tuple[str, ...] | None:
    stored = (table.schema.metadata or {}).get(b"class_names")
    if stored is None:
        return None
    try:
        names = json.loads(stored)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(
            "class_names in the file's metadata must be a JSON list of strings. Name the classes with --classes."
        )
    return tuple(names)


def row_places(parts: Parts, tables: Sequence[pa.Table | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the file of each row, (N,) object of str, and its number in the file, (N,) int64."""
    lengths = [len(table) for table in tables]
    names = np.array([printable_path(path) for path in parts.paths], dtype=object)
    return np.repeat(names, lengths), np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
