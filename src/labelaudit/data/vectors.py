"""Columns of vectors: lists of numbers that all have the same length, such as embeddings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.digests import digest_bytes
from labelaudit.data.values import family, without_encoding
from labelaudit.errors import DatasetError

# Share of the vectors that must have the expected length. With fewer, the column does not contain vectors of one model.
MIN_SAME_LENGTH = 0.5
_MISSING = b"\0missing\0"


class VectorRows(NamedTuple):
    """Rows of a column of vectors.

    Attributes:
        values: (n, d) float32, zeros if unreadable.
        digests: n digests of the numbers as little-endian float32.
        problems: why a row is unreadable, by its offset.
    """

    values: np.ndarray
    digests: list[str]
    problems: dict[int, str]


def contains_numbers(type: pa.DataType) -> bool:
    """Return whether the values of a type are lists of numbers, of any or of a fixed length."""
    if isinstance(type, pa.BaseExtensionType):
        type = type.storage_type
    kinds = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(is_kind(type) for is_kind in kinds) and family(type.value_type) == "number"


def typical_length(column: pa.ChunkedArray) -> tuple[int, float]:
    """Return the most frequent length of the lists in a column, and the share of the lists that have it.

    Missing and empty lists do not count. Without others, both results are 0.
    """
    if not contains_numbers(column.type):
        return 0, 0.0
    lengths = _lengths(without_encoding(column))
    values, counts = np.unique(lengths[lengths > 0], return_counts=True)
    if not len(values):
        return 0, 0.0
    most = int(counts.argmax())
    return int(values[most]), float(counts[most] / counts.sum())


class VectorReader:
    """Reads a column of vectors piece by piece, and counts the vectors of other lengths.

    Args:
        name: the column.
        length: d, the numbers in each vector.
    """

    def __init__(self, name: str, length: int) -> None:
        self._name = name
        self._length = length
        self._vectors = 0
        self._others = 0

    def read(self, column: pa.ChunkedArray, file: str) -> VectorRows:
        """Return the next n rows.

        Vectors are compared and trained as float32. So a digest does not depend on the type in which they are stored,
        and -0.0 is 0.0.

        Raises:
            DatasetError: the column is not of lists of numbers in this file.
        """
        if pa.types.is_null(column.type):
            column = pa.chunked_array([pa.nulls(len(column), pa.list_(pa.float32()))])
        if not contains_numbers(column.type):
            raise DatasetError(
                f"Column {self._name!r} in {file} is of type {column.type}, but in other files it contains lists of "
                "numbers. Write it as lists of numbers in all files."
            )
        lists = without_encoding(column)
        lengths = _lengths(lists)
        is_vector = lengths == self._length
        self._vectors += int((lengths > 0).sum())
        self._others += int(((lengths > 0) & ~is_vector).sum())
        stored = without_encoding(lists.flatten())
        sizes = np.maximum(lengths, 0)
        ends = np.cumsum(sizes)
        numbers = _as_float32(stored)
        values = np.zeros((len(lengths), self._length), np.float32)
        values[is_vector] = numbers[np.repeat(is_vector, sizes)].reshape(-1, self._length)
        digests = [
            digest_bytes(_MISSING if length < 0 else numbers[end - length : end].tobytes())
            for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
        ]
        problems = {int(row): self._wrong_length(int(lengths[row])) for row in np.flatnonzero(~is_vector)}
        for row in np.flatnonzero(~np.isfinite(values).all(axis=1)):
            values[row] = 0
            problems[int(row)] = _not_finite(stored.slice(int(ends[row]) - self._length, self._length))
        return VectorRows(values, digests, problems)

    def check(self) -> None:
        """Check, after the last piece, that most vectors had the expected length.

        Raises:
            DatasetError: they did not.
        """
        if self._others > (1 - MIN_SAME_LENGTH) * self._vectors:
            raise DatasetError(
                f"{self._others:,} of {self._vectors:,} vectors in column {self._name!r} do not have {self._length} "
                "numbers, as the first ones have. All vectors of a dataset must have the same length. Compute all of "
                "them with one model, or audit their files one by one."
            )

    def _wrong_length(self, length: int) -> str:
        if length < 0:
            return "no vector"
        return f"{length} numbers, not {self._length}" if length else "an empty list"


def _lengths(lists: pa.Array) -> np.ndarray:
    """Return the length of each list, (n,) int64; -1 if it is missing."""
    lengths: np.ndarray = pc.list_value_length(lists).cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return lengths


def _as_float32(numbers: pa.Array) -> np.ndarray:
    """Return numbers as little-endian float32, NaN if missing, infinite if too large. -0.0 becomes 0.0."""
    if pa.types.is_decimal(numbers.type):
        numbers = numbers.cast(pa.float64(), safe=False)
    with np.errstate(over="ignore"):
        values: np.ndarray = numbers.to_numpy(zero_copy_only=False).astype("<f4") + np.float32(0)
    # One NaN, because there are many with different bytes.
    values[np.isnan(values)] = np.nan
    return values


def _not_finite(numbers: pa.Array) -> str:
    """Return what is wrong with the first number that is not a finite float32, and its position."""
    position = int(np.flatnonzero(~np.isfinite(_as_float32(numbers)))[0])
    number: float | None = numbers[position].as_py()
    if number is None:
        return f"number {position + 1} is missing"
    if np.isfinite(number):
        return f"number {position + 1} is too large for float32: {number:.3g}"
    return f"number {position + 1} is {'NaN' if np.isnan(number) else 'infinite'}"
