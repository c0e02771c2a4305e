from __future__ import annotations

import errno

import pyarrow as pa
import pytest

from labelaudit.data.file_layout import find_layout
from labelaudit.data.formats import reading
from labelaudit.errors import DatasetError

ROWS = pa.table({"a": [1]})


@pytest.mark.parametrize(
    ("files", "format", "tables", "images"),
    [
        ({"a.parquet": b"", "deep/er/b.PQ": b"", "README.md": b""}, "parquet", 2, 0),
        ({"a.parquet": b"", "dataset_info.json": b""}, "parquet", 1, 0),
        ({"train.csv": b"", "x.tsv": b""}, "csv", 2, 0),
        ({"a.jsonl": b"", "b.ndjson": b""}, "jsonl", 2, 0),
        ({"a.json": b""}, "jsonl", 1, 0),
        ({"labels.csv": b"", "images/1.JPG": b""}, "csv", 1, 1),
        ({"cat/1.png": b"", "dog/2.png": b"", "classes.json": b""}, "image_folder", 0, 2),
        ({"cat/deep/1.png": b"", "dog/2.png": b"", ".hidden": b"", "_log/x.csv": b""}, "csv", 1, 2),
    ],
)
def test_suffixes_decide(make_dataset, files, format, tables, images):
    layout = find_layout(make_dataset(files))
    assert (layout.format, len(layout.tables), len(layout.images)) == (format, tables, images)


def test_a_single_file_is_a_dataset(make_dataset, open_source):
    folder = make_dataset({"a.csv": "x,label\n1,a\n"})
    assert find_layout(open_source(folder.root / "a.csv")).tables[0].path == "a.csv"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"has no files\. Point dataset\.url at Parquet, Arrow"),
        ({"notes.txt": "x", "model.bin": b"x"}, r"has no data files, only model\.bin, notes\.txt\."),
        ({"a.csv": "x", "b.parquet": ROWS}, r"several formats: csv \(a\.csv\), parquet \(b\.parquet\)"),
        ({"1.png": b"", "2.png": b""}, "contains images but no folders"),
        ({"train/cat/1.png": b"", "test/dog/1.png": b""}, r"are splits \(test, train\), not classes"),
    ],
)
def test_what_is_no_dataset_is_named(make_dataset, files, message):
    with pytest.raises(DatasetError, match=message):
        find_layout(make_dataset(files))


def test_errors_of_decoders_name_the_file_and_those_of_the_system_pass():
    with (
        pytest.raises(DatasetError, match=r"x.csv cannot be read as CSV: bad row\. Write the file again"),
        reading("x.csv", "CSV"),
    ):
        raise pa.ArrowInvalid("bad\n row")
    with pytest.raises(OSError, match="reset"), reading("x.csv", "CSV"):
        raise OSError(errno.ECONNRESET, "reset")
