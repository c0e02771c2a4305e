"""Columns in the names of folders."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.partitions import partition_columns, partitions_of
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError


def test_values_are_decoded():
    path = "year=2024/kind=a%20b%2Fc/none=__HIVE_DEFAULT_PARTITION__/x=1.parquet"
    assert partitions_of(path) == {"year": "2024", "kind": "a b/c", "none": None}


def test_all_files_have_the_same_columns():
    assert partition_columns(["a=1/b=2/0.csv", "b=3/a=4/1.csv"]) == ["a", "b"]
    assert partition_columns([]) == []
    with pytest.raises(ValueError, match=r"a=1/0\.csv has \['a'\], but 1\.csv has none"):
        partition_columns(["a=1/0.csv", "1.csv"])


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_labels_in_folders_are_read(make_dataset, tmp_path, format):
    rows = pa.table({"id": [f"r{row}" for row in range(30)], "size": [float(row % 5) for row in range(30)]})
    files = {}
    for label, part in (("cat", rows.slice(0, 20)), ("__HIVE_DEFAULT_PARTITION__", rows.slice(20))):
        frame = part.to_pandas()
        text = frame.to_csv(index=False) if format == "csv" else frame.to_json(orient="records", lines=True)
        files[f"label={label}/part-0.{format}"] = part if format == "parquet" else text
    source = make_dataset(files)
    columns = resolve_columns(source)
    assert (columns.label, columns.partitions, columns.stored_rows) == ("label", ("label",), 30)
    labels = [label for batch in read_batches(source, columns) for label in batch.labels.to_pylist()]
    assert sorted(labels, key=str) == [None] * 10 + ["cat"] * 20


def test_a_column_in_files_and_folders_is_read_from_the_files(make_dataset):
    table = pa.table({"id": [f"r{row}" for row in range(20)], "size": [1.0, 2.0] * 10, "label": ["z"] * 20})
    columns = resolve_columns(make_dataset({"label=z/0.parquet": table}))
    assert columns.partitions == ()


def test_what_pandas_writes_is_read(make_dataset, tmp_path):
    table = pa.table({"size": [1.0, 2.0] * 10, "label": ["a", "b"] * 10})
    pq.write_to_dataset(table, tmp_path / "written", partition_cols=["label"])
    files = {
        path.relative_to(tmp_path / "written").as_posix(): path.read_bytes()
        for path in (tmp_path / "written").rglob("*.parquet")
    }
    source = make_dataset(files)
    columns = resolve_columns(source, label="label")
    labels = [label for batch in read_batches(source, columns) for label in batch.labels.to_pylist()]
    assert sorted(labels) == ["a"] * 10 + ["b"] * 10


def test_different_folders_are_an_error(make_dataset):
    table = pa.table({"size": [1.0], "label": ["a"]})
    with pytest.raises(DatasetError, match=r"name different columns: 1\.parquet has none, but .*Give all files"):
        resolve_columns(make_dataset({"a=1/0.parquet": table, "1.parquet": table}))


def test_the_label_of_csv_files_may_be_in_their_folders(make_dataset):
    rows = "id,size\n" + "".join(f"r{row},{row % 5}\n" for row in range(20))
    files = {f"label={label}/p.csv": rows.replace("r", label) for label in ("cat", "dog", "NA")}
    source = make_dataset(files)
    columns = resolve_columns(source)
    labels = {label for batch in read_batches(source, columns) for label in batch.labels.to_pylist()}
    assert labels == {"cat", "dog", "NA"}


def test_a_folder_that_contradicts_its_file_is_an_error(make_dataset):
    table = pa.table({"size": [1.0, 2.0] * 10, "label": ["cat"] * 20})
    source = make_dataset({"label=cat/0.parquet": table, "label=dog/0.parquet": table})
    with pytest.raises(DatasetError, match=r"label=dog/0\.parquet contains 'cat' in column 'label', .* 'dog'\. Corr"):
        list(read_batches(source, resolve_columns(source)))
