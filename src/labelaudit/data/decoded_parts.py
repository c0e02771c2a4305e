"""Which rows of a dataset are decoded together, so that they are best read by the same worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from labelaudit.data import parquet
from labelaudit.data.columns import Columns
from labelaudit.data.file_layout import IMAGE_FOLDER, printable_path
from labelaudit.data.formats import Format
from labelaudit.data.source import Source
from labelaudit.data.wanted_rows import paths_of

_READERS = 16


def rows_decoded_together(source: Source, columns: Columns, file: np.ndarray, row: np.ndarray) -> list[int]:
    """Return the number of rows in each part of a dataset that is decoded from its start.

    A part is a row group of a Parquet file, another table as a whole, or all images of a folder, which are read one by
    one.

    Args:
        source: the files of the version.
        columns: how they are read.
        file: (n,) object of str, the printable path of each row's file, in reading order.
        row: (n,) int64, row number within the file.

    Returns:
        Numbers of consecutive rows, n in total.

    Raises:
        DatasetError: a Parquet file is damaged.
        StorageError: a file is missing.
    """
    if columns.format == IMAGE_FOLDER:
        return [len(file)]
    is_first = np.ones(len(file), bool)
    is_first[1:] = file[1:] != file[:-1]
    if columns.format == Format.PARQUET:
        group = _row_groups(source, file, row, np.flatnonzero(is_first))
        is_first[1:] |= group[1:] != group[:-1]
    parts: list[int] = np.diff([*np.flatnonzero(is_first), len(file)]).tolist()
    return parts


def _row_groups(source: Source, file: np.ndarray, row: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return (n,) int64, the number of each row's group within its file."""
    paths = paths_of(source, file[starts])
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = pool.map(partial(parquet.row_group_sizes, source), paths)
        ends = {printable_path(path): np.cumsum(of_file) for path, of_file in zip(paths, sizes, strict=True)}
    group = np.empty(len(file), np.int64)
    for rows in np.split(np.arange(len(file)), starts[1:]):
        if len(rows):
            group[rows] = np.searchsorted(ends[file[rows[0]]], row[rows], side="right")
    return group
