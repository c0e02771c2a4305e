"""The rows of a dataset as a stream of Arrow tables, for all formats of tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import pyarrow as pa

from labelaudit.data import arrow_files, delimited, jsonl, parquet
from labelaudit.data.file_layout import Layout, printable_path
from labelaudit.data.formats import Format, check_head
from labelaudit.data.partitions import partitions_of
from labelaudit.data.source import Source, SourceFile
from labelaudit.data.split_names import TRAINING_SPLITS, split_in_name
from labelaudit.errors import DatasetError

MAX_ROWS = 16_384
MAX_BYTES = 32 << 20  # about the most encoded values in one table of the stream
SAMPLE_ROWS = 1_000


@dataclass(frozen=True)
class Survey:
    """The columns and the number of rows of all tables of a dataset, and the tables that are audited."""

    schema: pa.Schema
    rows: int
    layout: Layout


class Piece(NamedTuple):
    """Consecutive rows of one file."""

    file: str
    split: str | None  # of the file
    first_row: int  # position in the file
    rows: pa.Table


def survey_tables(
    source: Source, layout: Layout, *, label: str | None = None, skips_unreadable: bool = False
) -> Survey:
    """Return the columns of a dataset, after checking that all shards have the same ones, and the number of its rows.

    A column whose type differs between shards becomes a string column (a float column if all are numbers). The columns
    in the names of folders come last. Files of a test split without the label column are left out, as are examples of
    submissions next to them.

    Args:
        source: the dataset's files.
        layout: its tables and their format.
        label: the label column, if it is known.
        skips_unreadable: leave out tables that cannot be read.

    Raises:
        DatasetError: a shard cannot be read or has other columns, or two columns have the same name.
    """
    schemas: dict[str, pa.Schema] = {}
    unreadable: list[SourceFile] = []
    for file in layout.tables:
        try:
            schemas[file.path] = _shard_schema(source, layout, file)
        except DatasetError:
            if not skips_unreadable:
                raise
            unreadable.append(file)
    layout = layout.without(unreadable, "it cannot be read")
    if not layout.tables:
        raise DatasetError(f"None of the {len(unreadable)} tables of {source.url} can be read. Write them again.")
    layout = layout.without(_without_label(layout, schemas, label), "it has no labels")
    first = schemas[layout.tables[0].path]
    fields = {field.name: field for field in first}
    for file in layout.tables[1:]:
        # JSON objects may leave out keys, so shards may differ in them.
        if layout.format != Format.JSONL:
            _check_same_columns(layout, file.path, first, schemas[file.path])
        for field in schemas[file.path]:
            fields[field.name] = _merge(fields.get(field.name, field), field)
    # Some writers also store the column in the files.
    layout = replace(layout, partitions=tuple(name for name in layout.partitions if name not in fields))
    fields |= {name: pa.field(name, pa.string()) for name in layout.partitions}
    rows = sum(_count_rows(source, layout, file.path) for file in layout.tables)
    return Survey(pa.schema(list(fields.values()), metadata=first.metadata), rows, layout)


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
        read = stored or _READERS[layout.format].read_schema(source, file.path).names[:1]
        for table in _read_shard(source, layout, file.path, read, label, max_rows):
            table = _with_partitions(table, layout, file.path)
            for start in range(0, table.num_rows, max_rows):
                piece = table.slice(start, max_rows).select(list(columns))
                yield Piece(file.path, split, first_row + start, piece)
            first_row += table.num_rows


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


def _shard_schema(source: Source, layout: Layout, file: SourceFile) -> pa.Schema:
    check_head(source, file, layout.format)
    schema: pa.Schema = _READERS[layout.format].read_schema(source, file.path)
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise DatasetError(f"{file.path} has two columns named {repeated[0]!r}. Rename one of them.")
    return schema


def _without_label(layout: Layout, schemas: Mapping[str, pa.Schema], label: str | None) -> list[SourceFile]:
    """Return the files that have no labels by intention: a test split, and examples of submissions.

    Kaggle publishes datasets so: train.csv, test.csv without the column of labels, sample_submission.csv. A file of
    another name that lacks the column is a mistake, which must not pass silently.
    """
    labeled = [file for file in layout.tables if _may_be_labeled(file.path, schemas[file.path], label)]
    if not labeled:
        return []
    expected = set(schemas[labeled[0].path].names)
    others = [file for file in layout.tables if not expected <= set(schemas[file.path].names)]
    return [file for file in others if _is_unlabeled_by_name(file.path)]


def _may_be_labeled(path: str, schema: pa.Schema, label: str | None) -> bool:
    if label is None:
        return split_in_name(path) in TRAINING_SPLITS
    return label in schema.names and not _is_submission(path)


def _is_submission(path: str) -> bool:
    return "submission" in path.lower()


def _is_unlabeled_by_name(path: str) -> bool:
    split = split_in_name(path)
    return (split is not None and split not in TRAINING_SPLITS) or _is_submission(path)


def _check_same_columns(layout: Layout, path: str, first: pa.Schema, schema: pa.Schema) -> None:
    missing = [name for name in first.names if name not in set(schema.names)]
    extra = [name for name in schema.names if name not in set(first.names)]
    if not missing and not extra:
        return
    difference = f"has no column {missing[0]!r}" if missing else f"has an extra column {extra[0]!r}"
    raise DatasetError(
        f"The shard {printable_path(path)} {difference}, unlike {printable_path(layout.tables[0].path)}. "
        "Write all shards with the same columns, or point dataset.url at one of them."
    )


def _count_rows(source: Source, layout: Layout, path: str) -> int:
    return int(_READERS[layout.format].count_rows(source, path))


def _merge(known: pa.Field, field: pa.Field) -> pa.Field:
    if known.type == field.type or pa.types.is_null(field.type):
        return known
    if pa.types.is_null(known.type):
        return field
    numeric = {pa.types.is_integer(t) or pa.types.is_floating(t) for t in (known.type, field.type)}
    return pa.field(known.name, pa.float64() if numeric == {True} else pa.string(), metadata=known.metadata)


def _read_shard(
    source: Source,
    layout: Layout,
    path: str,
    columns: Sequence[str],
    label: str | None,
    max_rows: int,
) -> Iterator[pa.Table]:
    if layout.format == Format.PARQUET:
        return parquet.read_tables(source, path, columns, max_rows=max_rows, max_bytes=MAX_BYTES)
    if layout.format == Format.ARROW:
        return arrow_files.read_tables(source, path, columns)
    if layout.format == Format.CSV:
        return delimited.read_tables(source, path, columns)
    return jsonl.read_tables(source, path, columns, label=label, max_rows=max_rows, max_bytes=MAX_BYTES)


_READERS: Mapping[str, ModuleType] = {
    Format.PARQUET: parquet,
    Format.ARROW: arrow_files,
    Format.CSV: delimited,
    Format.JSONL: jsonl,
}
