"""Text columns: several of them together, and what is not used."""

from __future__ import annotations

import pyarrow as pa
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.errors import DatasetError

LABELS = ["a", "b"] * 15
LONG = [f"the quick brown fox number {index} jumps over the lazy dog" for index in range(30)]
OTHER = [f"a man number {index} sleeps in the park" for index in range(30)]
TITLES = [f"fox {index}" for index in range(30)]
BRANDS = ["acme", "zeta"] * 15


def _resolve(make_dataset, arguments=None, **columns):
    return resolve_columns(make_dataset({"a.parquet": pa.table({**columns, "label": LABELS})}), **(arguments or {}))


def _texts(columns):
    return [guess for guess in columns.guesses if "label column" not in guess and "ids:" not in guess]


def test_a_known_pair_is_audited_together(make_dataset):
    # Premises repeat, so they alone are no text column.
    columns = _resolve(make_dataset, hypothesis=LONG, premise=OTHER[:5] * 6)
    assert (columns.kind, columns.inputs) == ("text", ("premise", "hypothesis"))
    assert _texts(columns) == [
        "text columns: 'premise', 'hypothesis', audited together because of their names; if one is not used to decide "
        "on the label, name the others with dataset.input"
    ]


def test_a_short_title_belongs_to_its_text(make_dataset):
    assert _resolve(make_dataset, title=TITLES, text=LONG).inputs == ("title", "text")
    assert _resolve(make_dataset, title=BRANDS, text=LONG).inputs == ("text",)
    assert _resolve(make_dataset, title=list(range(30)), text=LONG).inputs == ("text",)


def test_a_column_named_text_wins_over_a_pair(make_dataset):
    columns = _resolve(make_dataset, question=OTHER, answer=OTHER, text=LONG)
    assert columns.inputs == ("text",)


def test_other_texts_are_named_as_not_used(make_dataset):
    columns = _resolve(make_dataset, story=LONG, ending=OTHER, brand=BRANDS)
    assert columns.inputs == ("story",)
    assert _texts(columns) == [
        "text column: 'story', it contains sentences",
        "not used: 'ending', which also contains sentences; name all columns that decide on the label with "
        "dataset.input",
    ]
    assert [(part.reason, part.names) for part in columns.left_out] == [
        ("the input is the text column 'story'", ("ending", "brand"))
    ]


def test_named_texts_are_audited_together(make_dataset):
    columns = _resolve(make_dataset, {"input": ["ending", "story"]}, story=LONG, ending=OTHER)
    assert (columns.kind, columns.inputs) == ("text", ("ending", "story"))
    assert _texts(columns) == ["inputs: 2 columns of text, audited together (ending, story)"]
    with_title = _resolve(make_dataset, {"input": ["name", "story"]}, story=LONG, name=TITLES)
    assert with_title.kind == "text"


@pytest.mark.parametrize("other", [BRANDS, list(range(30))])
def test_texts_and_other_inputs_do_not_mix(make_dataset, other):
    with pytest.raises(DatasetError, match=r"The inputs mix text \('story'\) with other columns \('x'\)\. Name only"):
        _resolve(make_dataset, {"input": ["story", "x"]}, story=LONG, x=other)
    table = _resolve(make_dataset, {"input": ["story", "x"], "kind": "table"}, story=LONG, x=other)
    assert table.kind == "table"


def test_each_of_several_texts_must_be_text(make_dataset):
    with pytest.raises(DatasetError, match=r"Column 'x' is not text: its type is int64\. Name a column of strings"):
        _resolve(make_dataset, {"input": ["story", "x"], "kind": "text"}, story=LONG, x=list(range(30)))


def test_an_image_column_stands_alone(make_dataset):
    with pytest.raises(DatasetError, match=r"The kind image takes one input column, not 2 \(story, x\)\. Name one"):
        _resolve(make_dataset, {"input": ["story", "x"], "kind": "image"}, story=LONG, x=OTHER)


def test_short_chinese_titles_are_text(make_dataset):
    titles = [f"这个手机屏幕{chr(0x4E00 + index)}" for index in range(30)]
    columns = _resolve(make_dataset, size=[index % 7 for index in range(30)], name=titles)
    assert (columns.kind, columns.inputs) == ("text", ("name",))


def test_a_stray_word_among_different_numbers_is_named(make_dataset):
    lines = [f"{index}.5,{index % 7},{LABELS[index]}" for index in range(29)]
    source = make_dataset({"a.csv": "\n".join(["x,y,label", "ND,3,a", *lines])})
    columns = resolve_columns(source)
    assert columns.inputs == ("y",)
    assert [part.reason for part in columns.left_out] == [
        "it has words among numbers: 'ND' (1 time); if they mean a missing value, add them to dataset.csv.missing"
    ]
