"""The rows of a dataset as a stream of Arrow tables, whatever the format of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from labelaudit.data import delimited, jsonl, parquet
from labelaudit.data.formats import Layout, check_head
from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

MAX_ROWS = 16_384
MAX_BYTES = 32 << 20  # of encoded values in one piece of the stream
SAMPLE_ROWS = 1_000


def read_schema(source: Source, layout: Layout) -> pa.Schema:
    """Schema of the first shard, after all shards have been checked to have the same columns.

    A column whose type differs between shards gets the type of a string column.

    Raises:
        DatasetError: a shard cannot be read, has other columns, or two columns have one name.
    """
    first = _shard_schema(source, layout, 0)
    fields = {field.name: field for field in first}
    for index in range(1, len(layout.tables)):
        schema = _shard_schema(source, layout, index)
        # Keys of JSON objects may be left out, so that shards may differ in them.
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
    max_bytes: int = MAX_BYTES,
) -> Iterator[tuple[str, int, pa.Table]]:
    """(file, position of the first row in it, rows) in the order of files and rows.

    A table has the asked `columns` in their order, at most `max_rows` rows and about `max_bytes`.
    CSV values are strings; `label` is the column whose values may not be of several types.
    """
    for file in layout.tables:
        first_row = 0
        for table in _read_shard(source, layout, file.path, columns, label, max_rows, max_bytes):
            for start in range(0, table.num_rows, max_rows):
                piece = table.slice(start, max_rows).select(list(columns))
                yield file.path, first_row + start, piece
            first_row += table.num_rows


def read_sample(source: Source, layout: Layout, columns: Sequence[str]) -> pa.Table:
    """The first rows of the dataset: at most SAMPLE_ROWS, fewer where rows are large, at least one.

    Raises:
        DatasetError: the dataset has no row.
    """
    for _, _, table in read_tables(source, layout, columns, max_rows=SAMPLE_ROWS):
        if table.num_rows:
            return table
    raise DatasetError(f"{source.url} has no rows: {len(layout.tables)} {layout.format} file(s) hold column names only")


def _shard_schema(source: Source, layout: Layout, index: int) -> pa.Schema:
    file = layout.tables[index]
    check_head(source, file, layout.format)
    room = {"parquet": parquet, "csv": delimited, "jsonl": jsonl}[layout.format]
    schema = room.read_schema(source, file.path)
    doubled = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if doubled:
        raise DatasetError(f"{file.path} has two columns named {doubled[0]!r}; give every column a name of its own")
    return schema


def _check_same_columns(layout: Layout, index: int, first: pa.Schema, schema: pa.Schema) -> None:
    missing = [name for name in first.names if name not in set(schema.names)]
    extra = [name for name in schema.names if name not in set(first.names)]
    if not missing and not extra:
        return
    difference = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} besides"
    raise DatasetError(
        f"shard {layout.tables[index].path} {difference}, unlike {layout.tables[0].path}; "
        "all shards must have the same columns"
    )


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
    max_bytes: int,
) -> Iterator[pa.Table]:
    if layout.format == "parquet":
        return parquet.read_tables(source, path, columns, max_rows=max_rows, max_bytes=max_bytes)
    if layout.format == "csv":
        return delimited.read_tables(source, path, columns)
    return jsonl.read_tables(source, path, columns, label=label, max_rows=max_rows, max_bytes=max_bytes)
