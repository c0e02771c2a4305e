"""Columns of strings in Arrow against lists and arrays of Python strings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit import strings
from labelaudit.strings import Strings

# Few letters, so that values repeat; a letter of four bytes, which sorts after all others only by code point.
WORDS = st.lists(st.text("ab\uffff\U00010000", max_size=2), max_size=12)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strings, "_PIECE", 3)


@given(words=WORDS)
def test_a_column_is_a_sequence(words: list[str]) -> None:
    column = Strings(words)
    assert (column.tolist(), list(column), len(column), column.shape) == (words, words, len(words), (len(words),))
    assert [column[row] for row in range(-len(words), len(words))] == words * 2
    assert np.asarray(column, object).tolist() == words
    assert column[1:-1].tolist() == words[1:-1]
    assert Strings.joined([column, Strings([]), column[:1]]).tolist() == words + words[:1]
    assert Strings.joined([Strings.missing(2), column]).tolist() == [None, None, *words]


@given(words=WORDS, draw=st.data())
def test_rows_are_chosen_as_in_an_array(words: list[str], draw: st.DataObject) -> None:
    column, array = Strings(words), np.array(words, dtype=object)
    mask = np.array(draw.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words))), bool)
    assert column[mask].tolist() == array[mask].tolist()
    rows = draw.draw(st.lists(st.integers(0, len(words) - 1), max_size=5)) if words else []
    assert column[rows].tolist() == column[np.array(rows, np.int64)].tolist() == [words[row] for row in rows]


@given(words=WORDS)
def test_order_and_equal_strings(words: list[str]) -> None:
    column = Strings(words)
    order = column.order()
    assert order.tolist() == sorted(range(len(words)), key=words.__getitem__)
    is_same = [row > 0 and words[row] == words[row - 1] for row in range(len(words))]
    assert column.repeats().tolist() == is_same
    assert column.repeats(order).tolist() == column[order].repeats().tolist()
    assert pd.factorize(column.numbers())[0].tolist() == pd.factorize(np.array(words, dtype=object))[0].tolist()


@given(words=WORDS, wanted=st.sets(st.text("ab", max_size=2)))
def test_wanted_strings_are_found(words: list[str], wanted: set[str]) -> None:
    assert Strings(words).find(wanted).tolist() == [row for row, word in enumerate(words) if word in wanted]


def test_rows_without_a_value_are_none() -> None:
    column = Strings(["a", None, None])
    assert (column.tolist(), column[1], column.repeats().tolist()) == (["a", None, None], None, [False] * 3)
    missing = Strings.missing(3)
    assert (len(missing), missing.tolist(), missing[1:].tolist()) == (3, [None] * 3, [None] * 2)
    assert missing.arrow.nbytes == 0


@pytest.mark.parametrize("type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_columns_of_other_types_become_large_strings(type: pa.DataType) -> None:
    whole = pa.array(["a", "b", "a"]).cast(type)
    for values in (whole, pa.chunked_array([whole[:1], whole[1:]]), pa.chunked_array([], type)):
        column = Strings(values)
        assert column.arrow.type == pa.large_string()
        assert column.tolist() == values.to_pylist()
