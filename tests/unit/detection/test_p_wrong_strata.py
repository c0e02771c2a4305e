"""Which strata a sample has, and how many rows are drawn from each."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection.p_wrong_strata import CUTS, LEAST_WEIGHT, MAX_STRATA, MIN_ROWS, allocation, strata_by_p_wrong

COUNTS = [*range(0, 200, 7), 400, 900, 1_400]
EVERY_P_WRONG = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=300).map(lambda one: np.array(one, np.float32))


def pool(*parts: tuple[float, int]) -> np.ndarray:
    """Return this many rows with each p_wrong."""
    return np.concatenate([np.full(rows, p_wrong, np.float32) for p_wrong, rows in parts])


def test_strata_by_hand() -> None:
    strata, numbers = strata_by_p_wrong(pool((0.001, 900), (0.6, 60), (0.95, 40)))
    # The last 40 rows are too few for a stratum of their own.
    assert [stratum.name for stratum in strata] == ["p_wrong 0 to 0.5", "p_wrong 0.5 to 1"]
    assert [stratum.rows for stratum in strata] == [900, 100]
    assert numbers.tolist() == [0] * 900 + [1] * 100
    # Neyman: 900 rows at the least doubt of 1 %, and 100 rows of which 74 % are expected to be wrong.
    assert [round(stratum.weight) for stratum in strata] == [90, 44]


def test_rows_that_are_alike_are_one_stratum() -> None:
    strata, _ = strata_by_p_wrong(pool((0.3, 5_000)))
    assert [(stratum.name, stratum.rows) for stratum in strata] == [("p_wrong 0 to 1", 5_000)]
    strata, numbers = strata_by_p_wrong(np.empty(0, np.float32))
    assert [stratum.rows for stratum in strata] == [0]
    assert len(numbers) == 0


def test_boundaries_belong_to_the_upper_stratum() -> None:
    strata, numbers = strata_by_p_wrong(pool((0.49, 100), (0.5, 100), (1.0, 100)))
    cut = np.searchsorted([stratum.low for stratum in strata], 0.5)
    assert strata[int(cut)].low == 0.5
    assert (numbers[100:] >= cut).all()
    assert (numbers[:100] < cut).all()


@settings(max_examples=30)
@given(EVERY_P_WRONG)
def test_strata_are_a_partition(p_wrong: np.ndarray) -> None:
    strata, numbers = strata_by_p_wrong(p_wrong)
    assert len(strata) <= MAX_STRATA
    assert np.bincount(numbers, minlength=len(strata)).tolist() == [stratum.rows for stratum in strata]
    assert len(strata) == 1 or min(stratum.rows for stratum in strata) >= MIN_ROWS
    bounds = [stratum.low for stratum in strata] + [strata[-1].high]
    assert bounds[0] == 0
    assert bounds[-1] == 1
    assert set(bounds[1:-1]) <= set(CUTS)
    for number, stratum in enumerate(strata):
        inside = p_wrong[numbers == number]
        assert (inside >= np.float32(stratum.low)).all()
        assert (inside < np.float32(stratum.high)).all() or stratum.high == 1


def test_a_larger_sample_contains_a_smaller_one() -> None:
    strata, _ = strata_by_p_wrong(pool((0.001, 900), (0.07, 200), (0.3, 55), (0.6, 60), (0.95, 100)))
    drawn = [allocation(strata, count) for count in COUNTS]
    for smaller, larger in itertools.pairwise(drawn):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))
    assert [sum(one) for one in drawn] == [min(count, 1_315) for count in COUNTS]
    assert drawn[-1] == [stratum.rows for stratum in strata]


def test_the_allocation_is_neymans() -> None:
    strata, _ = strata_by_p_wrong(pool((0.001, 90_000), (0.3, 3_000), (0.6, 10_000)))
    weights = np.array([stratum.weight for stratum in strata])
    # The smallest stratum is below the least weight.
    weights = np.maximum(weights, LEAST_WEIGHT * weights.sum())
    assert allocation(strata, 1_000) == pytest.approx(1_000 * weights / weights.sum(), abs=1)
