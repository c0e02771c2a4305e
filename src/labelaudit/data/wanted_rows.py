"""Some rows of a dataset, by file and row number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import pyarrow as pa

from labelaudit.data.file_layout import printable_path
from labelaudit.data.source import Source

_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)

# Sorted row numbers without repeats, by file as `printable_path` shows it.
WantedRows = Mapping[str, np.ndarray]


def wanted_within(wanted: np.ndarray, start: int, count: int) -> np.ndarray:
    """Return which of `count` rows from `start` are wanted, as positions from 0, ascending."""
    first, last = np.searchsorted(wanted, (start, start + count))
    within: np.ndarray = wanted[first:last] - start
    return within


def only_wanted(tables: Iterable[_Rows], wanted: np.ndarray) -> Iterator[_Rows]:
    """Yield the wanted rows of a file, whose tables are read only up to the last one of them."""
    if not len(wanted):
        return
    start = 0
    for table in tables:
        within = wanted_within(wanted, start, table.num_rows)
        start += table.num_rows
        if len(within):
            yield table.take(pa.array(within))
        if start > wanted[-1]:
            return


def paths_of(source: Source, names: Iterable[str]) -> list[str]:
    """Return the sorted paths of files by their printable paths.

    The dataset is listed only if a name may stand for bytes that are not UTF-8.
    """
    wanted = set(names)
    if any("\\" in name for name in wanted):
        return sorted(file.path for file in source.files() if printable_path(file.path) in wanted)
    return sorted(wanted)
