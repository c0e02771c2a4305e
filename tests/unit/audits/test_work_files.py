"""Files of a step in memory and on disk: the same bytes, checked when they are read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from labelaudit.audits.work_files import (
    load_file,
    parquet_bytes,
    parquet_file,
    read_columns,
    store_files,
    unchanged_file,
)
from labelaudit.errors import StorageError
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

TABLE = pa.table({"id": ["a", "b", "c"], "label": ["x", "y", "x"], "score": [0.5, None, 1.0]})


def test_a_file_has_the_bytes_of_a_table_in_memory() -> None:
    files = TemporaryFiles()
    assert parquet_file([TABLE], files).path.read_bytes() == parquet_bytes(TABLE)
    joined = parquet_file([TABLE[:2], TABLE[2:]], files)
    assert read_columns(joined.path, None).equals(TABLE)
    some = read_columns(joined.path, ["label", "score"], few_values=["label"])
    assert some.column_names == ["label", "score"]
    assert pa.types.is_dictionary(some["label"].type)
    assert some["label"].to_pylist() == TABLE["label"].to_pylist()


@pytest.mark.parametrize("is_local", [True, False])
def test_a_stored_file_is_read_until_it_is_changed(tmp_path: Path, is_local: bool) -> None:
    store = Store(str(tmp_path) if is_local else f"memory://{tmp_path.name}")
    files = TemporaryFiles()
    reference = store_files(store, "work", {"rows.parquet": parquet_file([TABLE], files), "a.json": b"{}"})
    assert load_file(store, reference, "a.json") == b"{}"
    sha256 = reference.sha256["rows.parquet"]
    assert read_columns(unchanged_file(store, "work/rows.parquet", sha256, files).path, None).equals(TABLE)
    store.write("work/rows.parquet", b"other")
    with pytest.raises(StorageError, match=r"rows.parquet was changed after it was written: .* Remove it"):
        unchanged_file(store, "work/rows.parquet", sha256, files)
