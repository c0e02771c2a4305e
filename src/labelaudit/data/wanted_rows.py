"""Some rows of a dataset, by file and row number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa

# Sorted row numbers without repeats, by file as `printable_path` shows it.
WantedRows = Mapping[str, np.ndarray]


def wanted_within(wanted: np.ndarray, start: int, count: int) -> np.ndarray:
    """Return which of `count` rows from `start` are wanted, as positions from 0, ascending."""
    first, last = np.searchsorted(wanted, (start, start + count))
    within: np.ndarray = wanted[first:last] - start
    return within


def only_wanted(tables: Iterable[pa.Table], wanted: np.ndarray) -> Iterator[pa.Table]:
    """Yield the wanted rows of a file, whose tables are read only up to the last one of them."""
    start = 0
    for table in tables:
        within = wanted_within(wanted, start, table.num_rows)
        start += table.num_rows
        if len(within):
            yield table.take(pa.array(within))
        if not len(wanted) or start > wanted[-1]:
            return
