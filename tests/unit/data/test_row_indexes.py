"""Saved row indexes: by name, and by values that number all rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.columns import resolve_columns
from labelaudit.data.row_indexes import MIN_NUMBERED_ROWS, RowNumbers, counts_rows, is_row_index_name

NAMES = ["", "Unnamed: 0", "Unnamed: 0.1", "Unnamed: 0.1.1", "Unnamed: 0_x", "index", "level_1", "rownames", "...1"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_programs_give_to_an_index(name: str) -> None:
    assert is_row_index_name(name)


@pytest.mark.parametrize("name", ["price_index", "level", "Unnamed", "body mass index", "x", "index_fund"])
def test_other_names(name: str) -> None:
    assert not is_row_index_name(name)


def _numbers(*batches: object) -> RowNumbers:
    numbers = RowNumbers()
    for batch in batches:
        numbers.add(np.array(batch, dtype=np.float64))
    return numbers


@given(st.permutations(range(MIN_NUMBERED_ROWS + 5)), st.integers(-(2**40), 2**40), st.integers(0, MIN_NUMBERED_ROWS))
def test_a_permutation_numbers_the_rows(order: list[int], start: int, cut: int) -> None:
    values = [start + number for number in order]
    assert _numbers(values[:cut], values[cut:]).number_all_rows()
    # One value twice in place of another is no permutation.
    wrong = [values[1], *values[1:]]
    assert not _numbers(wrong).number_all_rows()


@pytest.mark.parametrize(
    "values",
    [
        [],
        list(range(MIN_NUMBERED_ROWS - 1)),
        [*range(MIN_NUMBERED_ROWS), MIN_NUMBERED_ROWS + 1],
        [*range(MIN_NUMBERED_ROWS), float("nan")],
        [*range(MIN_NUMBERED_ROWS), 0.5],
        [*range(MIN_NUMBERED_ROWS), float("inf")],
        # The same sum as 0 to 29, and the same range.
        [0, 1, 1, 4, 4, *range(5, 30)],
    ],
)
def test_other_values_do_not(values: list[float]) -> None:
    assert not _numbers(values).number_all_rows()


def test_rows_are_counted_in_order_only() -> None:
    assert counts_rows(pa.chunked_array([range(7, 7 + MIN_NUMBERED_ROWS)]))
    assert not counts_rows(pa.chunked_array([[*range(MIN_NUMBERED_ROWS), 3]]))


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_a_column_that_numbers_the_rows_in_any_order_is_left_out(make_dataset, format) -> None:
    rng = np.random.default_rng(0)
    rows = {
        "x": rng.normal(size=2500).round(3).tolist(),
        "place": (rng.permutation(2500) + 3).tolist(),
        "count": (rng.permutation(2500) * 2).tolist(),
        "label": ["a", "b"] * 1250,
    }
    lines = list(zip(*rows.values(), strict=True))
    files = {
        "parquet": pa.table(rows),
        "csv": "\n".join([",".join(rows), *(",".join(map(str, line)) for line in lines)]),
        "jsonl": "\n".join(json.dumps(dict(zip(rows, line, strict=True))) for line in lines),
    }
    columns = resolve_columns(make_dataset({f"a.{format}": files[format]}))
    assert columns.inputs == ("x", "count")
    assert [(part.reason, part.names) for part in columns.left_out] == [("it numbers the rows", ("place",))]


def test_an_index_that_restarts_in_each_file_is_left_out(make_dataset) -> None:
    rng = np.random.default_rng(0)

    def shard() -> pa.Table:
        return pa.table({"x": rng.normal(size=40), "n": rng.permutation(40), "label": ["a", "b"] * 20})

    columns = resolve_columns(make_dataset({"a.parquet": shard(), "b.parquet": shard()}))
    assert columns.inputs == ("x",)


def test_a_named_index_and_an_only_column_stay(make_dataset) -> None:
    rows = pa.table({"n": np.random.default_rng(0).permutation(40), "label": ["a", "b"] * 20})
    source = make_dataset({"a.parquet": rows})
    assert resolve_columns(source).inputs == ("n",)
    assert resolve_columns(source, input="n").inputs == ("n",)
