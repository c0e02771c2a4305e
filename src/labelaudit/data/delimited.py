"""CSV and TSV files as streams of Arrow tables in which every value is a string.

Types are not inferred: they would depend on the first block, so a later "3.5" would fail and the id "007" would
become 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from labelaudit.data.compression import open_decompressed
from labelaudit.data.csv_dialect import Dialect
from labelaudit.data.csv_survey import SEPARATOR_LINE, open_text, read_names
from labelaudit.data.formats import FileSurvey, reading
from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

# The largest row. Arrow keeps a few blocks in memory at a time.
BLOCK_BYTES = 8 << 20


def survey_file(source: Source, path: str, dialect: Dialect) -> FileSurvey:
    """Return the columns of one file, all of type string, and the number of rows that was counted with the dialect."""
    names = read_names(source, path, dialect)
    return FileSurvey(pa.schema([(name, pa.string()) for name in names]), dialect.rows[path])


def read_tables(
    source: Source, path: str, columns: Sequence[str], dialect: Dialect, *, label: str | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of one file in order, block by block; an empty field is an empty string, a missing one is null.

    Raises:
        DatasetError: the file does not fit the dialect, or its number of rows is not the one that was counted.
    """
    rows = 0
    blocks = _blocks(source, path, columns, dialect)
    if label is not None and label in columns and dialect.no_label_is_unquoted:
        unquoted = _blocks(source, path, [label], dialect, null_values=dialect.no_label)
        blocks = (
            table.set_column(columns.index(label), label, other.column(0))
            for table, other in zip(blocks, unquoted, strict=True)
        )
    for table in blocks:
        rows += table.num_rows
        yield _without_missing(table, dialect, label)
    expected = dialect.rows.get(path, rows)
    if rows != expected:
        raise DatasetError(
            f"{path} has {rows} rows, but {expected} rows were counted before. If the file changed, publish it as a "
            "new version. Otherwise set dataset.csv.quote and dataset.csv.delimiter."
        )


def _blocks(
    source: Source, path: str, columns: Sequence[str], dialect: Dialect, null_values: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Yield what Arrow parses; values in `null_values` are null unless they are quoted."""
    options = {
        "read_options": pacsv.ReadOptions(
            block_size=BLOCK_BYTES,
            encoding="utf8" if dialect.encoding == "utf-8" else dialect.encoding,
            skip_rows=_has_separator_line(source, path, dialect),
        ),
        "parse_options": pacsv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            double_quote=dialect.quote is not None,
            escape_char=dialect.escape or False,
            newlines_in_values=True,
        ),
        "convert_options": pacsv.ConvertOptions(
            include_columns=list(columns),
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=list(null_values),
            strings_can_be_null=bool(null_values),
            quoted_strings_can_be_null=False,
        ),
    }
    with open_decompressed(source, path) as handle, reading(path, "CSV"), pacsv.open_csv(handle, **options) as reader:
        for batch in reader:
            if batch.num_rows:
                yield pa.Table.from_batches([batch])


def _has_separator_line(source: Source, path: str, dialect: Dialect) -> bool:
    with open_text(source, path, dialect.encoding) as text:
        return SEPARATOR_LINE.fullmatch(text.readline(64)) is not None


def _without_missing(table: pa.Table, dialect: Dialect, label: str | None) -> pa.Table:
    for index, name in enumerate(table.column_names):
        missing = dialect.missing
        if name == label and not dialect.no_label_is_unquoted:
            missing = (*missing, *dialect.no_label)
        if missing:
            column = table.column(name)
            is_missing = pc.is_in(column, value_set=pa.array(missing, column.type))
            table = table.set_column(index, name, pc.if_else(is_missing, pa.scalar(None, column.type), column))
    return table
