from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.data import delimited, json_items, tables
from labelaudit.data.columns import resolve_columns
from labelaudit.data.file_layout import find_layout
from labelaudit.data.readers import read_batches
from labelaudit.data.table_survey import survey_tables
from labelaudit.data.tables import read_sample, read_tables
from labelaudit.errors import DatasetError


def _layout(source):
    return survey_tables(source, find_layout(source)).layout


def _read(source, columns, **kwargs):
    pieces = read_tables(source, _layout(source), columns, **kwargs)
    return [(piece.file, piece.first_row, piece.rows) for piece in pieces]


def _values(source, column, **kwargs):
    return [value for _, _, table in _read(source, [column], **kwargs) for value in table.column(column).to_pylist()]


def _parquet_bytes(table, **kwargs):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **kwargs)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_rows_come_in_order_with_their_places(make_dataset, format):
    first, second = list(range(10)), list(range(10, 14))

    def content(values):
        if format == "parquet":
            return pa.table({"a": values, "b": values})
        if format == "csv":
            return "a,b\n" + "".join(f"{value},{value}\n" for value in values)
        return "".join(json.dumps({"a": value, "b": value}) + "\n" for value in values)

    source = make_dataset({f"one.{format}": content(first), f"two.{format}": content(second)})
    pieces = _read(source, ["b"], max_rows=4)
    assert [(file.split(".")[0], row, len(table)) for file, row, table in pieces] == [
        ("one", 0, 4), ("one", 4, 4), ("one", 8, 2), ("two", 0, 4),
    ]  # fmt: skip
    assert [int(value) for _, _, table in pieces for value in table.column("b").to_pylist()] == first + second
    assert {tuple(table.column_names) for _, _, table in pieces} == {("b",)}


def test_large_values_make_small_pieces(make_dataset, monkeypatch):
    monkeypatch.setattr(tables, "MAX_BYTES", 100_000)
    big = "x" * 10_000
    rows = pa.table({"a": [f"{index}{big}" for index in range(50)]})
    lines = "".join(json.dumps({"a": f"{index}{big}"}) + "\n" for index in range(50))
    for name, content in {
        "a.parquet": _parquet_bytes(rows, compression="none", use_dictionary=False),
        "a.jsonl": lines,
    }.items():
        pieces = _read(make_dataset({name: content}), ["a"])
        assert max(len(table) for _, _, table in pieces) <= 11
        assert sum(len(table) for _, _, table in pieces) == 50


def test_parquet_columns_may_have_dots_and_be_structs(make_dataset):
    rows = pa.table({"a.b": [1], "a": [{"b": 2, "c": 3}]})
    source = make_dataset({"x.parquet": rows})
    assert _values(source, "a.b") == [1]
    assert _values(source, "a") == [{"b": 2, "c": 3}]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("bom.csv", "\ufeffa,b\n007,x\n", ["007"]),
        ("late.csv", "a,b\n" + "1,x\n" * 3 + "3.5,x\n", ["1", "1", "1", "3.5"]),
        ("quoted.csv", 'a,b\n"x, ""y""\nz",1\n', ['x, "y"\nz']),
        ("crlf.csv", "a,b\r\n1,2\r\n", ["1"]),
        ("tab.tsv", "a\tb\nx,y\t2\n", ["x,y"]),
        ("semicolon.csv", "a;b\nx,y;2\n", ["x,y"]),
        ("unicode.csv", "a,b\nmünchen 猫,2\n", ["münchen 猫"]),
        ("blank.csv", "\na,b\n\n1,2\n\n3,4\n", ["1", "3"]),
        ("unended.csv", "a,b\n1,2", ["1"]),
        ("empty.csv", 'a,b\n,2\n"",3\n', ["", ""]),
    ],
)
def test_csv_values_are_strings_as_they_are_written(make_dataset, name, text, expected):
    assert _values(make_dataset({name: text}), "a") == expected


def test_csv_types_do_not_depend_on_the_first_block(make_dataset, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1_000)
    text = "id,x\n" + "".join(f"{index:03d},{index}\n" for index in range(900)) + "abc,3.5\n"
    source = make_dataset({"a.csv": text})
    pieces = _read(source, ["id", "x"])
    assert len(pieces) > 5
    assert [row for _, row, _ in pieces] == [sum(len(t) for _, _, t in pieces[:i]) for i in range(len(pieces))]
    assert _values(source, "id")[7] == "007"
    assert _values(source, "x")[-1] == "3.5"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('{"a": 1}\n\n{"a": 2}\n', [1, 2]),
        ('\ufeff{"a": "x"}\r\n{"b": 1}', ["x", None]),
        ('{"a": 1}\n{"a": 2.5}', [1.0, 2.5]),
        ('{"a": 1}\n{"a": "x"}', ["1", "x"]),
        ('{"a": true}\n{"a": null}', [True, None]),
        ('{"a": 1e999}\n{"a": 99999999999999999999}', [float("inf"), 1e20]),
        ('{"a": "\\ud800x"}', ["\\ud800x"]),
        ('{"a": [1]}\n{"a": [2.5, null]}\n{"a": null}', [[1.0], [2.5, None], None]),
        ('{"a": [1]}\n{"a": ["x"]}\n{"a": [true]}\n{"a": {}}', ["[1]", '["x"]', "[true]", "{}"]),
    ],
)
def test_jsonl_values(make_dataset, lines, expected):
    assert _values(make_dataset({"a.jsonl": lines}), "a") == expected


def test_a_number_too_large_for_a_float_is_infinite(make_dataset):
    lines = "".join(f'{{"a": {sign}1{"0" * 400}}}\n' for sign in ("", "-"))
    assert _values(make_dataset({"a.jsonl": lines}), "a") == [float("inf"), float("-inf")]


def test_jsonl_lines_may_cross_blocks(make_dataset, monkeypatch):
    monkeypatch.setattr(json_items, "READ_BYTES", 7)
    source = make_dataset({"a.jsonl": "".join(json.dumps({"a": f"é{index}"}) + "\n" for index in range(50))})
    assert _values(source, "a") == [f"é{index}" for index in range(50)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"", "a.parquet is empty"),
        ("a.csv", b" \n ", "a.csv is empty"),
        ("a.parquet", b"<!DOCTYPE html><html>", "a.parquet is a web page"),
        ("a.csv", b"\n<html><body>404</body>", "a.csv is a web page"),
        ("a.parquet", b"id,label\n1,a\n", "a.parquet is not a Parquet file"),
        ("a.csv", _parquet_bytes(pa.table({"a": [1]})), "a.csv is Parquet, not csv"),
        ("a.csv", b"PK\x03\x04xxxx", "is a zip archive or an Excel sheet"),
        ("a.jsonl", b"\x1f\x8bxxxx", "a.jsonl is gzip, not jsonl"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "a.jsonl is UTF-16 text"),
        (
            "a.parquet",
            _parquet_bytes(pa.table({"a": [1] * 1000}))[:-20],
            "a.parquet cannot be read as Parquet",
        ),
        (
            "a.csv",
            b"a,b\n1,2\n1,2,3\n",
            r"a.csv, line 3 cannot be read as CSV: it has 3 fields, but the header has 2\.",
        ),
        ("a.csv", b"a,b\n\xe9t\xe9,2\n\xc3\xa9,3\n\xc3\xa9,4\n", r"a.csv is UTF-8, but byte 4 \(line 2\) is not valid"),
        ("a.csv", b"a,a\n1,2\n", "a.csv has two columns named 'a'"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', r"a.jsonl, line 2 is not valid JSON .*: .*one JSON object"),
        ("a.jsonl", b'{"a": 1}\n\xff\xfe{}\n', "a.jsonl, line 2 is not valid JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, item 1 is not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n["a"]', r"a.jsonl, line 2 is .*not a JSON object\. .*jq"),
    ],
)
def test_broken_files_are_named(make_dataset, name, content, message):
    with pytest.raises(DatasetError, match=message):
        _read(make_dataset({name: content}), ["a"])


def test_damaged_pages_of_parquet_are_named(make_dataset):
    data = bytearray(_parquet_bytes(pa.table({"a": [f"text {index}" for index in range(5000)]}), compression="snappy"))
    data[40:400] = b"\xff" * 360
    with pytest.raises(DatasetError, match=r"a.parquet cannot be read as Parquet"):
        _read(make_dataset({"a.parquet": bytes(data)}), ["a"])


def test_strings_of_parquet_must_be_utf8(make_dataset):
    values = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    with pytest.raises(DatasetError, match=r"a.parquet cannot be read as Parquet: .*UTF8"):
        _read(make_dataset({"a.parquet": pa.table({"a": values})}), ["a"])


def test_a_line_without_end_does_not_fill_the_memory(make_dataset, monkeypatch):
    monkeypatch.setattr(json_items, "MAX_ITEM_BYTES", 1_000)
    monkeypatch.setattr(json_items, "READ_BYTES", 500)
    with pytest.raises(DatasetError, match=r"a.jsonl, line 2 is longer than"):
        _read(make_dataset({"a.jsonl": '{"a": 1}\n{"a": "' + "x" * 5_000}), ["a"])


def test_two_parquet_columns_of_one_name_are_refused(make_dataset):
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DatasetError, match=r"a.parquet has two columns named 'a'"):
        _read(make_dataset({"a.parquet": rows}), ["a"])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"a": [1]}, "shard 2.parquet has no column 'b', unlike 1.parquet"),
        ({"a": [1], "b": [1], "c": [1]}, "shard 2.parquet has an extra column 'c', unlike 1.parquet"),
    ],
)
def test_shards_must_have_the_same_columns(make_dataset, second, message):
    source = make_dataset({"1.parquet": pa.table({"a": [1], "b": [1]}), "2.parquet": pa.table(second)})
    with pytest.raises(DatasetError, match=message):
        _read(source, ["a"])


def test_shards_may_differ_in_order_and_in_types(make_dataset):
    first = pa.table({"a": [1], "b": ["x"], "c": pa.nulls(1), "d": [1]})
    second = pa.table({"d": ["x"], "c": ["x"], "b": pa.nulls(1), "a": [1.5]})
    source = make_dataset({"1.parquet": first, "2.parquet": second})
    schema = survey_tables(source, find_layout(source)).schema
    assert {field.name: str(field.type) for field in schema} == {
        "a": "double", "b": "string", "c": "string", "d": "string",
    }  # fmt: skip
    assert _values(source, "a") == [1, 1.5]


def test_mixed_labels_in_json_lines_are_refused_with_their_lines(make_dataset):
    source = make_dataset({"a.jsonl": '{"a": 1}\n{"a": null}\n{"a": "cat"}\n'})
    with pytest.raises(DatasetError, match=r"have several types: 1 \(a.jsonl, line 1\) and 'cat' \(line 3\)"):
        _read(source, ["a"], label="a")
    source = make_dataset({"a.jsonl": '{"a": "x"}\n{"a": ["y"]}\n'})
    with pytest.raises(DatasetError, match=r"cannot be the label: it is \['y'\] in a.jsonl, line 2\."):
        _read(source, ["a"], label="a")


@pytest.mark.parametrize("files", [{"a.csv": "a,b\n"}, {"a.parquet": pa.table({"a": pa.array([], pa.int64())})}])
def test_a_dataset_without_rows_is_refused(make_dataset, files):
    source = make_dataset(files)
    with pytest.raises(DatasetError, match=r"has no rows: its 1 (csv|parquet) file\(s\) contain only column names"):
        read_sample(source, _layout(source), ["a"])


def test_a_sample_skips_empty_shards(make_dataset):
    source = make_dataset({"1.csv": "a,b\n", "2.csv": "a,b\n" + "1,2\n" * 3000})
    assert len(read_sample(source, _layout(source), ["a"])) == 1_000


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint64(), pa.int8(), pa.decimal128(38, 0)),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
    ],
)
def test_types_that_differ_between_shards_become_one_that_fits_both(make_dataset, first, second, merged):
    shards = {f"{name}.parquet": pa.table({"a": pa.array([None], type)}) for name, type in enumerate((first, second))}
    source = make_dataset(shards)
    assert survey_tables(source, find_layout(source)).schema.field("a").type == merged


def test_ids_of_two_integer_types_are_ids(make_dataset):
    def shard(start, type):
        ids = pa.array(range(start, start + 30), type)
        return pa.table({"id": ids, "size": [float(row % 7) for row in range(30)], "label": ["a", "b"] * 15})

    source = make_dataset({"0.parquet": shard(0, pa.int32()), "1.parquet": shard(1234567890123456000, pa.int64())})
    columns = resolve_columns(source)
    assert columns.id == "id"
    assert [id for batch in read_batches(source, columns) for id in batch.ids][-1] == "1234567890123456029"


def test_a_column_of_several_types_is_named(make_dataset):
    numbers = pa.table({"size": [1.0, 2.0] * 15, "label": ["a", "b"] * 15})
    texts = numbers.set_column(0, "size", numbers["size"].cast(pa.string()))
    columns = resolve_columns(make_dataset({"0.parquet": numbers, "1.parquet": texts}))
    assert "column 'size' is double in some files and string in others" in columns.guesses
