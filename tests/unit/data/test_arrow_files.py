"""Arrow files and streams."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError

ROWS = pa.table(
    {"id": [f"r{row}" for row in range(50)], "size": [row % 7 for row in range(50)], "label": ["a", "b"] * 25}
)


def _arrow(table: pa.Table, *, is_stream: bool) -> bytes:
    buffer = io.BytesIO()
    new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with new(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    return buffer.getvalue()


@pytest.mark.parametrize("is_stream", [True, False])
def test_files_and_streams_are_read(make_dataset, is_stream):
    files = {
        "train/data-00000-of-00001.arrow": _arrow(ROWS.slice(0, 30), is_stream=is_stream),
        "test/data-00000-of-00001.arrow": _arrow(ROWS.slice(30), is_stream=is_stream),
        "train/state.json": '{"_split": "train"}',
        "dataset_dict.json": '{"splits": ["train", "test"]}',
    }
    source = make_dataset(files)
    columns = resolve_columns(source)
    batches = list(read_batches(source, columns))
    assert (columns.format, columns.stored_rows) == ("arrow", 50)
    assert sorted(id for batch in batches for id in batch.ids) == sorted(ROWS["id"].to_pylist())
    assert {split for batch in batches for split in batch.splits} == {"train", "test"}
    assert [(left.reason, left.count) for left in columns.left_out] == [("it describes the dataset", 2)]


def test_damaged_files_are_named(make_dataset):
    whole = _arrow(ROWS, is_stream=True)
    with pytest.raises(DatasetError, match=r"a\.arrow cannot be read as Arrow"):
        resolve_columns(make_dataset({"a.arrow": whole[: len(whole) // 2]}))
    with pytest.raises(DatasetError, match=r"a\.arrow is not an Arrow file: its first bytes are others\. Write"):
        resolve_columns(make_dataset({"a.arrow": b"id,label\n1,a\n"}))
