"""The list of rows that an audit must encode, divided into shards, in the work folder of the audit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.references import EncodingReference
from labelaudit.errors import StorageError
from labelaudit.storage.manifest import read_checked, sha256_hex
from labelaudit.storage.store import Store
from labelaudit.strings import Strings

_SCHEMA = pa.schema([("content_digest", pa.large_string()), ("file", pa.large_string()), ("row", pa.int64())])
_NAME_DIGITS = 32


@dataclass(frozen=True)
class RowsToEncode:
    """One row for each of n distinct contents, in reading order.

    Attributes:
        digests: n content digests.
        file: (n,) object of str, as `Examples` name files.
        row: (n,) int64, row number within the file.
    """

    digests: Strings
    file: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, chosen: slice | np.ndarray) -> RowsToEncode:
        return RowsToEncode(self.digests[chosen], self.file[chosen], self.row[chosen])

    def by_file(self) -> dict[str, np.ndarray]:
        """Return sorted row numbers by file."""
        rows = pd.Series(self.row).groupby(self.file, sort=False)
        return {str(file): np.unique(numbers) for file, numbers in rows}

    def to_table(self) -> pa.Table:
        return pa.Table.from_arrays([self.digests.arrow, pa.array(self.file), pa.array(self.row)], schema=_SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> RowsToEncode:
        file = table["file"].to_numpy()
        return cls(Strings(table["content_digest"]), file, table["row"].to_numpy())


class EncodingList:
    """The rows of all shards, and how many contents were stored already when the list was made."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._file = pq.ParquetFile(io.BytesIO(data))
        self.shards = self._file.num_row_groups
        self.rows = self._file.metadata.num_rows
        self.stored = int((self._file.schema_arrow.metadata or {})[b"stored"])

    @classmethod
    def of(cls, shards: Sequence[RowsToEncode], stored: int) -> EncodingList:
        sink = io.BytesIO()
        schema = _SCHEMA.with_metadata({"stored": str(stored)})
        with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=["file"]) as writer:
            for rows in shards:
                writer.write_table(rows.to_table(), row_group_size=len(rows))
        return cls(sink.getvalue())

    def shard(self, number: int) -> RowsToEncode:
        return RowsToEncode.from_table(self._file.read_row_group(number))

    def digests(self) -> Strings:
        """Return the content digests of all shards."""
        return Strings(self._file.read(["content_digest"])["content_digest"])

    def write(self, store: Store, folder: str) -> EncodingReference:
        """Store the list. Different lists have different names, so runs at the same time do not disturb each other."""
        sha256 = sha256_hex(self._data)
        key = f"{folder}/{sha256[:_NAME_DIGITS]}.parquet"
        store.write(key, self._data)
        return self.reference(key)

    def reference(self, key: str) -> EncodingReference:
        return EncodingReference(
            key=key, sha256=sha256_hex(self._data), shards=self.shards, rows=self.rows, stored=self.stored
        )


def load_encoding_list(store: Store, reference: EncodingReference) -> EncodingList:
    """Return the list that an earlier step stored.

    Raises:
        StorageError: it was changed since.
    """
    return EncodingList(read_checked(store, reference.key, reference.sha256))


def stored_encoding_lists(store: Store, folder: str) -> list[tuple[str, EncodingList]]:
    """Return the lists that earlier runs of an audit stored, with their keys. Damaged ones are left out."""
    lists = []
    for file in store.find(folder):
        try:
            data = store.read(file.path)
        except StorageError as error:
            if error.transient:
                raise
            continue
        if file.path == f"{folder}/{sha256_hex(data)[:_NAME_DIGITS]}.parquet":
            lists.append((file.path, EncodingList(data)))
    return lists
