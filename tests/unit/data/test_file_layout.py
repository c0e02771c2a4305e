from __future__ import annotations

import errno
import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.file_layout import OPENED_PER_SUFFIX, find_layout
from labelaudit.data.formats import reading
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError
from labelaudit.findings import LeftOut

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
        ({"cat/deep/1.png": b"", "dog/2.png": b"", ".hidden": b"", "_log/x.csv": b""}, "image_folder", 0, 2),
        ({"_data/x.csv": b"", "cat/1.png": b""}, "csv", 1, 1),
        ({"x.csv": b"", "_temporary/0/x.csv": b""}, "csv", 1, 0),
        ({"_a/_1.jfif": b"", "b/_2.JPE": b"", "b/3.heic": b""}, "image_folder", 0, 3),
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


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_files_without_a_known_suffix_are_read_by_content(make_dataset, png):
    assert find_layout(make_dataset({"part-0": _parquet(ROWS), "part-1": _parquet(ROWS)})).format == "parquet"
    assert find_layout(make_dataset({"part-0": b'{"a": 1}\n'})).format == "jsonl"
    layout = find_layout(make_dataset({"cat/1": png(), "dog/2.jpg!large": png(), "dog/LICENSE": b"free"}))
    assert [file.path for file in layout.images] == ["cat/1", "dog/2.jpg!large"]
    assert layout.left_out == (LeftOut("file", "it is not data", 1, ("dog/LICENSE",)),)


def test_a_single_file_of_text_is_csv_whatever_its_name(make_dataset):
    assert find_layout(make_dataset({"data.txt": "a;label\n1;x\n"})).format == "csv"


def test_few_files_of_an_unknown_suffix_are_opened(make_dataset):
    texts = {f"notes/{number:03d}.txt": "x" for number in range(100)}
    source = make_dataset({"a.csv": "a,label\n1,x\n", **texts})
    layout = find_layout(source)
    assert len(source.opened) == OPENED_PER_SUFFIX
    assert layout.left_out == (LeftOut("file", "it is not data", 100, tuple(sorted(texts)[:5])),)


def test_every_file_is_read_or_left_out(make_dataset):
    files = {"a.csv": "x,label\n1,a\n", "info.json": "{}", "README": "hello", ".cache/x.csv": "", "x.xlsx": b"PK"}
    layout = find_layout(make_dataset(files), skips_unreadable=True)
    assert {left.names[0]: left.reason for left in layout.left_out} == {
        ".cache/x.csv": "a name in its path begins with a dot",
        "README": "it is not data",
        "info.json": "it describes the dataset",
        "x.xlsx": "its format is not supported",
    }
    assert len(layout.tables) + sum(left.count for left in layout.left_out) == len(files)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": "x", "b.xlsx": b"PK"}, r"1 files of formats that cannot be read \(\.xlsx\), such as b\.xlsx\."),
        ({"a.parquet": ROWS, "_delta_log/0.json": "{}"}, r"is a Delta Lake table \(_delta_log\)\. .*Export the"),
        (
            {"blobs/ab": "x", "refs/main": "ab", "snapshots/ab/a.csv": "x"},
            r"cache of the Hugging Face Hub.*Point dataset\.url at one of them, such as snapshots/ab\.",
        ),
        ({"Training/cat/1.png": b"", "Testing/cat/2.png": b""}, r"are splits \(Testing, Training\), not classes"),
        (
            {"ds/in/cat/1.png": b"", "ds/in/dog/2.png": b""},
            r"in the folder ds/in, and .* Point dataset\.url at .*ds/in",
        ),
    ],
)
def test_what_would_be_read_wrongly_is_an_error(make_dataset, files, message):
    with pytest.raises(DatasetError, match=message):
        find_layout(make_dataset(files))


def test_one_folder_of_images_is_one_class(make_dataset):
    assert len(find_layout(make_dataset({"cat/1.png": b"", "cat/2.png": b""})).images) == 2
    assert len(find_layout(make_dataset({"cat/1.png": b"", "2.png": b""})).images) == 2


def _csv(**columns: object) -> str:
    return pd.DataFrame(columns).to_csv(index=False)


def test_the_test_set_of_a_competition_is_left_out(make_dataset):
    train = _csv(id=range(20), size=range(20), label=["a", "b"] * 10)
    files = {
        "train.csv": train,
        "test.csv": _csv(id=range(20, 25), size=range(5)),
        "sample_submission.csv": _csv(id=range(20, 25), label=["a"] * 5),
    }
    columns = resolve_columns(make_dataset(files), label="label")
    assert columns.excluded == ("sample_submission.csv", "test.csv")
    assert {left.names: left.reason for left in columns.left_out} == {
        ("sample_submission.csv",): "it is an example of a submission, with labels that are made up",
        ("test.csv",): "it has no labels",
    }
    assert columns.stored_rows == 20
    files["sample_submission.csv"] = _csv(id=range(20, 25), size=range(5), label=["a"] * 5)
    assert "sample_submission.csv" in resolve_columns(make_dataset(files)).excluded, "the labels are made up"
    with pytest.raises(DatasetError, match=r"The shard train\.csv has an extra column 'label'"):
        resolve_columns(make_dataset({"train.csv": train, "more.csv": files["test.csv"]}), label="label")


def test_images_are_found_by_name_and_others_are_left_out(make_dataset, noise_image):
    labels = _csv(id=[f"im{number}" for number in range(20)], label=["a", "b"] * 10)
    images = {f"train_images/im{number}.png": noise_image(number) for number in range(20)}
    extra = {f"test_images/t{number}.png": noise_image(50 + number) for number in range(7)}
    source = make_dataset({"train.csv": labels, **images, **extra})
    columns = resolve_columns(source)
    assert (columns.kind, columns.inputs) == ("image", ("id",))
    assert LeftOut("file", "no row of the table names it", 7, tuple(sorted(extra))[:5]) in columns.left_out
    (batch,) = read_batches(source, columns)
    assert batch.problems == {}


def test_unreadable_tables_can_be_skipped(make_dataset):
    rows = pa.table({"size": [1.0, 2.0] * 10, "label": ["a", "b"] * 10})
    source = make_dataset({"0.parquet": rows, "1.parquet": b"PAR1 cut", "2.parquet": b""})
    with pytest.raises(DatasetError, match=r"1\.parquet cannot be read as Parquet"):
        resolve_columns(source)
    columns = resolve_columns(source, skips_unreadable=True)
    assert LeftOut("file", "it cannot be read", 2, ("1.parquet", "2.parquet")) in columns.left_out
    assert sum(len(batch.digests) for batch in read_batches(source, columns)) == columns.stored_rows == 20
    with pytest.raises(DatasetError, match=r"None of the 1 tables .* can be read\. Write them again"):
        resolve_columns(make_dataset({"1.parquet": b"PAR1 cut"}), skips_unreadable=True)


def test_errors_of_decoders_name_the_file_and_those_of_the_system_pass():
    with (
        pytest.raises(DatasetError, match=r"x.csv cannot be read as CSV: bad row\. Write the file again"),
        reading("x.csv", "CSV"),
    ):
        raise pa.ArrowInvalid("bad\n row")
    with pytest.raises(OSError, match="reset"), reading("x.csv", "CSV"):
        raise OSError(errno.ECONNRESET, "reset")


def test_backups_are_not_data(make_dataset):
    table = _parquet(pa.table({"size": [1.0], "label": ["a"]}))
    layout = find_layout(make_dataset({"a.parquet": table, "a.parquet.bak": table, "a.parquet~": table}))
    assert [file.path for file in layout.tables] == ["a.parquet"]
    assert layout.left_out == (LeftOut("file", "it is not data", 2, ("a.parquet.bak", "a.parquet~")),)
