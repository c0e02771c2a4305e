from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.data import image_files
from labelaudit.data.columns import resolve_columns
from labelaudit.data.digests import digest_bytes
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError


def _read_one(source, **kwargs):
    (batch,) = read_batches(source, resolve_columns(source, **kwargs))
    return batch


def test_images_of_a_table(make_dataset, noise_image, png):
    images = [
        {"bytes": noise_image(0), "path": "x.png"},
        {"bytes": b"junk", "path": None},
        None,
        {"bytes": None, "path": None},
    ]
    rows = pa.table({"id": [5, 6, 7, 8], "image": images, "label": [0, 1, 0, 1]})
    batch = _read_one(make_dataset({"deep/a.parquet": rows}))
    assert (batch.file, batch.first_row) == ("deep/a.parquet", 0)
    assert batch.ids.tolist() == ["5", "6", "7", "8"]
    assert batch.labels.to_pylist() == [0, 1, 0, 1]
    assert batch.groups is None
    assert batch.inputs.shape == (4, 8, 8, 3)
    assert batch.inputs[0].any()
    assert not batch.inputs[1:].any()
    assert batch.readable.tolist() == [True, False, False, False]
    assert batch.problems == {1: "not an image of a known format", 2: "no bytes", 3: "no bytes"}
    assert batch.digests[0] == digest_bytes(noise_image(0))


def test_an_image_folder(make_dataset, png):
    files = {"cat/deep/1.png": png(1), "dog/2.png": png(2), "loose.png": png(3), "dog/bad.png": b""}
    batch = _read_one(make_dataset(files))
    assert batch.ids.tolist() == ["cat/deep/1.png", "dog/2.png", "dog/bad.png", "loose.png"]
    assert batch.labels.to_pylist() == ["cat", "dog", "dog", None]
    assert batch.inputs[:, 0, 0, 0].tolist() == [1, 2, 0, 3]
    assert batch.readable.tolist() == [True, True, False, True]


def test_image_paths_lead_nowhere_but_into_the_dataset(make_dataset, png, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(9))
    (tmp_path / "datasetX").mkdir()
    references = [
        "images/1.png", "./images/../images/1.png", "images\\1.png", "../meta/images/1.png", "../top.png",
        "top.png",
        "../../secret.png", "../../../../../etc/passwd.png", str(tmp_path / "secret.png"), "/etc/passwd.png",
        "images/none.png", "file:///etc/passwd.png",
    ]  # fmt: skip
    table = "path,label\n" + "".join(f"{reference},a\n" for reference in references)
    source = make_dataset({"meta/labels.csv": table, "meta/images/1.png": png(1), "top.png": png(2)})
    batch = _read_one(source)
    assert batch.inputs[:, 0, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0]
    assert batch.readable.tolist() == [True] * 6 + [False] * 6
    assert set(batch.problems.values()) == {"no such image file in the dataset"}
    assert set(source.opened) == {"meta/labels.csv", "meta/images/1.png", "top.png"}
    assert batch.digests[0] == digest_bytes(png(1))
    assert len(set(batch.digests[6:])) == 6


def test_parquet_may_name_image_files_in_a_struct(make_dataset, png):
    rows = pa.table(
        {
            "image": [{"bytes": None, "path": "1.png"}, {"bytes": png(5), "path": "gone.png"}],
            "label": ["a", "b"],
        },
        schema=pa.schema(
            [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.string())]
        ),
    )
    batch = _read_one(make_dataset({"a.parquet": rows, "1.png": png(4)}))
    assert batch.inputs[:, 0, 0, 0].tolist() == [4, 5]


def test_an_image_file_may_not_be_too_large(make_dataset, png, monkeypatch):
    source = make_dataset({"cat/1.png": png(), "dog/2.png": png() + b"\0" * (3 << 20)})
    columns = resolve_columns(source)
    monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 1 << 20)
    (batch,) = read_batches(source, columns)
    assert batch.problems == {1: "3 MiB are more than 1"}


def test_image_files_are_read_as_they_are_taken(make_dataset, png, monkeypatch):
    source = make_dataset({f"{name}/{number}.png": png(number) for name in ("cat", "dog") for number in range(3)})
    paths = [file.path for file in source.files()]
    monkeypatch.setattr(image_files, "MAX_BYTES_AT_ONCE", 2 * max(file.size for file in source.files()))
    read = image_files.ImageFiles(source, source.files()).read([*paths, None])
    assert next(read) == (png(0), "")
    assert set(source.opened) <= set(paths[:2])
    assert [data for data, _ in read] == [*map(png, (1, 2, 0, 1, 2)), None]
    assert sorted(source.opened) == sorted(paths)


def test_texts(make_dataset):
    rows = pa.table(
        {"text": ["hello there, how are you", None, "  "], "label": ["a", "b", "a"], "who": ["x", None, ""]}
    )
    batch = _read_one(make_dataset({"a.parquet": rows}), input="text", group="who")
    assert batch.inputs.to_pydict() == {"text": ["hello there, how are you", "", "  "]}
    assert batch.groups.tolist() == ["x", None, None]
    assert batch.readable.tolist() == [True, False, False]
    assert batch.problems == {1: "empty text", 2: "empty text"}


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_tables_are_numbers_and_categories(make_dataset, format):
    contents = {
        "parquet": pa.table(
            {
                "label": ["a", "b", "a"],
                "colour": ["red", None, None],
                "size": [1, 2, None],
                "w": [0.5, None, None],
            }
        ),
        "csv": "size,w,colour,label\n1,0.5,red,a\n2,,,b\n,NA,,a\n",
        "jsonl": '{"size": 1, "w": 0.5, "colour": "red", "label": "a"}\n{"label": "b", "size": 2.0}\n{"label": "a"}',
    }
    batch = _read_one(make_dataset({f"a.{format}": contents[format]}), input=["size", "w", "colour"])
    assert batch.inputs.to_pydict() == {
        "size": [1, 2, None],
        "w": [0.5, None, None],
        "colour": ["red", None, None],
    }
    assert [str(type) for type in batch.inputs.schema.types] == ["double", "double", "large_string"]
    assert batch.readable.tolist() == [True, True, False]
    assert batch.problems == {2: "all inputs are missing"}
    reference = pa.table(batch.inputs.to_pydict())
    again = _read_one(make_dataset({"b.parquet": reference.append_column("label", [["a"] * 3])}))
    assert batch.digests.tolist() == again.digests.tolist()


def test_a_batch_can_drop_its_inputs(make_dataset):
    batch = _read_one(make_dataset({"a.parquet": pa.table({"x": [1.0, 2.0], "label": ["a", "b"]})}))
    head = batch.head()
    assert not hasattr(head, "inputs")
    assert head.digests.tolist() == batch.digests.tolist()


def test_batches_are_small_where_images_are_large(make_dataset, png):
    rows = pa.table({"image": [png(index) for index in range(20)], "label": ["a", "b"] * 10})
    source = make_dataset({"a.parquet": rows})
    columns = replace(resolve_columns(source), image_size=(2048, 2048))
    batches = list(read_batches(source, columns))
    assert [batch.first_row for batch in batches] == [0, 8, 16]
    assert all(isinstance(batch.inputs, np.ndarray) for batch in batches)


def test_a_dataset_that_became_another_is_refused(make_dataset):
    table = make_dataset({"a.csv": "x,label\n1,a\n2,b\n"})
    columns = resolve_columns(table)
    with pytest.raises(DatasetError, match=r"was csv and is now parquet\. Publish changed data as a new version"):
        list(read_batches(make_dataset({"a.parquet": pa.table({"x": [1]})}), columns))
    with pytest.raises(DatasetError, match="A column of numbers now contains other values"):
        list(read_batches(make_dataset({"a.csv": "x,label\nred,a\n"}), columns))


def test_slices_stay_as_they_are_written(make_dataset):
    text = "id,code,x,label\n1,007,1.5,a\n2,1E2,2.5,b\n3,,3.5,a\n4,NA,4.5,b\n"
    batch = _read_one(make_dataset({"a.csv": text}), slices=["code"])
    assert [values.to_pylist() for values in batch.slices] == [["007", "1E2", "missing", "NA"]]
    assert batch.inputs.column_names == ["x"]
    assert batch.head().slices == batch.slices


def test_folders_can_be_slices(make_dataset):
    rows = pa.table({"id": [1, 2], "x": [0.5, 1.5], "label": ["a", "b"]})
    source = make_dataset({"site=north/a.parquet": rows, "site=south/a.parquet": rows})
    columns = resolve_columns(source, slices=["site"])
    found = [batch.slices[0].to_pylist() for batch in read_batches(source, columns)]
    assert found == [["north"] * 2, ["south"] * 2]
