from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data import json_items, jsonl
from labelaudit.errors import DatasetError

ROWS = [{"id": f"r{index}", "text": "a, [b] é\n]", "nested": {"x": [1]}} for index in range(60)]


def _read(source, columns, *, label=None, path="a.json"):
    tables = jsonl.read_tables(source, path, columns, label=label, max_rows=7, max_bytes=1 << 20)
    return pa.concat_tables(list(tables), promote_options="permissive").to_pylist()


@pytest.mark.parametrize("block", [5, 64, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        "\ufeff\n " + json.dumps(ROWS) + "\n\n",
        "\r\n".join(map(json.dumps, ROWS)),
        "\n\n".join(map(json.dumps, ROWS)) + "\n\n",
    ],
)
def test_arrays_and_lines_are_the_same_rows(make_dataset, monkeypatch, text, block):
    monkeypatch.setattr(json_items, "READ_BYTES", block)
    source = make_dataset({"a.json": text})
    assert _read(source, ["id", "text"]) == [{"id": row["id"], "text": row["text"]} for row in ROWS]
    assert {field.name: str(field.type) for field in jsonl.survey_file(source, "a.json").schema} == {
        "id": "string", "text": "string", "nested": "list<item: null>",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["[]", "[ ]\n", " [\n]\n"])
def test_an_empty_array_has_no_rows(make_dataset, text):
    assert jsonl.survey_file(make_dataset({"a.json": text}), "a.json").schema.names == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"a": 2', r"a.json, item 2 is not valid JSON .*may be damaged or cut off"),
        ('[{"a": 1}', r"a.json, item 2 is not valid JSON"),
        ('[{"a": 1}, 5]', r"a.json, item 2 is 5, not a JSON object\. Write an array of objects"),
        ('[{"a": 1}] {"a": 2}', r"a.json contains text after the end of its JSON array"),
        (b'[{"a": "\xff"}]', r"a.json is not valid JSON: it is not UTF-8"),
        ('[{"a": 1, "a": 2}]', r"a.json, item 1 has the key 'a' twice\. Remove one"),
        ('{"a": 1}\n{"b": 1, "a" : 2, "b": 3}', r"a.json, line 2 has the key 'b' twice"),
        ('{"a": {"x": 1, "x": 2}}', r"a.json, line 1 has the key 'x' twice"),
        ('{"a": 1}\n{"a": 2, "b', r"a.json, line 2 .*It is the last line and does not end, so the file may be cut off"),
        (
            '{"version": 1, "data": [{"a": 1}]}',
            r"is one JSON object, and its rows are in 'data'\. .*jq -c '\.data\[\]'",
        ),
        ('{"a": {"0": 1}, "b": {"0": 2}}', r"an object for each column, which is the default of pandas"),
    ],
)
def test_files_that_are_not_rows_are_named(make_dataset, text, message):
    with pytest.raises(DatasetError, match=message):
        jsonl.survey_file(make_dataset({"a.json": text}), "a.json")


def test_an_item_without_end_does_not_fill_the_memory(make_dataset, monkeypatch):
    monkeypatch.setattr(json_items, "MAX_ITEM_BYTES", 1_000)
    monkeypatch.setattr(json_items, "READ_BYTES", 500)
    source = make_dataset({"a.json": '[{"a": 1}, {"a": "' + "x" * 5_000 + '"}]'})
    with pytest.raises(DatasetError, match=r"a.json, item 2 is not valid JSON"):
        jsonl.survey_file(source, "a.json")


def test_keys_and_types_of_late_rows_are_in_the_schema(make_dataset):
    lines = [{"a": 1, "b": 1}] * 1_500 + [{"a": 1.5, "b": "x", "c": True, "d": None}]
    source = make_dataset({"a.jsonl": "\n".join(map(json.dumps, lines))})
    schema = jsonl.survey_file(source, "a.jsonl").schema
    assert {field.name: str(field.type) for field in schema} == {
        "a": "double", "b": "string", "c": "bool", "d": "null",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        ([2**64 + 1, 5], "decimal256(76, 0)", [2**64 + 1, 5]),
        ([2**63 - 1, -(2**63)], "int64", [2**63 - 1, -(2**63)]),
        ([10**80, 1], "double", [1e80, 1.0]),
        ([float("nan"), 1], "int64", [None, 1]),
        ([float("nan"), "x"], "string", [None, "x"]),
        ([float("nan"), True], "bool", [None, True]),
        ([float("nan"), 2**70], "decimal256(76, 0)", [None, 2**70]),
        ([float("inf"), 1.5], "double", [float("inf"), 1.5]),
        ([1.0, "x", True, 0.5, float("nan")], "string", ["1", "x", "true", "0.5", None]),
    ],
)
def test_values_of_json(make_dataset, values, type, expected):
    source = make_dataset({"a.json": "\n".join(json.dumps({"a": value}) for value in values)})
    assert str(jsonl.survey_file(source, "a.json").schema.field("a").type) == type
    assert [row["a"] for row in _read(source, ["a"])] == expected


def test_nan_is_no_label_among_strings(make_dataset):
    source = make_dataset({"a.json": '{"a": "x"}\n{"a": NaN}\n'})
    assert [row["a"] for row in _read(source, ["a"], label="a")] == ["x", None]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=4), max_size=5), indent=st.sampled_from([None, 1])
)
def test_any_array_is_read_item_by_item(rows, indent):
    data = json.dumps(rows, indent=indent).encode()
    blocks = iter([data[start : start + 9] for start in range(0, len(data), 9)])
    handle = type("Handle", (), {"read": lambda self, size: next(blocks, b"")})()
    assert [item.record for item in json_items.read_items(handle, "a.json", checks_keys=True)] == rows


def test_lone_surrogates_stay_different(make_dataset):
    text = "".join(f'{{"id": "r{row}", "text": "\\ud83{"de"[row % 2]}"}}\n' for row in range(4))
    assert {row["text"] for row in _read(make_dataset({"a.json": text}), ["text"])} == {"\\ud83d", "\\ud83e"}
