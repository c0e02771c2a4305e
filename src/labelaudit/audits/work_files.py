"""Files that a step stores in the work folder of an audit for the next step."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.references import FilesReference
from labelaudit.storage.manifest import read_checked, sha256_hex
from labelaudit.storage.store import Store

ROW_GROUP_ROWS = 128 * 1024


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file. Equal tables give equal bytes with the same version of pyarrow."""
    return joined_parquet_bytes([table])


def joined_parquet_bytes(tables: Iterable[pa.Table]) -> bytes:
    """Return tables of the same schema, at least one, as one Parquet file."""
    sink, writer = io.BytesIO(), None
    for table in tables:
        # Most columns of numbers differ in each row.
        texts = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
        writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd", use_dictionary=texts)
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    assert writer is not None
    writer.close()
    return sink.getvalue()


def store_files(store: Store, folder: str, files: dict[str, bytes]) -> FilesReference:
    """Store files in the work folder for the next step."""
    for name, data in files.items():
        store.write(f"{folder}/{name}", data)
    return FilesReference(folder, {name: sha256_hex(data) for name, data in files.items()})


def load_file(store: Store, reference: FilesReference, name: str) -> bytes:
    """Return a file that an earlier step stored.

    Raises:
        StorageError: it was changed since.
    """
    return read_checked(store, f"{reference.folder}/{name}", reference.sha256[name])
