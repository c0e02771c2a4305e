"""Parquet files as streams of Arrow tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.data.formats import FileSurvey, reading
from labelaudit.data.source import Source
from labelaudit.data.values import family, is_binary, is_text, uuid_string, without_encoding
from labelaudit.data.wanted_rows import only_wanted, wanted_within
from labelaudit.errors import DatasetError

# Column chunks are read through a buffer of this size, because a row group may not fit into memory.
BUFFER_BYTES = 4 << 20
UUID_NAME = re.compile(r"uuid|guid", re.IGNORECASE)


def survey_file(source: Source, path: str) -> FileSurvey:
    """Return the schema of one file, with its metadata (such as Hugging Face features), and the number of its rows.

    UUIDs become strings; other extension types become what they are stored as.
    """
    with source.open(path) as handle, reading(path, "Parquet"), pq.ParquetFile(handle) as parquet:
        schema, rows = parquet.schema_arrow, int(parquet.metadata.num_rows)
    fields = [field.with_type(_read_type(field)) for field in schema]
    return FileSurvey(pa.schema(fields, metadata=schema.metadata), rows)


def text_columns(rows: pa.Table, schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns whose values are bytes that are all text in a sample, as Impala and old pandas write text.

    Args:
        rows: the sample.
        schema: the types in all files. Bytes that are strings in the sample are text too.
    """
    binary = [name for name in rows.column_names if is_binary(_value_type(schema.field(name).type))]
    return tuple(name for name in binary if family(rows.column(name).type) == "string" or is_text(rows.column(name)))


def with_texts(rows: pa.Table, names: Sequence[str], path: str) -> pa.Table:
    """Return a table with columns of bytes as strings.

    Raises:
        DatasetError: a value is not valid UTF-8.
    """
    for index, name in enumerate(rows.column_names):
        if name in names:
            try:
                column = without_encoding(rows.column(name)).cast(pa.large_binary()).cast(pa.large_string())
            except pa.ArrowInvalid as error:
                raise DatasetError(
                    f"Column {name!r} begins with values that are text stored as bytes, but a later value in {path} "
                    "is not valid UTF-8. Write the column as strings."
                ) from error
            rows = rows.set_column(index, name, column)
    return rows


def read_tables(
    source: Source,
    path: str,
    columns: Sequence[str],
    *,
    texts: Sequence[str] = (),
    max_rows: int,
    max_bytes: int,
    wanted: np.ndarray | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of one file in order, at most `max_rows` and about `max_bytes` at a time.

    UUIDs and the columns in `texts` become strings. Only the rows with the numbers in `wanted` are yielded, if it is
    given. Row groups without any of them are not read.

    Raises:
        DatasetError: the file is damaged, or a value of a column in `texts` is not valid UTF-8.
    """
    with (
        source.open(path) as handle,
        reading(path, "Parquet"),
        pq.ParquetFile(handle, buffer_size=BUFFER_BYTES) as parquet,
    ):
        row_bytes = _mean_row_bytes(parquet.metadata)
        rows = max(1, min(max_rows, int(max_bytes / max(row_bytes, 1.0))))
        for batch in _batches(parquet, rows, list(columns), wanted):
            batch.validate(full=True)  # Parquet does not guarantee that strings are UTF-8
            yield with_texts(_as_read(pa.Table.from_batches([batch])), texts, path)


def row_group_sizes(source: Source, path: str) -> list[int]:
    """Return the number of rows of each row group of a file.

    Raises:
        DatasetError: the file is damaged.
    """
    with source.open(path) as handle, reading(path, "Parquet"), pq.ParquetFile(handle) as parquet:
        metadata = parquet.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _batches(
    parquet: pq.ParquetFile, rows: int, columns: list[str], wanted: np.ndarray | None
) -> Iterator[pa.RecordBatch]:
    if wanted is None:
        yield from parquet.iter_batches(batch_size=rows, columns=columns)
        return
    start = 0
    for group in range(parquet.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        within_group = wanted_within(wanted, start, count)
        if len(within_group):
            batches = parquet.iter_batches(batch_size=rows, row_groups=[group], columns=columns)
            yield from only_wanted(batches, within_group)
        start += count


def _as_read(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        type = _read_type(field)
        if type == field.type:
            continue
        column = without_encoding(table.column(index))
        if pa.types.is_string(type):
            values = column.to_pylist()
            column = pa.array([None if value is None else uuid_string(value) for value in values], type)
        table = table.set_column(index, field.with_type(type), column)
    return table


def _read_type(field: pa.Field) -> pa.DataType:
    type = field.type
    is_extension = isinstance(type, pa.BaseExtensionType)
    stored = type.storage_type if is_extension else type
    is_named = pa.types.is_fixed_size_binary(stored) and stored.byte_width == 16 and UUID_NAME.search(field.name)
    if is_named or (is_extension and type.extension_name == "arrow.uuid"):
        return pa.string()
    # The numbers of a period or interval of pandas do not mean anything by themselves.
    return type if is_extension and type.extension_name.startswith("pandas.") else stored


def _value_type(type: pa.DataType) -> pa.DataType:
    return type.value_type if pa.types.is_dictionary(type) else type


def _mean_row_bytes(metadata: pq.FileMetaData) -> float:
    # The sum for all columns, because asking pyarrow 26 about a damaged column chunk kills the process.
    total = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return float(total) / max(int(metadata.num_rows), 1)
