from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.slice_values import SliceValues, check_slices, encoded_values
from labelaudit.errors import DatasetError

values = st.lists(st.none() | st.sampled_from(["b", "a", "é", "", "  ", "missing", "1"]), min_size=1, max_size=30)


@given(st.lists(values, min_size=1, max_size=4))
def test_values_of_all_parts(parts: list[list[str | None]]) -> None:
    found = SliceValues.joined(encoded_values(pa.array(part, pa.string())) for part in parts)
    expected = [value if value and value.strip() else "missing" for part in parts for value in part]
    assert [found.names[code] for code in found.code] == expected
    assert found.names == tuple(sorted(set(expected)))
    assert found.arrow.to_pylist() == expected
    assert found.code.dtype == np.int32
    # As they are read from a stored table.
    assert SliceValues.joined([pa.chunked_array([found.arrow, found.arrow[:1]])]).code.tolist() == [
        *found.code,
        found.code[0],
    ]


def test_numbers_are_written_in_their_shortest_form() -> None:
    column = pa.chunked_array([pa.array([3.0, None, 2.5])])
    assert encoded_values(column).to_pylist() == ["3", "missing", "2.5"]
    assert encoded_values(pa.array([True, False])).to_pylist() == ["true", "false"]


def test_some_rows() -> None:
    found = SliceValues.joined([pa.array(["b", "a", "b"])])
    assert found[np.array([2, 1])].arrow.to_pylist() == ["b", "a"]
    assert len(found[1:]) == 2
    assert SliceValues.joined([]).names == ()


@pytest.mark.parametrize(("rows", "different", "is_refused"), [(200, 100, False), (200, 101, True), (60, 50, False)])
def test_a_column_of_quantities_is_refused(rows: int, different: int, is_refused: bool) -> None:
    column = SliceValues.joined([pa.array([str(min(row, different - 1)) for row in range(rows)])])
    if not is_refused:
        check_slices({"width": column})
        return
    with pytest.raises(DatasetError, match=r"Column 'width' \(dataset.slices\) has 101 different values in 200 rows\."):
        check_slices({"width": column})
