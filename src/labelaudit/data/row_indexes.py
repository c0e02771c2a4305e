"""Row indexes that were saved as columns: known by their names, or because their values number all rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from labelaudit.data.file_layout import Layout
from labelaudit.data.source import Source
from labelaudit.data.tables import read_tables
from labelaudit.data.values import family, parses_as_numbers, to_numbers

# With fewer rows, a column of small whole numbers can number the rows by chance.
MIN_NUMBERED_ROWS = 20
# Larger numbers are not exact in float64.
_LARGEST = 2**53
# What pandas (also after merge and with several levels), R and readr call an index that was saved as a column.
_NAMES = re.compile(
    r"|Unnamed: \d+(_level_\d+)?([._]\w+)*|__index_level_\d+__|\.\.\.1"
    r"|(index|level_\d+|row_?index|row_?names?|row_?num(ber)?)([._]\d+)?"
)


def is_row_index_name(name: str) -> bool:
    """Return whether a program gives this name to a saved row index."""
    return _NAMES.fullmatch(name.strip()) is not None


def counts_rows(values: pa.ChunkedArray) -> bool:
    """Return whether numbers increase by one from row to row."""
    numbers = to_numbers(values).to_numpy(zero_copy_only=False)
    return len(numbers) >= MIN_NUMBERED_ROWS and bool(np.all(np.diff(numbers) == 1))


class RowNumbers:
    """Decides, in little memory, whether the values of a column are consecutive whole numbers in any order.

    Method: the sum of a 64-bit hash of each value identifies a set of numbers. The sum over all numbers from the lowest
    to the highest value is equal only if each of them occurs once (but for a chance of about 2^-64).
    """

    def __init__(self) -> None:
        self._count, self._hashes = 0, 0
        self._lowest, self._highest = _LARGEST, -_LARGEST
        self.is_possible = True

    def add(self, numbers: np.ndarray) -> None:
        """Take the next values, (n,) float64; NaN is missing."""
        if not self.is_possible or not len(numbers):
            return
        if not (np.all(np.abs(numbers) < _LARGEST) and np.all(numbers == np.floor(numbers))):
            self.is_possible = False
            return
        whole = numbers.astype(np.int64)
        self._count += len(whole)
        self._lowest, self._highest = min(self._lowest, int(whole.min())), max(self._highest, int(whole.max()))
        self._hashes = (self._hashes + _hash_sum(whole)) % 2**64

    def number_all_rows(self) -> bool:
        """Return whether the values so far are consecutive whole numbers, each of them once."""
        if not self.is_possible or self._count < MIN_NUMBERED_ROWS or self._highest - self._lowest + 1 != self._count:
            return False
        expected = sum(
            _hash_sum(np.arange(start, min(start + 2**20, self._highest + 1), dtype=np.int64))
            for start in range(self._lowest, self._highest + 1, 2**20)
        )
        return expected % 2**64 == self._hashes


def _hash_sum(numbers: np.ndarray) -> int:
    """Return the sum of the hashes of (n,) int64 numbers modulo 2^64.

    Method: the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    """
    mixed = numbers.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64))


def find_row_numbers(source: Source, layout: Layout, first_rows: pa.Table, names: Sequence[str]) -> list[str]:
    """Return the columns that number the rows of the dataset, or of each of its files, in any order.

    Columns are read completely only if they can be such a column by their first rows.

    Args:
        source: the dataset's files.
        layout: its tables and their format.
        first_rows: the first rows of the columns.
        names: the columns to look at.
    """
    candidates = [name for name in names if _has_distinct_whole_numbers(first_rows.column(name))]
    if not candidates:
        return []
    whole = {name: RowNumbers() for name in candidates}
    in_file: dict[str, dict[str, RowNumbers]] = {name: {} for name in candidates}
    for piece in read_tables(source, layout, candidates):
        for name in candidates:
            numbers = _numbers(piece.rows.column(name))
            whole[name].add(numbers)
            in_file[name].setdefault(piece.file, RowNumbers()).add(numbers)
        if not any(numbers.is_possible for numbers in whole.values()):
            return []
    return [
        name
        for name in candidates
        if whole[name].number_all_rows() or all(numbers.number_all_rows() for numbers in in_file[name].values())
    ]


def _has_distinct_whole_numbers(values: pa.ChunkedArray) -> bool:
    if family(values.type) not in ("number", "string") or len(values) < MIN_NUMBERED_ROWS:
        return False
    numbers = _numbers(values)
    return bool(np.all(numbers == np.floor(numbers))) and len(np.unique(numbers)) == len(numbers)


def _numbers(values: pa.ChunkedArray) -> np.ndarray:
    """Return float64, all NaN if one value is not a number."""
    if family(values.type) == "string" and not parses_as_numbers(values):
        return np.full(len(values), np.nan)
    numbers: np.ndarray = to_numbers(values).to_numpy(zero_copy_only=False)
    return numbers
