"""The list of rows that an audit must encode, divided into shards, and what is known of them, in its work folder.

<work folder>/encoding/<n>.parquet          a list: a row group for each shard
<work folder>/encoding/<n>/<shard>-<name>   empty: the features with this name have rows of this shard only
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.references import EncodingReference
from labelaudit.storage.manifest import read_checked, sha256_hex
from labelaudit.storage.store import Store
from labelaudit.strings import Strings

_SCHEMA = pa.schema([("content_digest", pa.large_string()), ("file", pa.large_string()), ("row", pa.int64())])
# The last list that this process has read, by its checksum. Each job needs it, and it has some 22 bytes a row.
_last: dict[str, bytes] = {}


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
    """The rows of all shards, and what was stored already when the list was made.

    Attributes:
        data: the list as a file.
        sizes: rows of each shard.
        stored: contents that were stored.
        known: names of the stored features when the list was made, which have none of its rows.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
        metadata = self._file.metadata
        self.sizes = [metadata.row_group(shard).num_rows for shard in range(metadata.num_row_groups)]
        about = self._file.schema_arrow.metadata or {}
        self.stored = int(about[b"stored"])
        self.known = frozenset(about[b"known"].decode().split())

    @classmethod
    def of(cls, shards: Sequence[RowsToEncode], stored: int, known: Collection[str]) -> EncodingList:
        sink = io.BytesIO()
        schema = _SCHEMA.with_metadata({"stored": str(stored), "known": " ".join(sorted(known))})
        with pq.ParquetWriter(
            sink, schema, compression="zstd", use_dictionary=["file"], write_page_checksum=True
        ) as writer:
            for rows in shards:
                writer.write_table(rows.to_table(), row_group_size=len(rows))
        return cls(sink.getvalue())

    def shard(self, number: int) -> RowsToEncode:
        return RowsToEncode.from_table(self._file.read_row_group(number))

    def digests(self, shards: Sequence[int]) -> Strings:
        """Return the content digests of some shards, one after the other."""
        table = self._file.read_row_groups(shards, ["content_digest"])
        return Strings(table["content_digest"])

    def contains(self, digests: Strings) -> bool:
        """Return whether all of the contents are in the list."""
        return bool((self.digests(range(len(self.sizes))).positions_of(digests) >= 0).all())

    def reference(self, key: str) -> EncodingReference:
        return EncodingReference(
            key=key, sha256=sha256_hex(self.data), shards=len(self.sizes), rows=sum(self.sizes), stored=self.stored
        )


def commit_encoding_list(
    store: Store, folder: str, missing: Strings, make: Callable[[], EncodingList]
) -> EncodingReference:
    """Return a list of the audit that contains all missing contents. If there is none, store one.

    Runs of the same audit at the same time get the same list, because the first one that is stored is kept. Another
    list becomes necessary if features were removed since, or if a list is damaged.

    Args:
        store: at the output URL.
        folder: of the lists.
        missing: digests of the contents that are not stored.
        make: returns a list of them.
    """
    number = 0
    while True:
        key = f"{folder}/{number}.parquet"
        data = store.read_if_there(key)
        if data is None:
            made = make()
            if store.create(key, made.data):
                return made.reference(key)
            data = store.read(key)
        listed = _undamaged(data)
        if listed is not None and listed.contains(missing):
            return listed.reference(key)
        number += 1


def load_encoding_list(store: Store, reference: EncodingReference) -> EncodingList:
    """Return the list that an earlier step stored.

    Raises:
        StorageError: it was changed since.
    """
    data = _last.get(reference.sha256)
    if data is None:
        data = read_checked(store, reference.key, reference.sha256)
        _last.clear()
        _last[reference.sha256] = data
    return EncodingList(data)


def mark_shard(store: Store, reference: EncodingReference, shard: int, name: str) -> None:
    """Record the name under which features of a shard are stored, so that other shards need not read their index."""
    store.write(f"{_marks_folder(reference)}/{shard}-{name}", b"")


def names_of_other_rows(
    store: Store, reference: EncodingReference, listed: EncodingList, shards: Collection[int]
) -> frozenset[str]:
    """Return the names of stored features that have no row of some shards, from one listing.

    These are the features that were known when the list was made, and those of the other shards.
    """
    folder = _marks_folder(reference)
    ours: set[str] = set()
    others: set[str] = set()
    wanted = {str(shard) for shard in shards}
    for file in store.find(folder):
        shard, _, name = file.path.removeprefix(f"{folder}/").partition("-")
        (ours if shard in wanted else others).add(name)
    return (listed.known | others) - ours


def _marks_folder(reference: EncodingReference) -> str:
    return reference.key.removesuffix(".parquet")


def _undamaged(data: bytes) -> EncodingList | None:
    try:
        listed = EncodingList(data)
        for shard in range(len(listed.sizes)):
            listed.shard(shard)
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    return listed
