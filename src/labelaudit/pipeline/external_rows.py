"""The rows of external probabilities in files on this machine, read block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.detection.probability_blocks import Positions, RawBlock, rows_per_block, spans
from labelaudit.errors import DatasetError
from labelaudit.pipeline.probability_files import ArrayParts, TableParts
from labelaudit.storage.mapped_rows import MappedRows, RowWriter
from labelaudit.storage.temporary_files import TemporaryFiles

# Rows whose lengths are compared at once. Their number of values is not known yet.
_ROWS_TO_MEASURE = 1024


@dataclass(frozen=True)
class ExternalRows:
    """N rows of K floats in the order in which they are read, one file after the other."""

    arrays: tuple[MappedRows, ...]
    dtype: np.dtype[np.generic]
    files: TemporaryFiles  # those that the arrays may be in

    @property
    def shape(self) -> tuple[int, int]:
        return sum(map(len, self.arrays)), self.arrays[0].shape[1]

    def in_order(self, order: Positions) -> Iterator[np.ndarray]:
        """Read rows block by block in an order, which contains each at most once."""
        for start, stop in spans(len(order), self.shape[1]):
            yield self._take(order[start:stop])

    def _take(self, rows: Positions) -> np.ndarray:
        is_range = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        if len(self.arrays) == 1:
            return self.arrays[0].read(rows[0], rows[-1] + 1) if is_range else self.arrays[0].take(rows)
        taken = np.empty((len(rows), self.shape[1]), self.dtype)
        first = 0
        for array in self.arrays:
            here = (rows >= first) & (rows < first + len(array))
            if here.any():
                own = rows[here] - first
                taken[here] = array.read(own[0], own[-1] + 1) if is_range else array.take(own)
            first += len(array)
        return taken

    def sha256(self, order: Positions) -> str:
        """Return the sha256 in hex of the rows in an order, as float64."""
        hasher = hashlib.sha256()
        for values in self.in_order(order):
            hasher.update(np.ascontiguousarray(values, "<f8").data)
        return hasher.hexdigest()


@dataclass(frozen=True)
class ScoredRows:
    """The scored rows among `ExternalRows`, in canonical order: `RawBlocks`."""

    rows: ExternalRows
    order: Positions  # (M,) the number of each scored row among those that are read

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.order), self.rows.shape[1]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.rows.dtype

    def blocks(self) -> Iterator[RawBlock]:
        start = 0
        for values in self.rows.in_order(self.order):
            yield RawBlock(np.arange(start, start + len(values)), values)
            start += len(values)


def rows_of_arrays(arrays: ArrayParts, url: str, files: TemporaryFiles) -> ExternalRows:
    """Return the rows of `.npy` files.

    Raises:
        DatasetError: they are not rows of floats.
    """
    if len(arrays.shape) != 2 or not np.issubdtype(arrays.dtype, np.floating):
        raise DatasetError(
            f"{url} contains an array of shape {arrays.shape} and dtype {arrays.dtype}. "
            "Save probabilities as floats of shape (rows, classes)."
        )
    return ExternalRows(arrays.arrays, arrays.dtype, files)


def rows_of_column(tables: TableParts, name: str, url: str, files: TemporaryFiles) -> ExternalRows:
    """Copy a column of lists to a `.npy` file, and return its rows.

    Raises:
        DatasetError: the lists have different lengths, or the values are not lists.
    """
    width = _width(tables, name, url)
    # A part without rows has any type.
    types = [
        tables.type_of(path, name) for path, length in zip(tables.parts.paths, tables.lengths, strict=True) if length
    ]
    dtype: np.dtype[np.floating] = np.dtype(np.float32 if all(map(_is_float32, types)) else np.float64)
    path = files.new()
    with RowWriter(path, (sum(tables.lengths), width), dtype) as writer:
        for column in tables.batches(name, rows_per_block(width)):
            values = column.flatten().to_numpy(zero_copy_only=False)
            writer.write(values.astype(dtype, copy=False).reshape(-1, width))
    return ExternalRows((MappedRows(path),), dtype, files)


def _is_float32(type: pa.DataType) -> bool:
    return hasattr(type, "value_type") and pa.types.is_float32(type.value_type)


def _width(tables: TableParts, name: str, url: str) -> int:
    """Return the number of values in each row of a column."""
    filled = [path for path, length in zip(tables.parts.paths, tables.lengths, strict=True) if length]
    types = [tables.type_of(path, name) for path in filled]
    lengths: set[int] = set()
    for column in tables.batches(name, _ROWS_TO_MEASURE):
        lengths |= _lengths(column)
    if len(lengths) != 1 or 0 in lengths:
        type = (types or [tables.type_of(tables.parts.paths[0], name)])[0]
        raise DatasetError(
            f"{name!r} of {url} must contain one list of K probabilities in every row, but its type is "
            f"{type} and its lengths are {sorted(lengths)[:5]}. Name another column with --pred-probs."
        )
    return lengths.pop()


def _lengths(column: pa.Array) -> set[int]:
    if not pa.types.is_nested(column.type) or pa.types.is_struct(column.type):
        return {0}
    if pa.types.is_fixed_size_list(column.type) and not column.null_count:
        return {column.type.list_size}
    return set(pc.unique(pc.list_value_length(column).fill_null(0)).to_pylist())
