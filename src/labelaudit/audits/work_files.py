"""Files that a step stores in the work folder of an audit for the next step."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.references import FilesReference
from labelaudit.storage.manifest import read_checked, sha256_hex
from labelaudit.storage.store import Store


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file. Equal tables give equal bytes with the same version of pyarrow."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=128 * 1024)
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
