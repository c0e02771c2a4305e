"""Parquet files of probabilities, read and written block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.detection.probability_blocks import ProbabilityBlocks, RawBlock, rows_per_block
from labelaudit.detection.rows import row_digests
from labelaudit.schemas import pred_probs_schema
from labelaudit.storage.file_on_disk import FileOnDisk, HashedFile
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.strings import Strings

_T = TypeVar("_T")

_BUFFER_BYTES = 2**20
# Probabilities hardly get smaller, so compression must be quick. Dictionaries and statistics of them help no reader.
PARQUET_OPTIONS: dict[str, object] = {
    "compression": "snappy",
    "use_dictionary": ["example_id"],
    "write_statistics": ["example_id"],
}


class FoldFile:
    """A file of probabilities on this machine: `RawBlocks` of n rows in the order of the file.

    Attributes:
        class_names: K names, in the order of the columns.
        shape: (n, K).
        dtype: float32.

    Raises:
        ArrowException, KeyError, ValueError: it is not a file of probabilities, also while blocks are read.
    """

    def __init__(self, path: str | Path, files: TemporaryFiles | None = None) -> None:
        self._path = path
        self._files = files  # the file may be one of these
        self.dtype = np.dtype(np.float32)
        with self._open() as file:
            schema = file.schema_arrow
            self.class_names = tuple(json.loads((schema.metadata or {})[b"class_names"]))
            self._has_digests = "row_digest" in schema.names
            rows = file.metadata.num_rows
            first = next(self._batches(file, 1), None)
        # Not the list size of the type: rows of a damaged file may differ in length, which the integrity checks report.
        self.shape = rows, 0 if first is None else first.shape[1]

    def example_ids(self) -> Strings:
        """Read the n ids."""
        with self._open() as file:
            return Strings(file.read(["example_id"])["example_id"])

    def row_digests(self) -> np.ndarray | None:
        """Read the digests of the rows, (n,) uint64. Return None if the file has none."""
        if not self._has_digests:
            return None
        with self._open() as file:
            return np.asarray(file.read(["row_digest"])["row_digest"].to_numpy())

    def blocks(self) -> Iterator[RawBlock]:
        start = 0
        with self._open() as file:
            for values in self._batches(file, rows_per_block(self.shape[1])):
                yield RawBlock(np.arange(start, start + len(values)), values)
                start += len(values)

    def _batches(self, file: pq.ParquetFile, rows: int) -> Iterator[np.ndarray]:
        for batch in file.iter_batches(rows, columns=["pred_probs"]):
            values = batch.column(0).flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            width = len(values) // max(1, len(batch))
            yield values[: width * len(batch)].reshape(len(batch), width)

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        # Buffered, so that a row group is not read at once.
        with pq.ParquetFile(self._path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file


def write_probabilities(
    example_ids: Strings, probabilities: ProbabilityBlocks, class_names: Sequence[str], files: TemporaryFiles
) -> FileOnDisk:
    """Write probabilities with a digest of each row to a temporary file, and return it.

    Args:
        example_ids: M strings.
        probabilities: M rows of K classes. The file has their order.
        class_names: K names.
        files: where the file is made.
    """
    path = files.new()
    schema = pred_probs_schema(tuple(class_names))

    def tables() -> Iterator[pa.Table]:
        for positions, pred_probs in probabilities.blocks():
            yield pred_probs_table(example_ids[positions], pred_probs, class_names)

    with path.open("wb") as file:
        hashed = HashedFile(file)
        with pq.ParquetWriter(cast("BinaryIO", hashed), schema, **PARQUET_OPTIONS) as writer:
            for table in in_background(tables()):
                writer.write_table(table)
    return FileOnDisk.of(path, hashed.sha256, is_temporary=True)


def pred_probs_table(example_ids: Strings, pred_probs: np.ndarray, class_names: Sequence[str]) -> pa.Table:
    """Return probabilities (n, K) float32 as a table of n rows, with a digest of each row."""
    columns = [
        example_ids.arrow.cast(pa.string()),
        pa.FixedSizeListArray.from_arrays(pred_probs.ravel(), pred_probs.shape[1]),
        pa.array(row_digests(example_ids, pred_probs)),
    ]
    return pa.Table.from_arrays(columns, schema=pred_probs_schema(tuple(class_names)))


def in_background(values: Iterator[_T]) -> Iterator[_T]:
    """Compute each value in another thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, values, None)
        while (value := following.result()) is not None:
            following = pool.submit(next, values, None)
            yield value
