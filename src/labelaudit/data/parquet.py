"""Parquet files as streams of Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.data.formats import reading
from labelaudit.data.source import Source

# Column chunks are read through a buffer of this size, because a row group may not fit into memory.
BUFFER_BYTES = 4 << 20


def read_schema(source: Source, path: str) -> pa.Schema:
    """Return the schema of one file, with its metadata (such as Hugging Face features)."""
    with source.open(path) as handle, reading(path, "Parquet"):
        return pq.read_schema(handle)


def count_rows(source: Source, path: str) -> int:
    """Return the number of rows of one file, from its footer."""
    with source.open(path) as handle, reading(path, "Parquet"), pq.ParquetFile(handle) as parquet:
        return int(parquet.metadata.num_rows)


def read_tables(
    source: Source, path: str, columns: Sequence[str], *, max_rows: int, max_bytes: int
) -> Iterator[pa.Table]:
    """Yield the rows of one file in order, at most `max_rows` and about `max_bytes` at a time."""
    with (
        source.open(path) as handle,
        reading(path, "Parquet"),
        pq.ParquetFile(handle, buffer_size=BUFFER_BYTES) as parquet,
    ):
        row_bytes = _mean_row_bytes(parquet.metadata)
        rows = max(1, min(max_rows, int(max_bytes / max(row_bytes, 1.0))))
        for batch in parquet.iter_batches(batch_size=rows, columns=list(columns)):
            batch.validate(full=True)  # Parquet does not guarantee that strings are UTF-8
            yield pa.Table.from_batches([batch])


def _mean_row_bytes(metadata: pq.FileMetaData) -> float:
    # The sum for all columns, because asking pyarrow 26 about a damaged column chunk kills the process.
    total = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return float(total) / max(int(metadata.num_rows), 1)
