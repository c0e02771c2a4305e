"""The rows of a dataset as a stream of Arrow tables, for all formats of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data import arrow_files, delimited, jsonl, parquet
from labelaudit.data.file_layout import Layout, printable_path
from labelaudit.data.formats import Format
from labelaudit.data.partitions import partitions_of
from labelaudit.data.source import Source
from labelaudit.data.table_survey import first_column
from labelaudit.data.values import to_strings
from labelaudit.data.wanted_rows import WantedRows, only_wanted
from labelaudit.errors import DatasetError

MAX_ROWS = 16_384
MAX_BYTES = 32 << 20  # about the most encoded values in one table of the stream
SAMPLE_ROWS = 1_000


class Piece(NamedTuple):
    """Consecutive rows of one file."""

    file: str
    split: str | None  # of the file
    first_row: int  # position in the file
    rows: pa.Table


def read_tables(
    source: Source,
    layout: Layout,
    columns: Sequence[str],
    *,
    label: str | None = None,
    max_rows: int = MAX_ROWS,
) -> Iterator[Piece]:
    """Yield the rows of a dataset in the order of files and rows.

    Args:
        source: the dataset's files.
        layout: its tables and their format.
        columns: the columns to read; each table has them in this order. CSV values are strings.
        label: the column whose values must have the same type in a JSONL file.
        max_rows: most rows of one table.
    """
    for file, split in zip(layout.tables, layout.splits, strict=True):
        first_row = 0
        stored = [name for name in columns if name not in layout.partitions]
        # At least one column is read, because a table without columns has no rows.
        read = stored or [first_column(source, layout, file)]
        for table in _read_shard(source, layout, file.path, read, label, max_rows):
            _check_partitions(table, file.path)
            table = _with_partitions(table, layout, file.path)
            for start in range(0, table.num_rows, max_rows):
                piece = table.slice(start, max_rows).select(list(columns))
                yield Piece(file.path, split, first_row + start, piece)
            first_row += table.num_rows


def read_wanted_tables(
    source: Source, layout: Layout, columns: Sequence[str], wanted: WantedRows, *, max_rows: int = MAX_ROWS
) -> Iterator[tuple[str, np.ndarray, pa.Table]]:
    """Yield the path of a file, row numbers in it and these rows, only for wanted rows, in the order of files and rows.

    Files without wanted rows are not opened, and row groups without them are not read. Wanted rows that no longer
    exist are left out.
    """
    for file in layout.tables:
        numbers = wanted.get(printable_path(file.path), np.empty(0, np.int64))
        if not len(numbers):
            continue
        stored = [name for name in columns if name not in layout.partitions]
        read = stored or [first_column(source, layout, file)]
        start = 0
        for table in _read_shard(source, layout, file.path, read, None, max_rows, numbers):
            table = _with_partitions(table, layout, file.path)
            for first in range(0, table.num_rows, max_rows):
                piece = table.slice(first, max_rows).select(list(columns))
                yield file.path, numbers[start : start + piece.num_rows], piece
                start += piece.num_rows


def _check_partitions(table: pa.Table, path: str) -> None:
    """Check that columns that are in a file and in the names of its folders have the same values in both.

    Raises:
        DatasetError: a value differs.
    """
    for name, value in partitions_of(path).items():
        if name not in table.column_names:
            continue
        stored = pc.unique(to_strings(table.column(name))).to_pylist()
        different = next((other for other in stored if other != value), value)
        if different != value:
            raise DatasetError(
                f"{path} contains {different!r} in column {name!r}, but its folder says {value!r}. Correct one of them."
            )


def _with_partitions(table: pa.Table, layout: Layout, path: str) -> pa.Table:
    values = partitions_of(path)
    for name in layout.partitions:
        table = table.append_column(name, pa.repeat(pa.scalar(values[name], pa.string()), table.num_rows))
    return table


def read_sample(source: Source, layout: Layout, columns: Sequence[str]) -> pa.Table:
    """Return the first rows of the dataset: at most SAMPLE_ROWS, fewer if rows are large, at least one.

    Raises:
        DatasetError: the dataset has no row.
    """
    for piece in read_tables(source, layout, columns, max_rows=SAMPLE_ROWS):
        if piece.rows.num_rows:
            return piece.rows
    raise DatasetError(
        f"{source.url} has no rows: its {len(layout.tables)} {layout.format} file(s) contain only column names. "
        "Check dataset.url."
    )


def _read_shard(
    source: Source,
    layout: Layout,
    path: str,
    columns: Sequence[str],
    label: str | None,
    max_rows: int,
    wanted: np.ndarray | None = None,
) -> Iterator[pa.Table]:
    if layout.format == Format.PARQUET:
        texts = layout.text_columns
        return parquet.read_tables(
            source, path, columns, texts=texts, max_rows=max_rows, max_bytes=MAX_BYTES, wanted=wanted
        )
    if layout.format == Format.ARROW:
        return arrow_files.read_tables(source, path, columns, wanted=wanted)
    if layout.format == Format.CSV:
        assert layout.dialect is not None, "the survey finds the dialect"
        tables = delimited.read_tables(source, path, columns, layout.dialect, label=label)
        return tables if wanted is None else only_wanted(tables, wanted)
    return jsonl.read_tables(source, path, columns, label=label, max_rows=max_rows, max_bytes=MAX_BYTES, wanted=wanted)
