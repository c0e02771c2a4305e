"""The rows of a dataset as a stream of Arrow tables, for all formats of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from labelaudit.data import delimited, jsonl, parquet
from labelaudit.data.csv_detection import find_dialect
from labelaudit.data.csv_dialect import CsvOptions, Dialect
from labelaudit.data.formats import Layout, check_head
from labelaudit.data.source import Source
from labelaudit.data.values import family, is_binary
from labelaudit.errors import DatasetError

MAX_ROWS = 16_384
MAX_BYTES = 32 << 20  # about the most encoded values in one table of the stream
SAMPLE_ROWS = 1_000


def with_dialect(source: Source, layout: Layout, options: CsvOptions) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout with the dialect of its CSV files, and a sentence for each choice that is not the plain one.

    Raises:
        DatasetError: a file cannot be read, or its dialect differs from that of the others.
    """
    if layout.format != "csv":
        return layout, ()
    for file in layout.tables:
        check_head(source, file, layout.format)
    found = find_dialect(source, [file.path for file in layout.tables], options)
    return replace(layout, dialect=found.dialect), found.sentences


def read_schema(source: Source, layout: Layout) -> pa.Schema:
    """Return the schema of a dataset, after checking that all shards have the same columns.

    A column whose type differs between shards becomes a string column (a float column if all are numbers).

    Raises:
        DatasetError: a shard cannot be read or has other columns, or two columns have the same name.
    """
    first = _shard_schema(source, layout, 0)
    fields = {field.name: field for field in first}
    for index in range(1, len(layout.tables)):
        schema = _shard_schema(source, layout, index)
        # JSON objects may leave out keys, so shards may differ in them.
        if layout.format != "jsonl":
            _check_same_columns(layout, index, first, schema)
        for field in schema:
            fields[field.name] = _merge(fields.get(field.name, field), field)
    return pa.schema(list(fields.values()), metadata=first.metadata)


def read_tables(
    source: Source,
    layout: Layout,
    columns: Sequence[str],
    *,
    label: str | None = None,
    max_rows: int = MAX_ROWS,
) -> Iterator[tuple[str, int, pa.Table]]:
    """Yield (file, position of the first row in the file, rows) in the order of files and rows.

    Args:
        source: the dataset's files.
        layout: its tables and their format.
        columns: the columns to read; each table has them in this order. CSV values are strings.
        label: the column whose values must have the same type in a JSONL file.
        max_rows: most rows of one table.
    """
    for file in layout.tables:
        first_row = 0
        for table in _read_shard(source, layout, file.path, columns, label, max_rows):
            for start in range(0, table.num_rows, max_rows):
                piece = table.slice(start, max_rows).select(list(columns))
                yield file.path, first_row + start, piece
            first_row += table.num_rows


def read_sample(source: Source, layout: Layout, columns: Sequence[str]) -> pa.Table:
    """Return the first rows of the dataset: at most SAMPLE_ROWS, fewer if rows are large, at least one.

    Raises:
        DatasetError: the dataset has no row.
    """
    for _, _, table in read_tables(source, layout, columns, max_rows=SAMPLE_ROWS):
        if table.num_rows:
            return table
    raise DatasetError(
        f"{source.url} has no rows: its {len(layout.tables)} {layout.format} file(s) contain only column names. "
        "Check dataset.url."
    )


def _shard_schema(source: Source, layout: Layout, index: int) -> pa.Schema:
    file = layout.tables[index]
    check_head(source, file, layout.format)
    if layout.format == "csv":
        schema = delimited.read_schema(source, file.path, _dialect(layout))
    else:
        reader = {"parquet": parquet, "jsonl": jsonl}[layout.format]
        schema = reader.read_schema(source, file.path)
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise DatasetError(f"{file.path} has two columns named {repeated[0]!r}. Rename one of them.")
    return schema


def _check_same_columns(layout: Layout, index: int, first: pa.Schema, schema: pa.Schema) -> None:
    missing = [name for name in first.names if name not in set(schema.names)]
    extra = [name for name in schema.names if name not in set(first.names)]
    if not missing and not extra:
        return
    difference = f"has no column {missing[0]!r}" if missing else f"has an extra column {extra[0]!r}"
    raise DatasetError(
        f"The shard {layout.tables[index].path} {difference}, unlike {layout.tables[0].path}. "
        "Write all shards with the same columns."
    )


def _merge(known: pa.Field, field: pa.Field) -> pa.Field:
    if known.type == field.type or pa.types.is_null(field.type):
        return known
    if pa.types.is_null(known.type):
        return field
    families = {family(known.type), family(field.type)}
    binary = [part for part in (known, field) if is_binary(part.type)]
    if families == {"string", "other"} and binary:
        return binary[0]  # perhaps its bytes are text
    if families == {"other"}:
        return known  # such as times in several zones
    if "other" in families:
        return pa.field(known.name, pa.dense_union([known, field]))
    return pa.field(known.name, pa.float64() if families == {"number"} else pa.string(), metadata=known.metadata)


def _read_shard(
    source: Source,
    layout: Layout,
    path: str,
    columns: Sequence[str],
    label: str | None,
    max_rows: int,
) -> Iterator[pa.Table]:
    if layout.format == "parquet":
        texts = layout.text_columns
        return parquet.read_tables(source, path, columns, texts=texts, max_rows=max_rows, max_bytes=MAX_BYTES)
    if layout.format == "csv":
        return delimited.read_tables(source, path, columns, _dialect(layout), label=label)
    return jsonl.read_tables(source, path, columns, label=label, max_rows=max_rows, max_bytes=MAX_BYTES)


def _dialect(layout: Layout) -> Dialect:
    if layout.dialect is None:
        raise DatasetError("The dialect of the CSV files is unknown. Prepare the dataset again.")
    return layout.dialect
