"""Results that are computed in threads before they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.read_ahead import mapped_ahead


@given(st.lists(st.integers(), max_size=20), st.integers(1, 3), st.integers(0, 5))
def test_results_are_in_order(values: list[int], threads: int, ahead: int) -> None:
    assert list(mapped_ahead(lambda value: value + 1, values, threads, ahead)) == [value + 1 for value in values]


def test_only_a_few_values_are_taken_in_advance() -> None:
    taken: list[int] = []

    def values() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with closing(mapped_ahead(lambda value: value, values(), 2, 3)) as results:
        assert next(results) == 0
        assert taken == [0, 1, 2, 3]
        assert next(results) == 1
        assert taken == [0, 1, 2, 3, 4]


def test_an_error_is_raised_at_its_place() -> None:
    results = mapped_ahead(lambda value: 1 / value, [1, 2, 0, 4], 2, 3)
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)
