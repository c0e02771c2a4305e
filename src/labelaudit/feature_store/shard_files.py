"""The two files of a shard of features: the data in Parquet, and a small index that is written after the data."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.codec import from_record, to_record
from labelaudit.storage.manifest import dump_json, sha256_hex
from labelaudit.strings import Strings

SHARD_SCHEMA_VERSION = "1"
# Enough that two files never have the same name.
_NAME_DIGITS = 32


class DamagedShardError(Exception):
    """Why a shard cannot be used, as the end of a sentence."""


@dataclass(frozen=True)
class _IndexRecord:
    schema_version: str
    encoder: str
    dim: int
    rows: int
    size: int
    sha256: str
    digests: tuple[str, ...]


@dataclass(frozen=True)
class ShardIndex:
    """What a shard contains. It is known before the data is read."""

    encoder: str  # `EncoderSpec.key`
    dim: int
    size: int  # of the data file, in bytes
    sha256: str  # of the data file
    digests: Strings

    @property
    def name(self) -> str:
        return self.sha256[:_NAME_DIGITS]

    @property
    def rows(self) -> int:
        return len(self.digests)

    def to_json(self) -> bytes:
        record = _IndexRecord(
            SHARD_SCHEMA_VERSION, self.encoder, self.dim, self.rows, self.size, self.sha256, tuple(self.digests)
        )
        return dump_json(to_record(record))

    @classmethod
    def from_record(cls, record: dict[str, object], *, name: str, encoder: str) -> ShardIndex:
        """Return the index in a record.

        Raises:
            DamagedShardError: it is not the index of this shard, or it is of another encoder.
        """
        try:
            stored = from_record(_IndexRecord, record)
        except ValueError as error:
            raise DamagedShardError(f"{error}") from error
        if stored.schema_version != SHARD_SCHEMA_VERSION:
            raise DamagedShardError(f"its schema version is {stored.schema_version[:20]}, not {SHARD_SCHEMA_VERSION}")
        if stored.encoder != encoder:
            raise DamagedShardError(f"it belongs to the encoder {stored.encoder[:80]}")
        index = cls(stored.encoder, stored.dim, stored.size, stored.sha256, Strings(stored.digests))
        if index.name != name or index.rows != stored.rows:
            raise DamagedShardError("its name or its number of rows does not fit its content")
        return index


def make_shard(encoder: str, digests: Strings, features: np.ndarray) -> tuple[bytes, ShardIndex]:
    """Return the data file of a shard, and its index. The same rows in any order give the same bytes.

    Args:
        encoder: the key of the encoder.
        digests: n distinct content digests.
        features: (n, d) float16.
    """
    order = digests.order()
    digests, dim = digests[order], features.shape[1]
    values = np.ascontiguousarray(features[order], "<f2")
    # Bytes, because pyarrow needs ten times as long to read a list of half floats.
    type = pa.binary(2 * dim)
    columns = [
        digests.arrow.cast(pa.string()),
        pa.FixedSizeBinaryArray.from_buffers(type, len(values), [None, pa.py_buffer(values)]),
    ]
    about = {"schema_version": SHARD_SCHEMA_VERSION, "encoder": encoder, "dim": str(dim), "dtype": "float16"}
    schema = pa.schema([("content_digest", pa.string()), ("features", type)], metadata=about)
    sink = io.BytesIO()
    # Neither column gets smaller by compression or dictionaries.
    pq.write_table(
        pa.Table.from_arrays(columns, schema=schema),
        sink,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    data = sink.getvalue()
    return data, ShardIndex(encoder, dim, len(data), sha256_hex(data), digests)


def read_shard(data: bytes, index: ShardIndex) -> np.ndarray:
    """Return the features in a data file, (n, d) float16, in the order of the index.

    Raises:
        DamagedShardError: the file is not the one that the index describes.
    """
    sha256 = sha256_hex(data)
    if sha256 != index.sha256:
        raise DamagedShardError(f"its sha256 is {sha256[:12]}…, not {index.sha256[:12]}… as recorded")
    try:
        table = pq.read_table(io.BytesIO(data), columns=["content_digest", "features"])
    except (pa.ArrowException, KeyError) as error:
        raise DamagedShardError(f"it is not a file of features ({str(error)[:80]})") from error
    type = table.schema.field("features").type
    if type != pa.binary(2 * index.dim):
        raise DamagedShardError(f"its features are {type}, not {index.dim} values of 16 bits")
    if not Strings(table["content_digest"]).arrow.equals(index.digests.arrow):
        raise DamagedShardError("its digests are not those of its index")
    column = table["features"].combine_chunks()
    values = np.frombuffer(column.buffers()[1], "<f2", index.rows * index.dim, 2 * column.offset * index.dim)
    return values.reshape(index.rows, index.dim)
