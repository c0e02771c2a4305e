"""Which column of vectors is the input, and what is left out."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.vector_columns import are_written_out
from labelaudit.errors import DatasetError

LABELS = ["a", "b"] * 15
SENTENCES = [f"the quick brown fox number {index} jumps over the lazy dog" for index in range(30)]
VECTORS = np.random.default_rng(0).normal(size=(30, 8)).tolist()
NUMBERS = [float(number) for number in range(30, 0, -1)]


def _resolve(make_dataset, arguments=None, features=None, **columns):
    table = pa.table({**columns, "label": LABELS})
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return resolve_columns(make_dataset({"a.parquet": table}), **(arguments or {}))


def _left_out(columns):
    return {part.reason: part.names for part in columns.left_out}


def test_vectors_with_a_few_scalars_are_the_input(make_dataset):
    columns = _resolve(make_dataset, age=NUMBERS, colour=["red", "blue", "red"] * 10, anything=VECTORS)
    assert (columns.kind, columns.inputs, columns.vector_length) == ("vector", ("anything",), 8)
    assert columns.guesses[-1] == "vector column: 'anything', it contains lists of 8 numbers"
    reason = (
        "the input is the vector column 'anything'; to audit a table of the other columns, set dataset.kind to table"
    )
    assert _left_out(columns) == {reason: ("age", "colour")}


def test_a_text_wins_over_its_vectors(make_dataset):
    columns = _resolve(make_dataset, text=SENTENCES, embedding=VECTORS)
    assert (columns.kind, columns.inputs, columns.vector_length) == ("text", ("text",), 0)
    reason = "the input is the text column 'text'; to audit its vectors, name it with dataset.input"
    assert _left_out(columns) == {reason: ("embedding",)}


def test_an_image_wins_over_its_vectors(make_dataset, noise_image):
    columns = _resolve(make_dataset, image=[noise_image(index) for index in range(30)], embedding=VECTORS)
    assert (columns.kind, columns.inputs) == ("image", ("image",))
    assert _left_out(columns) == {
        "the input is the image column 'image'; to audit its vectors, name it with dataset.input": ("embedding",)
    }


def test_names_of_images_that_are_somewhere_else_do_not_win(make_dataset):
    paths = [f"images/{index}.jpg" for index in range(30)]
    columns = _resolve(make_dataset, path=paths, embedding=VECTORS)
    assert (columns.kind, columns.inputs) == ("vector", ("embedding",))


def test_a_wide_table_wins_over_a_short_list(make_dataset):
    place = [row[:2] for row in VECTORS]
    scalars = {f"x{index}": list(np.roll(NUMBERS, index) + 0.5) for index in range(2)}
    columns = _resolve(make_dataset, place=place, **scalars)
    assert (columns.kind, columns.inputs) == ("table", ("x0", "x1"))
    ((reason, names),) = _left_out(columns).items()
    assert names == ("place",)
    assert reason.startswith("its type is list<")
    assert reason.endswith("; to audit its vectors, name it with dataset.input")
    assert _resolve(make_dataset, place=place, x0=scalars["x0"]).kind == "vector"
    assert _resolve(make_dataset, {"kind": "vector"}, place=place, **scalars).inputs == ("place",)
    assert _resolve(make_dataset, {"kind": "table"}, place=VECTORS, x0=scalars["x0"]).inputs == ("x0",)


def test_the_better_name_is_taken_among_several_vectors(make_dataset):
    columns = _resolve(make_dataset, raw=VECTORS, embedding=VECTORS, other=VECTORS)
    assert columns.inputs == ("embedding",)
    assert columns.guesses[-1] == (
        "not used: 'raw', 'other', which also contain vectors; name the input with dataset.input"
    )
    assert _resolve(make_dataset, raw=VECTORS, other=VECTORS).inputs == ("raw",)


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "pred_probs", "logits2", "bbox", "other_labels"])
def test_lists_that_are_not_features_are_not_guessed(make_dataset, name):
    assert _resolve(make_dataset, **{name: VECTORS}, size=NUMBERS).kind == "table"
    with pytest.raises(DatasetError, match=r"No column can be the input of kind auto.*Name the input with dataset"):
        _resolve(make_dataset, **{name: VECTORS})
    assert _resolve(make_dataset, {"input": name}, **{name: VECTORS}).kind == "vector"


def test_lists_of_class_labels_are_not_features(make_dataset):
    features = {"tags": {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": ["x", "y"]}}}
    columns = _resolve(make_dataset, features=features, tags=[[0, 1]] * 30, size=NUMBERS)
    assert (columns.kind, columns.inputs) == ("table", ("size",))
    features = {"tags": {"_type": "Sequence", "feature": {"_type": "Value", "dtype": "float32"}}}
    assert _resolve(make_dataset, features=features, tags=[[0, 1]] * 30, size=NUMBERS).inputs == ("tags",)


def test_lists_of_many_lengths_are_not_guessed(make_dataset):
    ragged = [row[: 3 + index % 3] for index, row in enumerate(VECTORS)]
    assert _resolve(make_dataset, points=ragged, size=NUMBERS).kind == "table"
    with pytest.raises(DatasetError, match=r"'points' cannot be the input: its lists have different .* only 33% .*, 3"):
        _resolve(make_dataset, {"input": "points"}, points=ragged)
    nearly = [row[: 8 - (index % 3 == 0)] for index, row in enumerate(VECTORS)]
    assert _resolve(make_dataset, {"input": "points"}, points=nearly).vector_length == 8


def test_a_named_column_without_vectors_is_an_error(make_dataset):
    empty = pa.array([None, []] * 15, pa.list_(pa.float32()))
    with pytest.raises(DatasetError, match=r"'v' contains no vectors: its first 30 rows are missing or empty lists"):
        _resolve(make_dataset, {"input": "v"}, v=empty)
    with pytest.raises(DatasetError, match=r"'size' contains no vectors: its type is double\. Name a column of lists"):
        _resolve(make_dataset, {"input": "size", "kind": "vector"}, size=NUMBERS)
    with pytest.raises(DatasetError, match=r"No column can be the input of kind vector"):
        _resolve(make_dataset, {"kind": "vector"}, size=NUMBERS)


def test_vectors_are_not_audited_with_other_columns(make_dataset):
    named = {"input": ["v", "size"]}
    with pytest.raises(DatasetError, match=r"'v' contains vectors, which are not audited together with other columns"):
        _resolve(make_dataset, named, v=VECTORS, size=NUMBERS)
    with pytest.raises(DatasetError, match=r"The kind vector takes one input column, not 2 \(v, size\)"):
        _resolve(make_dataset, {**named, "kind": "vector"}, v=VECTORS, size=NUMBERS)


def test_mixed_lists_of_json_are_not_vectors(make_dataset):
    rows = [{"v": [1.5, 2.5], "size": index**2, "label": "ab"[index % 2]} for index in range(20)]
    rows[7]["v"] = ["x", 1]
    source = make_dataset({"a.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    columns = resolve_columns(source)
    assert (columns.kind, columns.inputs) == ("table", ("size",))
    assert columns.left_out[0].reason == "its type is list<item: null>"


def test_vectors_as_text_are_not_an_input(make_dataset):
    written = [str(np.array(row, np.float32)) for row in VECTORS]
    assert "\n" in "".join(written)
    columns = _resolve(make_dataset, story=SENTENCES, embedding=written)
    assert (columns.kind, columns.inputs) == ("text", ("story",))
    columns = _resolve(make_dataset, size=NUMBERS, embedding=[json.dumps(row) for row in VECTORS])
    assert (columns.kind, columns.inputs) == ("table", ("size",))
    assert _left_out(columns) == {
        "it contains vectors as text; write it to Parquet or JSON Lines as lists of numbers": ("embedding",)
    }
    with pytest.raises(DatasetError, match=r"No column can be the input of kind auto.* the columns are 'embedding'"):
        _resolve(make_dataset, embedding=written)
    with pytest.raises(DatasetError, match=r"'embedding' contains vectors as text\. Write it to Parquet or JSON Lines"):
        _resolve(make_dataset, {"input": "embedding"}, embedding=written)
    assert _resolve(make_dataset, {"input": "embedding", "kind": "text"}, embedding=written).kind == "text"


@pytest.mark.parametrize("text", ["[1] see page 2", "[]", "1, 2", "[a]", "[...]"])
def test_other_texts_with_brackets_stay_texts(make_dataset, text):
    texts = [*SENTENCES[:29], text]
    assert _resolve(make_dataset, story=texts).inputs == ("story",)
    assert not are_written_out([text])
