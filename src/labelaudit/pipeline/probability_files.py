"""The files of external probabilities: Parquet and `.npy`, each one file or a folder of parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.data.file_layout import files_left_out, printable_path
from labelaudit.data.formats import Format, format_by_content, format_by_name
from labelaudit.data.partitions import Partitions, partition_columns, partitions_of
from labelaudit.data.values import repeated, without_encoding
from labelaudit.errors import DatasetError
from labelaudit.findings import LeftOut
from labelaudit.storage.mapped_rows import MappedRows
from labelaudit.storage.store import DatasetFiles, open_dataset
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.storage.versions import natural_order
from labelaudit.text import listing

_NPY = ".npy"
_BUFFER_BYTES = 2**20
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

    def on_this_machine(self, path: str, files: TemporaryFiles) -> str:
        """Return the path of a part, which is fetched if it is in another storage."""
        local = self.source.local_path(path)
        if local is not None:
            return local
        with self.source.open(path) as file:
            return str(files.fetch(file))


class TableParts:
    """Parquet files that all have the same columns, also those in the names of folders (`fold=1/part-0.parquet`)."""

    def __init__(self, parts: Parts, files: TemporaryFiles) -> None:
        self.parts = parts
        self._paths = {path: parts.on_this_machine(path, files) for path in parts.paths}
        self._schemas: dict[str, pa.Schema] = {}
        self.lengths: list[int] = []
        for path in parts.paths:
            with self._open(path) as file:
                self._schemas[path] = file.schema_arrow
                self.lengths.append(file.metadata.num_rows)

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return self.columns_of(self.parts.paths[0])

    def columns_of(self, path: str) -> list[str]:
        """Return the names of the columns of one file."""
        return list(dict.fromkeys((*self._schemas[path].names, *self._folders(path))))

    def type_of(self, path: str, name: str) -> pa.DataType:
        """Return the type of a column in one file."""
        schema = self._schemas[path]
        return schema.field(name).type if name in schema.names else pa.string()

    def chunks(self, name: str) -> list[pa.Array]:
        """Return a column, one array per file, without dictionary encoding."""
        columns = []
        for path, length in zip(self.parts.paths, self.lengths, strict=True):
            if name in self._schemas[path].names:
                with self._open(path) as file:
                    columns.append(without_encoding(file.read(columns=[name]).column(name)))
            else:
                columns.append(pa.array([self._folders(path)[name]] * length, pa.string()))
        return columns

    def batches(self, name: str, rows: int) -> Iterator[pa.Array]:
        """Read a column piece by piece, at most `rows` at once."""
        for path, length in zip(self.parts.paths, self.lengths, strict=True):
            if name in self._schemas[path].names and length:
                with self._open(path) as file:
                    for batch in file.iter_batches(rows, columns=[name]):
                        yield without_encoding(batch.column(0))

    def _folders(self, path: str) -> Partitions:
        return {} if self.parts.source.is_single_file else partitions_of(path)

    @contextmanager
    def _open(self, path: str) -> Iterator[pq.ParquetFile]:
        try:
            # Buffered, so that a row group is not read at once.
            with pq.ParquetFile(self._paths[path], buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
                yield file
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0][:200]
            raise DatasetError(
                f"{self.parts.place(path)} cannot be read as Parquet ({reason}). Write the file again."
            ) from error

    def class_names(self) -> tuple[str, ...] | None:
        """Return the class names in the files' metadata; None if there are none.

        Raises:
            DatasetError: the metadata is not a list of names, or differs between files.
        """
        found: dict[tuple[str, ...], str] = {}
        for path, schema in self._schemas.items():
            names = _stored_class_names(schema)
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
    arrays: tuple[MappedRows, ...]

    @property
    def lengths(self) -> list[int]:
        """Return the number of rows of each file."""
        return [len(array) if array.shape else 1 for array in self.arrays]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of all rows together."""
        first = self.arrays[0].shape
        return (sum(self.lengths), *first[1:]) if first else ()

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Return the type of all rows together."""
        return np.result_type(*(array.dtype for array in self.arrays))

    def read(self) -> np.ndarray:
        """Return all rows, one file after the other."""
        return np.concatenate([array.read(0, len(array)) for array in self.arrays])


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


def open_tables(parts: Parts, files: TemporaryFiles) -> TableParts:
    """Open Parquet files. Those in another storage are fetched.

    Raises:
        DatasetError: a file cannot be read, or has other columns than the first one.
    """
    try:
        partition_columns([] if parts.source.is_single_file else parts.paths)
    except ValueError as error:
        raise DatasetError(
            f"The folders of {parts.url} name different columns: {error}. Give all files the same folders."
        ) from error
    tables = TableParts(parts, files)
    first = set(tables.columns)
    for path in parts.paths:
        columns = set(tables.columns_of(path))
        if columns != first:
            missing, more = sorted(first - columns), sorted(columns - first)
            different = [f"lacks {listing(missing)}"] if missing else []
            different += [f"also has {listing(more)}"] if more else []
            raise DatasetError(
                f"{parts.place(path)} has other columns than {printable_path(parts.paths[0])}: it "
                f"{' and '.join(different)}. Write all files with the same columns, or move this one away."
            )
    return tables


def open_arrays(parts: Parts, files: TemporaryFiles) -> ArrayParts:
    """Open `.npy` files. Those in another storage are fetched.

    Raises:
        DatasetError: a file is not a `.npy` file, or its rows do not fit those of the first one.
    """
    arrays = tuple(_open_array(parts, path, files) for path in parts.paths)
    first = arrays[0]
    for path, array in zip(parts.paths, arrays, strict=True):
        if (array.dtype.kind, array.shape[1:], len(array.shape)) != (
            first.dtype.kind,
            first.shape[1:],
            len(first.shape),
        ):
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


def _open_array(parts: Parts, path: str, files: TemporaryFiles) -> MappedRows:
    try:
        return MappedRows(parts.on_this_machine(path, files))
    except (ValueError, EOFError) as error:
        raise DatasetError(
            f"{parts.place(path)} is not a .npy file of numbers or strings ({str(error)[:120]}). Write it with "
            "numpy.save."
        ) from error


def _stored_class_names(schema: pa.Schema) -> tuple[str, ...] | None:
    stored = (schema.metadata or {}).get(b"class_names")
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


def row_places(parts: Parts, lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the file of each row, (N,) object of str, and its number in the file, (N,) int64."""
    names = [printable_path(path) for path in parts.paths]
    files = repeated(names[0], lengths[0]) if len(names) == 1 else np.repeat(np.array(names, dtype=object), lengths)
    return files, np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
