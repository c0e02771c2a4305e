"""Files that a step stores in the work folder of an audit for the next step."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.references import FilesReference
from labelaudit.storage.file_on_disk import FileOnDisk, HashedFile, sha256_of_file
from labelaudit.storage.manifest import check_unchanged, read_checked, sha256_hex
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

ROW_GROUP_ROWS = 128 * 1024


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file. Equal tables give equal bytes with the same version of pyarrow."""
    sink = io.BytesIO()
    _write_parquet(sink, [table])
    return sink.getvalue()


def parquet_file(tables: Iterable[pa.Table], files: TemporaryFiles) -> FileOnDisk:
    """Write tables of the same schema, at least one, as one Parquet file, which has the bytes of `parquet_bytes`."""
    path = files.new()
    with path.open("wb") as file:
        hashed = HashedFile(file)
        _write_parquet(cast("BinaryIO", hashed), tables)
    return FileOnDisk.of(path, hashed.sha256, is_temporary=True)


def _write_parquet(sink: BinaryIO, tables: Iterable[pa.Table]) -> None:
    writer = None
    for table in tables:
        # Most columns of numbers differ in each row.
        texts = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
        writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd", use_dictionary=texts)
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    assert writer is not None
    writer.close()


def store_files(store: Store, folder: str, files: Mapping[str, bytes | FileOnDisk]) -> FilesReference:
    """Store files in the work folder for the next step."""
    for name, data in files.items():
        if isinstance(data, FileOnDisk):
            store.write_file(f"{folder}/{name}", data)
        else:
            store.write(f"{folder}/{name}", data)
    sha256 = {name: data.sha256 if isinstance(data, FileOnDisk) else sha256_hex(data) for name, data in files.items()}
    return FilesReference(folder, sha256)


def load_file(store: Store, reference: FilesReference, name: str) -> bytes:
    """Return a file that an earlier step stored.

    Raises:
        StorageError: it was changed since.
    """
    return read_checked(store, f"{reference.folder}/{name}", reference.sha256[name])


def file_on_this_machine(store: Store, key: str, files: TemporaryFiles) -> Path:
    """Return the path of a stored file, which is fetched if it is in another storage.

    Raises:
        StorageError: there is none.
    """
    with store.open(key) as source:
        local = store.local_path(key)
        return files.fetch(source) if local is None else Path(local)


def unchanged_file(store: Store, key: str, sha256: str, files: TemporaryFiles) -> FileOnDisk:
    """Return a stored file, which is fetched if it is in another storage.

    Raises:
        StorageError: there is none, or it was changed since it was stored.
    """
    path = file_on_this_machine(store, key, files)
    check_unchanged(store, key, sha256_of_file(path), sha256)
    return FileOnDisk.of(path, sha256, is_temporary=False)


def read_columns(path: Path, columns: Iterable[str] | None, few_values: Iterable[str] = ()) -> pa.Table:
    """Read some columns of a Parquet file, or all. Those with `few_values` are dictionary-encoded."""
    # Buffered, so that a row group is not read at once.
    with pq.ParquetFile(path, read_dictionary=list(few_values), buffer_size=2**20, pre_buffer=False) as file:
        return file.read(None if columns is None else list(columns))
