from __future__ import annotations

import datetime
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest

from labelaudit.data.digests import digest_bytes, digest_rows
from labelaudit.data.values import family, parses_as_numbers, to_categories, to_numbers, to_strings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([7, None]), ["7", None]),
        (pa.array([7.0, 0.5, float("nan")]), ["7", "0.5", None]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["007"]).dictionary_encode(), ["007"]),
        (pa.array([b"\x01\xff"]), ["01ff"]),
        (pa.array([datetime.date(2024, 1, 2)]), ["2024-01-02"]),
        (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), ["00000000-0000-0000-0000-000000000001"]),
        (
            pa.array([Decimal("1234567890123456789012345678901234567"), Decimal(0)]),
            ["1234567890123456789012345678901234567", "0"],
        ),
        (pa.array([Decimal("1.00"), Decimal("-10.50"), Decimal("-0.00"), None]), ["1", "-10.5", "0", None]),
        (pa.array([Decimal("0.00000001")]), ["0.00000001"]),
        (pa.array([Decimal("7.0")]).dictionary_encode(), ["7"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([4.1], pa.float32()), ["4.1"]),
        (pa.array(["x"], pa.string_view()), ["x"]),
        (pa.array([datetime.datetime(2024, 1, 2, 3, 4)], pa.timestamp("s")), ["2024-01-02 03:04:00"]),
    ],
)
def test_string_forms(values, expected):
    assert to_strings(values).to_pylist() == expected


def test_numbers_are_parsed_and_missing_ones_are_null():
    assert to_numbers(pa.array([" 1", "2.5", "", "NA", "NaN", "1e3"])).to_pylist() == [
        1,
        2.5,
        None,
        None,
        None,
        1000,
    ]
    assert to_numbers(pa.array([1, None])).to_pylist() == [1, None]
    assert str(to_numbers(pa.array([-0.0]))[0].as_py()) == "0.0"
    assert not parses_as_numbers(pa.array(["1", "red"]))


def test_categories_keep_their_spelling():
    assert to_categories(pa.chunked_array([["NA", ""], [None, " x"]])).to_pylist() == ["NA", None, None, " x"]


def test_families():
    types = [
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.bool_()),
        pa.decimal128(5, 2),
        pa.null(),
        pa.timestamp("s"),
    ]
    assert [family(type) for type in types] == ["string", "bool", "number", "null", "other"]


def _table(**columns):
    return pa.table(columns)


def test_rows_with_equal_values_have_equal_digests():
    table = _table(a=[1.0, 1.0, 2.0, None], c=["x", "x", "x", None])
    first, second, third, fourth = digest_rows(table)
    assert first == second
    assert len({first, third, fourth}) == 3
    assert digest_rows(table.select(["c", "a"])) == digest_rows(table)
    assert digest_rows(table.slice(2)) == [third, fourth]


def test_digests_do_not_mix_columns():
    assert digest_rows(_table(a=["ab"], b=["c"])) != digest_rows(_table(a=["a"], b=["bc"]))
    assert digest_rows(_table(a=[""], b=["x"])) != digest_rows(_table(a=pa.array([None], pa.string()), b=["x"]))
    assert digest_rows(_table(a=[1.0])) != digest_rows(_table(b=[1.0]))
    chunked = pa.table({"a": pa.chunked_array([["x"], ["y"]])})
    assert digest_rows(chunked) == digest_rows(_table(a=["x", "y"]))


def test_a_digest_is_128_bits_in_hex():
    assert len(digest_bytes(b"")) == len(digest_rows(_table(a=[1.0]))[0]) == 32
