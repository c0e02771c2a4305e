from __future__ import annotations

import datetime
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

from labelaudit.data.columns import resolve_columns
from labelaudit.data.dataset import Examples
from labelaudit.data.parquet import text_columns
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError

UUIDS = [uuid.UUID(int=number + 2**100) for number in range(4)]
LABELS = ["a", "b", "a", "b"]


def _examples(source, **roles):
    columns = resolve_columns(source, **{"label": "label", "id": "id", **roles})
    return columns, Examples.from_batches(read_batches(source, columns), columns)


def _table(id, label=LABELS, **others):
    return pa.table({"id": id, "label": label, "x": [1.5, 2.5, 3.5, 5.5], **others})


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([Decimal(10**37 + n) for n in range(4)], pa.decimal128(38, 0)), [str(10**37 + n) for n in range(4)]),
        (pa.array([Decimal(n) for n in range(4)], pa.decimal128(9, 2)), ["0", "1", "2", "3"]),
        (pa.array([2**64 - 4 + n for n in range(4)], pa.uint64()), [str(2**64 - 4 + n) for n in range(4)]),
        (pa.array([value.bytes for value in UUIDS], pa.uuid()), list(map(str, UUIDS))),
        (pa.array([b"user-%d" % n for n in range(4)]), [f"user-{n}" for n in range(4)]),
        (pa.array([b"user-%d" % n for n in range(4)]).dictionary_encode(), [f"user-{n}" for n in range(4)]),
        (pa.array([Decimal(n) for n in range(4)]).dictionary_encode(), ["0", "1", "2", "3"]),
        (pa.array([bytes([255, n]) for n in range(4)]), ["ff00", "ff01", "ff02", "ff03"]),
        (pa.array(["w", "x", "y", "z"], pa.string_view()), ["w", "x", "y", "z"]),
        (pa.array([datetime.date(2024, 1, n + 1) for n in range(4)]), [f"2024-01-0{n + 1}" for n in range(4)]),
        (pa.array([float(n) for n in range(4)]), ["0", "1", "2", "3"]),
    ],
)
def test_ids_are_exact_in_any_type(make_dataset, ids, expected):
    columns, examples = _examples(make_dataset({"a.parquet": _table(ids)}))
    assert examples.example_id.tolist() == expected
    has_sentence = any("they are written in hex" in guess for guess in columns.guesses)
    assert has_sentence == (expected[0] == "ff00")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([b"cat", b"dog", b"cat", None]), ["cat", "dog", "cat", None]),
        (pa.array([b"cat", b"dog"] * 2).dictionary_encode(), ["cat", "dog", "cat", "dog"]),
        (pa.array([Decimal("1.00"), Decimal("2.50")] * 2), ["1", "2.5", "1", "2.5"]),
        (pa.array([True, False] * 2), ["true", "false", "true", "false"]),
        (pa.array([4.1, 3.0] * 2, pa.float32()), ["4.1", "3", "4.1", "3"]),
        (pa.array(["a", "b"] * 2, pa.large_string()), ["a", "b", "a", "b"]),
    ],
)
def test_labels_are_exact_in_any_type(make_dataset, labels, expected):
    _, examples = _examples(make_dataset({"a.parquet": _table(["1", "2", "3", "4"], labels)}))
    assert examples.given_label.tolist() == expected


def test_sixteen_bytes_in_a_column_of_uuids_are_uuids(make_dataset):
    values = pa.array([value.bytes for value in UUIDS], pa.binary(16))
    table = _table(["1", "2", "3", "4"], user_uuid=values)
    columns, examples = _examples(make_dataset({"a.parquet": table}), id="user_uuid", group="user_uuid")
    assert examples.example_id.tolist() == examples.group.tolist() == list(map(str, UUIDS))
    assert columns.text_columns == ()


@pytest.mark.parametrize(("type", "limit"), [(pa.float64(), 2**53), (pa.float32(), 2**24)])
@pytest.mark.parametrize("role", ["id", "group"])
def test_floats_that_cannot_be_exact_are_refused(make_dataset, type, limit, role):
    values = pa.array([1.0, 2.0, 3.0, float(limit)], type)
    source = make_dataset({"a.parquet": _table(["1", "2", "3", "4"], big=values)})
    with pytest.raises(
        DatasetError, match=rf"Column 'big' in a.parquet contains {limit} as a (double|float)\. .*below"
    ):
        _examples(source, **{role: "big"})


@pytest.mark.parametrize(
    "values",
    [
        pa.array([datetime.datetime(2024, 1, 1)] * 4),
        pa.array([datetime.datetime(2024, 1, 1)] * 4, pa.timestamp("us", "Europe/Paris")),
        pa.array([datetime.date(2024, 1, 1)] * 4),
        pa.array([datetime.time(1, 2)] * 4),
        pa.array([datetime.timedelta(1)] * 4),
    ],
)
def test_dates_and_times_are_not_inputs(make_dataset, values):
    source = make_dataset({"a.parquet": _table(["1", "2", "3", "4"], when=values)})
    columns = resolve_columns(source)
    assert columns.inputs == ("x",)
    assert [(group.reason, group.names) for group in columns.left_out] == [
        ("dates and times are not inputs", ("when",))
    ]
    with pytest.raises(DatasetError, match="Column 'when' cannot be an input"):
        resolve_columns(source, input=["when", "x"])


def test_times_in_several_zones_stay_times(make_dataset):
    times = [pa.array([datetime.datetime(2024, 1, 1)] * 4, pa.timestamp("us", zone)) for zone in ("UTC", "Asia/Tokyo")]
    files = {f"{n}.parquet": _table([f"{n}{m}" for m in range(4)], when=values) for n, values in enumerate(times)}
    columns = resolve_columns(make_dataset(files))
    assert columns.inputs == ("x",)
    assert columns.left_out[0].reason == "dates and times are not inputs"


@pytest.mark.parametrize("second", [pa.array(["x"] * 4), pa.array([True] * 4), pa.array([b"q"] * 4)])
def test_shards_of_several_types_are_read_as_text(make_dataset, second):
    files = {"1.parquet": _table(list("1234"), v=[7] * 4), "2.parquet": _table(list("5678"), v=second)}
    columns = resolve_columns(make_dataset(files))
    # Bytes and numbers do not have a common type.
    is_text = not pa.types.is_binary(second.type)
    assert columns.inputs == (("x", "v") if is_text else ("x",))


def test_nested_values_and_nulls_are_left_out_with_their_type(make_dataset):
    others = {
        "many": [[1]] * 4,
        "parts": [{"p": 1}] * 4,
        "none": pa.nulls(4),
        "pairs": pa.array([[("k", 1)]] * 4, pa.map_(pa.string(), pa.int64())),
    }
    columns = resolve_columns(make_dataset({"a.parquet": _table(["1", "2", "3", "4"], **others)}))
    assert {name: group.reason.split(" (")[0] for group in columns.left_out for name in group.names} == {
        "many": "its type is list<element: int64>",
        "parts": "its type is struct<p: int64>",
        "none": "it has no value",
        "pairs": "its type is map<string, int64",
    }


def test_bytes_that_stop_being_text_are_an_error(make_dataset):
    first, second = _table([b"1", b"2", b"3", b"4"]), _table([b"5", b"6", b"7", b"\xff"])
    source = make_dataset({"1.parquet": first, "2.parquet": second})
    columns = resolve_columns(source, id="id", label="label")
    assert columns.text_columns == ("id",)
    with pytest.raises(
        DatasetError, match=r"Column 'id' begins with values that are text .* 2.parquet is not valid UTF-8"
    ):
        list(read_batches(source, columns))


def test_bytes_are_text_only_without_control_characters():
    columns = {
        "text": [b"a\tb\n", "é".encode(), None],
        "zero": [b"a\0", b"b", None],
        "raw": [b"\xff", b"", None],
        "no": [b"", None, None],
        "s": ["x"] * 3,
    }
    rows = pa.table(columns)
    assert text_columns(rows, rows.schema) == ("text",)


@pytest.mark.parametrize("order", [1, -1])
def test_strings_in_one_shard_and_bytes_in_another_are_text(make_dataset, order):
    tables = [_table([b"1", b"2", b"3", b"4"]), _table(["5", "6", "7", "8"])][::order]
    _, examples = _examples(make_dataset({f"{number}.parquet": table for number, table in enumerate(tables)}))
    assert examples.example_id.tolist() == list("12345678")
