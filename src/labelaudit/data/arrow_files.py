"""Arrow IPC files and streams, such as those of Hugging Face's `save_to_disk`, as streams of Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from labelaudit.data.formats import FileSurvey, reading
from labelaudit.data.source import Source
from labelaudit.data.wanted_rows import only_wanted

_FILE_MAGIC = b"ARROW1"


def survey_file(source: Source, path: str) -> FileSurvey:
    """Return the schema of one file, with its metadata (such as Hugging Face features), and the number of its rows."""
    with _open(source, path) as (schema, batches):
        return FileSurvey(schema, sum(batch.num_rows for batch in batches))


def read_tables(
    source: Source, path: str, columns: Sequence[str], *, wanted: np.ndarray | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of one file in order, batch by batch as they were written.

    Only the rows with the numbers in `wanted` are yielded, if it is given.
    """
    with _open(source, path) as (_, batches):
        chosen = (batch.select(list(columns)) for batch in batches)
        for batch in chosen if wanted is None else only_wanted(chosen, wanted):
            batch.validate(full=True)
            yield pa.Table.from_batches([batch])


@contextmanager
def _open(source: Source, path: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with source.open(path) as handle, reading(path, "Arrow"):
        is_file = handle.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        handle.seek(0)
        if is_file:
            with pa.ipc.open_file(handle) as reader:
                yield reader.schema, map(reader.get_batch, range(reader.num_record_batches))
        else:
            yield from _stream(handle)


def _stream(handle: BinaryIO) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with pa.ipc.open_stream(handle) as reader:
        yield reader.schema, iter(reader)
