from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.codec import from_record, to_record
from labelaudit.data.columns import Columns, resolve_columns
from labelaudit.errors import DatasetError
from labelaudit.findings import LeftOut

SENTENCES = [f"the quick brown fox number {index} jumps over the lazy dog" for index in range(30)]
LABELS = ["a", "b"] * 15


def _with_features(table, features):
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return table.replace_schema_metadata(metadata)


def _csv(**columns):
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"


@pytest.fixture
def image_table(noise_image):
    return pa.table(
        {
            "image": [{"bytes": noise_image(index), "path": f"{index}.png"} for index in range(4)],
            "label": ["a", "b"] * 2,
        }
    )


def test_everything_is_guessed_and_said(make_dataset):
    source = make_dataset({"a.parquet": pa.table({"id": range(30), "text": SENTENCES, "label": LABELS})})
    columns = resolve_columns(source)
    assert (columns.format, columns.kind, columns.label, columns.id) == ("parquet", "text", "label", "id")
    assert columns.inputs == ("text",)
    assert columns.guesses == (
        "label column: 'label', by its name",
        "id column: 'id', by its name",
        "text column: 'text', it contains sentences",
    )


def test_what_is_named_is_not_guessed(make_dataset):
    rows = pa.table({"no": [f"n{i}" for i in range(30)], "story": SENTENCES, "kind": LABELS, "label": LABELS})
    columns = resolve_columns(make_dataset({"a.parquet": rows}), label="kind", id="no", input="story", group="label")
    assert (columns.label, columns.id, columns.inputs, columns.group) == ("kind", "no", ("story",), "label")
    assert columns.kind == "text"
    assert columns.guesses == ()


def test_columns_survive_json(make_dataset, image_table):
    columns = resolve_columns(make_dataset({"a.parquet": image_table}))
    assert from_record(Columns, json.loads(json.dumps(to_record(columns)))) == columns


def test_hugging_face_features_win(make_dataset, noise_image):
    rows = pa.table({"picture": [noise_image(0)], "label": ["x"], "species": [1], "key": ["k"]})
    features = {"picture": {"_type": "Image"}, "species": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    columns = resolve_columns(make_dataset({"a.parquet": _with_features(rows, features)}))
    assert (columns.kind, columns.label, columns.inputs) == ("image", "species", ("picture",))
    assert columns.label_names == ("cat", "dog")
    assert "label column: 'species', it is a ClassLabel feature" in columns.guesses


@pytest.mark.parametrize("metadata", [b"no json", b"[]", b'{"info": {"features": [1]}}', b'{"info": 3}'])
def test_broken_metadata_is_as_none(make_dataset, image_table, metadata):
    rows = image_table.replace_schema_metadata({"huggingface": metadata})
    assert resolve_columns(make_dataset({"a.parquet": rows})).kind == "image"


@pytest.mark.parametrize(
    ("name", "values", "is_id"),
    [
        ("ID", [f"x{i}" for i in range(30)], True),
        ("uuid", list(range(30)), True),
        ("id", [0.5 + i for i in range(30)], False),
        ("key", [i % 12 for i in range(30)], False),
        ("id", [None, *(f"x{i}" for i in range(29))], False),
        ("number", list(range(30)), False),
    ],
)
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_an_id_is_guessed_where_it_can_be_one(make_dataset, name, values, is_id, format):
    columns = {name: values, "text": SENTENCES, "label": LABELS}
    shown = {key: ["" if value is None else value for value in column] for key, column in columns.items()}
    source = make_dataset({f"a.{format}": pa.table(columns) if format == "parquet" else _csv(**shown)})
    assert resolve_columns(source).id == (name if is_id else None)


def test_images_are_found_in_every_form(make_dataset, image_table, noise_image, png):
    plain = pa.table({"scan": [noise_image(index) for index in range(4)], "label": ["a", "b"] * 2})
    for rows, name in [(image_table, "image"), (plain, "scan")]:
        columns = resolve_columns(make_dataset({"a.parquet": rows}))
        assert (columns.kind, columns.inputs) == ("image", (name,))
        assert (columns.image_size, columns.image_channels) == ((8, 8), 3)
    files = {"labels.csv": "photo,label\nimages/1.png,a\nimages/2.PNG,b\n"}
    columns = resolve_columns(make_dataset({**files, "images/1.png": png(1), "images/2.PNG": png(2)}))
    assert (columns.kind, columns.inputs) == ("image", ("photo",))
    assert (columns.image_size, columns.image_channels) == ((6, 8), 1)


def test_the_better_name_is_taken_among_several_images(make_dataset, noise_image):
    rows = pa.table({"mask": [noise_image(0)], "image": [noise_image(1)], "label": ["a"]})
    columns = resolve_columns(make_dataset({"a.parquet": rows}))
    assert columns.inputs == ("image",)
    assert columns.guesses[-1] == "image column: 'image', it contains images"
    assert LeftOut("column", "the input is the image column 'image'", 1, ("mask",)) in columns.left_out


def test_images_of_several_sizes_are_brought_to_one(make_dataset, png):
    files = {"cat/1.png": png(size=(10, 20)), "dog/2.png": png(size=(40, 30), mode="RGB")}
    source = make_dataset(files)
    columns = resolve_columns(source)
    assert (columns.image_size, columns.image_channels) == ((64, 64), 3)
    assert columns.guesses[-1] == (
        "images are brought to 64x64 pixels: they are 10x20 to 40x30, and up to 50% of an image is cropped at its sides"
    )
    assert resolve_columns(source, image_size=(12, 34)).image_size == (12, 34)


def test_large_images_of_one_size_are_shrunk(make_dataset, png):
    files = {"cat/1.png": png(size=(65, 65)), "dog/2.png": png(size=(65, 65))}
    assert resolve_columns(make_dataset(files)).image_size == (64, 64)


def test_an_image_folder_needs_no_names(make_dataset, png):
    columns = resolve_columns(make_dataset({"cat/a/1.png": png(1), "dog/2.png": png(2), "cat/x.png": b""}))
    assert (columns.format, columns.kind) == ("image_folder", "image")
    assert (columns.label, columns.id, columns.inputs) == (None, None, ())
    assert columns.guesses == ("labels: the names of the folders",)


def test_a_table_leaves_out_what_would_give_the_answer_away(make_dataset):
    rng = np.random.default_rng(0)
    rows = pa.table(
        {
            "": range(30),
            "row": range(30),
            "size": rng.normal(size=30),
            "colour": ["red", None, "blue"] * 10,
            "is_new": [True, False] * 15,
            "name": [f"n{index}" for index in rng.permutation(30)],
            "true_label": LABELS,
            "when": pa.array(range(30), pa.timestamp("ms")),
            "nothing": pa.nulls(30),
            "label": LABELS,
        }
    )
    columns = resolve_columns(make_dataset({"a.parquet": rows}))
    assert columns.kind == "table"
    assert columns.inputs == ("size", "colour", "is_new")
    assert columns.input_types == ("number", "category", "category")
    assert columns.guesses[2:] == ("inputs: 3 columns of a table (size, colour, is_new)",)
    assert {left.names[0]: left.reason for left in columns.left_out} == {
        "": "it is a row index",
        "row": "it counts the rows",
        "name": "nearly every row has a value of its own",
        "true_label": "by its name it is another label",
        "when": "dates and times are not inputs",
        "nothing": "it has no value",
    }
    named = resolve_columns(make_dataset({"a.parquet": rows}), input=["true_label", "row"])
    assert named.inputs == ("true_label", "row")


def test_a_table_with_names_of_people_is_a_table(make_dataset):
    names = [f"Braund, Mr. Owen {index}" for index in range(30)]
    rows = pa.table({"name": names, "age": [index % 7 for index in range(30)], "label": LABELS})
    columns = resolve_columns(make_dataset({"a.parquet": rows}))
    assert (columns.kind, columns.inputs) == ("table", ("age",))


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_types_of_a_table_come_from_all_rows(make_dataset, format):
    sizes = [1] * 3000 + [2.5]
    codes = [7] * 3000 + ["x"]
    labels = ["a"] * 3000 + ["b"]
    gaps = [""] * 3001
    if format == "csv":
        text = _csv(size=sizes, code=codes, gap=gaps, label=labels)
    else:
        keys = ("size", "code", "gap", "label")
        rows = zip(sizes, codes, [None] * 3001, labels, strict=True)
        text = "\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows)
    columns = resolve_columns(make_dataset({f"a.{format}": text}))
    assert columns.inputs == ("size", "code")
    assert columns.input_types == ("number", "category")
    assert columns.left_out == (LeftOut("column", "it has no value", 1, ("gap",)),)


def test_text_without_spaces_is_text(make_dataset):
    rows = pa.table({"q": [f"今天天气很好我们去公园散步{chr(0x4E00 + i)}" for i in range(30)], "label": LABELS})
    assert resolve_columns(make_dataset({"a.parquet": rows})).kind == "text"


def test_short_strings_alone_are_text(make_dataset):
    rows = pa.table({"q": [f"word{i}" for i in range(30)], "label": LABELS})
    columns = resolve_columns(make_dataset({"a.parquet": rows}))
    assert columns.kind == "text"
    assert "text column: 'q', it is the only column of strings" in columns.guesses


def test_the_kind_of_named_inputs(make_dataset, image_table):
    csv = make_dataset({"a.csv": _csv(x=range(30), y2=LABELS, label=LABELS)})
    assert resolve_columns(csv, input="x").kind == "table"
    assert resolve_columns(csv, input="y2").kind == "text"
    assert resolve_columns(csv, input="y2", kind="table").input_types == ("category",)
    assert resolve_columns(csv, input=("x", "y2")).kind == "table"
    assert resolve_columns(make_dataset({"a.parquet": image_table}), input="image").kind == "image"


def test_slices_are_not_inputs(make_dataset):
    rows = {"x": [1.5] * 30, "size": [index % 3 for index in range(30)], "split": ["train", "test"] * 15}
    source = make_dataset({"a.parquet": pa.table({**rows, "label": LABELS})})
    columns = resolve_columns(source, slices=["size", "split"], group="size")
    assert (columns.slices, columns.inputs) == (("size", "split"), ("x",))
    # One column can have these roles.
    assert (columns.group, columns.split) == ("size", "split")


def test_ignored_columns_are_not_even_read(make_dataset):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    source = make_dataset({"a.parquet": pa.table({"bad": broken, "x": [1.0], "label": ["a"]})})
    assert resolve_columns(source, ignore=["bad"]).inputs == ("x",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "audio"}, "The kind 'audio' is unknown. Use one of auto, image, text, vector, table."),
        ({"image_size": (0, 5)}, r"image_size \(0, 5\) is out of range"),
        ({"label": "lable"}, r"'lable' \(dataset.label\) is not in .*\. Did you mean 'label'\? The columns are 'id'"),
        ({"id": "zzz"}, r"Column 'zzz' \(dataset.id\) is not in .*[^?] The columns are"),
        ({"input": ["text", "nope"]}, r"Column 'nope' \(dataset.input\) is not in"),
        ({"input": []}, "dataset.input is an empty list"),
        ({"label": "label", "ignore": ["label"]}, "'label' is both dataset.label and in dataset.ignore"),
        ({"label": "text", "input": "text"}, "'text' is both dataset.label and dataset.input"),
        ({"ignore": ["siez"]}, r"'siez' \(dataset.ignore\) is not in .*\. Did you mean 'size'\?"),
        ({"ignore": ["label"]}, r"No column looks like the label\. Name it with dataset.label \(--label\)"),
        ({"label": "tags"}, "Column 'tags' cannot be the label: its type is list"),
        ({"id": "tags"}, "Column 'tags' cannot be an id, a group or a slice: its type is list"),
        ({"group": "tags"}, "Column 'tags' cannot be an id, a group or a slice"),
        ({"slices": ["tags"]}, "Column 'tags' cannot be an id, a group or a slice"),
        ({"slices": ["siez"]}, r"'siez' \(dataset.slices\) is not in .*\. Did you mean 'size'\?"),
        ({"slices": ["size"], "ignore": ["size"]}, "'size' is both dataset.slices and in dataset.ignore"),
        ({"slices": ["label"], "label": "label"}, "'label' is both dataset.label and dataset.slices"),
        ({"slices": ["text"], "input": "text"}, "'text' is both dataset.input and dataset.slices"),
        ({"slices": ["id"], "id": "id"}, "'id' is both dataset.id and dataset.slices"),
        ({"slices": ["label"]}, "No column looks like the label"),
        ({"input": "tags"}, "Column 'tags' cannot be an input: its type is list"),
        ({"input": ["text", "size"], "kind": "image"}, r"The kind image takes one input column, not 2 \(text, "),
        ({"input": "text", "kind": "image"}, "Column 'text' contains no images: its type is string"),
        ({"input": "size", "kind": "text"}, "Column 'size' is not text: its type is int64"),
        ({"kind": "image"}, "No column can be the input of kind image. .* the columns are 'text', 'size'"),
        ({"input": "void"}, "Column 'void' cannot be an input: it is empty in all rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make_dataset, arguments, message):
    rows = pa.table(
        {
            "id": range(30),
            "text": SENTENCES,
            "size": [index % 3 for index in range(30)],
            "tags": [["x"]] * 30,
            "void": pa.nulls(30),
            "label": LABELS,
        }
    )
    with pytest.raises(DatasetError, match=message):
        resolve_columns(make_dataset({"a.parquet": rows}), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "label"}, "is an image folder, which has no column 'label'"),
        ({"ignore": ["mask"]}, "is an image folder, which has no column 'mask'.* input, ignore and slices out"),
        ({"slices": ["camera"]}, "is an image folder, which has no column 'camera'"),
        ({"kind": "text"}, "is an image folder, but dataset.kind is text"),
    ],
)
def test_an_image_folder_has_no_columns(make_dataset, png, arguments, message):
    with pytest.raises(DatasetError, match=message):
        resolve_columns(make_dataset({"cat/1.png": png(), "dog/1.png": png()}), **arguments)


def test_images_that_no_column_names_are_refused(make_dataset, png):
    source = make_dataset({"a.csv": _csv(x=range(30), label=LABELS), "logo.png": png()})
    with pytest.raises(DatasetError, match=r"contains a.csv and 1 images \(logo.png\), but no column contains image"):
        resolve_columns(source)


def test_paths_without_images_are_refused(make_dataset):
    source = make_dataset({"a.csv": "file,label\n1.png,a\n2.png,b\n"})
    with pytest.raises(DatasetError, match=r"'file' names image files, but .* contains none\. Point dataset.url"):
        resolve_columns(source)


def test_images_of_which_none_can_be_read_are_refused(make_dataset):
    with pytest.raises(DatasetError, match=r"None of the first images of .* can be read"):
        resolve_columns(make_dataset({"cat/1.png": b"x", "dog/1.png": b"y"}))


def test_a_table_of_which_all_inputs_are_empty_is_refused(make_dataset):
    with pytest.raises(DatasetError, match="Column 'x' cannot be an input: it is empty in all rows"):
        resolve_columns(make_dataset({"a.csv": "x,label\n,a\n,b\n"}))


def test_short_titles_are_text_if_nothing_else_is_there(make_dataset):
    titles = [f"{word} {number % 40}" for number, word in enumerate(["cheap", "red", "mug"] * 40)]
    assert resolve_columns(make_dataset({"a.csv": _csv(title=titles, label=["x", "y"] * 60)})).kind == "text"
    assert (
        resolve_columns(make_dataset({"a.csv": _csv(colour=["red", "blue"] * 60, label=["x", "y"] * 60)})).kind
        == "table"
    )
