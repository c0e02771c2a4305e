"""CSV and TSV files as streams of Arrow tables in which every value is a string.

Types are not inferred: they would depend on the first block, so a later "3.5" would fail and the id "007" would
become 7.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from labelaudit.data.compression import open_decompressed
from labelaudit.data.formats import reading
from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

# The largest row. Arrow keeps a few blocks in memory at a time.
BLOCK_BYTES = 8 << 20
DELIMITERS = ",\t;|"


def read_schema(source: Source, path: str) -> pa.Schema:
    """Return the columns of one file, all of type string."""
    names, _ = _read_header(source, path)
    return pa.schema([(name, pa.string()) for name in names])


def count_rows(source: Source, path: str) -> int:
    """Return the number of rows of one file. All of it is read."""
    names, _ = _read_header(source, path)
    return sum(table.num_rows for table in read_tables(source, path, names[:1]))


def read_tables(source: Source, path: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of one file in order, block by block; an empty field is an empty string."""
    _, delimiter = _read_header(source, path)
    with open_decompressed(source, path) as handle, reading(path, "CSV"):
        reader = pacsv.open_csv(
            handle,
            read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string())
            ),
        )
        with reader:
            for batch in reader:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])


def _read_header(source: Source, path: str) -> tuple[list[str], str]:
    """Return the column names and the delimiter: the candidate that is most frequent in the header line."""
    with open_decompressed(source, path) as handle, reading(path, "CSV"):
        head = handle.read(BLOCK_BYTES)
    # The block may end within a multi-byte character, but only after the header.
    text = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")
    line = next((line for line in text if line.strip()), "")
    delimiter = "\t" if path.lower().endswith(".tsv") else max(DELIMITERS, key=line.count)
    text.seek(0)
    try:
        names = next(row for row in csv.reader(text, delimiter=delimiter, strict=False) if row)
    except (csv.Error, StopIteration) as error:
        raise DatasetError(
            f"{path} has no header line that can be read as CSV: {error}. Add a line of column names."
        ) from error
    return names, delimiter
