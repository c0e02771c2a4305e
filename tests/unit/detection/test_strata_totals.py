"""Tails and limits of totals: by hand, against enumeration, and the coverage of intervals over strata."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from labelaudit.detection.strata_totals import SLACK, TAIL_SHARE, limits_of_total, tails

# Rows, drawn rows, and the share of them that counts, by stratum.
FIVE_STRATA = {
    "rare errors": ([40_000, 4_000, 2_000, 2_000, 2_000], [80, 40, 30, 30, 20], [0.0005, 0.001, 0, 0.01, 0.05]),
    "as predicted": ([40_000, 4_000, 2_000, 2_000, 2_000], [80, 40, 30, 30, 20], [0.003, 0.05, 0.2, 0.5, 0.9]),
    "useless strata": ([40_000, 4_000, 2_000, 2_000, 2_000], [80, 40, 30, 30, 20], [0.1] * 5),
    "many errors": ([4_000, 400, 200, 200, 200], [20] * 5, [0.4, 0.5, 0.5, 0.6, 0.9]),
    "few drawn": ([900, 60, 50, 50, 50], [5] * 5, [0.02, 0.2, 0.5, 0.8, 0.97]),
    "half drawn": ([300, 100, 100, 100, 100], [80, 40, 30, 30, 20], [0.02, 0.2, 0.5, 0.8, 0.97]),
    "one stratum unlike the others": ([9_000, 900, 60, 50, 50], [120, 20, 20, 20, 20], [0.01, 0, 0, 0, 1]),
}
TWO_STRATA = list(itertools.product([(500, 4_500), (20, 180), (300, 99_700)], [(50, 50), (10, 50), (5, 5)]))


def limits(rows: int, judged: int, counted: int) -> tuple[int, int]:
    low, high = limits_of_total([rows], [judged], [counted], 0.95)
    return int(low[0]), int(high[0])


def test_limits_by_hand() -> None:
    # One of two rows was drawn and counts: the other one may or may not.
    assert limits(2, 1, 1) == (1, 2)
    # 40 rows, 20 drawn, none counts. Of 4 that count none is drawn with 20*19*18*17 / (40*39*38*37) = 5.3 %, of 5
    # with 2.36 %, which is less than 2.5 %.
    assert limits(40, 20, 0) == (0, 4)
    assert limits(40, 20, 20) == (36, 40)
    assert limits(40, 40, 7) == (7, 7)
    # One of 40 rows was judged and is right: were 39 wrong, that would be seen with a probability of 1/40.
    assert limits(40, 1, 0) == (0, 38)


@settings(max_examples=60)
@given(st.data())
def test_limits_of_one_stratum_are_the_populations_that_the_sample_does_not_refute(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 60))
    judged = data.draw(st.integers(1, rows))
    counted = data.draw(st.integers(0, judged))
    possible = [
        population
        for population in range(counted, rows - judged + counted + 1)
        if hypergeom.sf(counted - 1, rows, population, judged) > 0.025 + SLACK
        and hypergeom.cdf(counted, rows, population, judged) > 0.025 + SLACK
    ]
    assert limits(rows, judged, counted) == (possible[0], possible[-1])


def test_tails_of_two_strata_by_enumeration() -> None:
    """With equal strata and equal counts, the most likely composition of 20 is 10 and 10."""
    found = tails([30, 30], [10, 10], [2, 2], [20])
    seen = np.arange(11)
    joint = np.outer(hypergeom.pmf(seen, 30, 10, 10), hypergeom.pmf(seen, 30, 10, 10))
    total = seen[:, None] + seen
    assert found.at_most[0] == pytest.approx(joint[total <= 4].sum(), abs=1e-9)
    assert found.at_least[0] == pytest.approx(joint[total >= 4].sum(), abs=1e-9)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=4))
def test_limits_are_possible_and_what_lies_beyond_is_refuted(values: list[tuple[int, int, int]]) -> None:
    strata = np.array([(max(a, b), min(a, b), min(a, b, c)) for a, b, c in values])
    rows, judged, counted = strata.T
    tail = 0.025 * (1 if len(rows) == 1 else TAIL_SHARE) + SLACK
    (low,), (high,) = limits_of_total(rows, judged, counted, 0.95)
    assert counted.sum() <= low <= high <= rows.sum() - (judged - counted).sum()
    if low > counted.sum():
        assert (
            tails(rows, judged, counted, [low - 1]).at_least[0]
            <= tail
            < tails(rows, judged, counted, [low]).at_least[0]
        )
    if high < rows.sum() - (judged - counted).sum():
        assert tails(rows, judged, counted, [high + 1]).at_most[0] <= tail


def coverage(rows: list[int], judged: list[int], shares: list[float], reviews: int = 2_000) -> float:
    """Return the share of simulated reviews whose interval contains the true total."""
    population = np.rint(np.array(rows) * shares).astype(int)
    rng = np.random.default_rng(7)
    drawn = rng.hypergeometric(population, np.array(rows) - population, judged, size=(reviews, len(rows)))
    cases, times = np.unique(drawn, axis=0, return_counts=True)
    found = tails(rows, judged, cases, np.full(len(cases), population.sum()))
    is_covered = np.minimum(*found) > 0.025 * TAIL_SHARE + SLACK
    return float(times[is_covered].sum() / reviews)


@pytest.mark.parametrize("case", FIVE_STRATA)
def test_intervals_over_five_strata_cover(case: str) -> None:
    # Two standard errors of a simulation with 2,000 reviews below 95 %.
    assert coverage(*FIVE_STRATA[case]) > 0.95 - 2 * (0.95 * 0.05 / 2_000) ** 0.5


@pytest.mark.parametrize(("sizes", "drawn"), TWO_STRATA)
def test_intervals_over_two_strata_cover(sizes: tuple[int, int], drawn: tuple[int, int]) -> None:
    """The probability is summed over all possible samples, so it is exact."""
    drawn = (min(drawn[0], sizes[0]), min(drawn[1], sizes[1]))
    for of_flagged, of_others in itertools.product((0.1, 0.5, 1), (0, 0.005, 0.05)):
        wrong = (round(of_flagged * sizes[0]), round(of_others * sizes[1]))
        one, other = (
            hypergeom.pmf(np.arange(n + 1), size, bad, n) for size, bad, n in zip(sizes, wrong, drawn, strict=True)
        )
        cases = np.argwhere(np.outer(one, other) > 1e-6)
        found = tails(sizes, drawn, cases, np.full(len(cases), sum(wrong)))
        is_refuted = np.minimum(*found) <= 0.025 * TAIL_SHARE + SLACK
        refuted = cases[is_refuted]
        assert (one[refuted[:, 0]] * other[refuted[:, 1]]).sum() < 0.051
