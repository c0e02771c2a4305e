"""Intervals against published numbers, against exact enumeration, and their coverage."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection.strata_totals import limits_of_total
from labelaudit.reviews.interval import Interval, Stratum, stratified, wilson
from labelaudit.reviews.sampling import review_order


def test_wilson_against_published_limits() -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I."""
    for counted, judged, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        found = wilson(counted, judged)
        assert found is not None
        assert found.estimate == counted / judged
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert wilson(0, 0) is None


def test_a_census_has_no_width_and_nothing_has_no_interval() -> None:
    assert stratified([Stratum(500, 500, 400), Stratum(4500, 4500, 50)]) == Interval(0.09, 0.09, 0.09)
    assert stratified([]) is None
    assert stratified([Stratum(0, 0, 0)]) is None
    assert stratified([Stratum(5, 0, 0), Stratum(5, 5, 1)]) is None
    # A part without rows takes nothing away.
    assert stratified([Stratum(0, 0, 0), Stratum(10, 10, 1)]) == Interval(0.1, 0.1, 0.1)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=3))
def test_limits_never_contradict_the_sample(values: list[tuple[int, int, int]]) -> None:
    strata = [Stratum(max(a, b), min(a, b), min(a, b, c)) for a, b, c in values]
    found = stratified(strata)
    assert found is not None
    total = sum(stratum.rows for stratum in strata)
    seen = sum(stratum.counted for stratum in strata)
    others = sum(stratum.judged - stratum.counted for stratum in strata)
    assert seen / total <= found.low <= found.estimate + 1e-9
    assert found.estimate - 1e-9 <= found.high <= 1 - others / total + 1e-9


def test_more_confidence_is_wider() -> None:
    strata = [Stratum(500, 100, 60), Stratum(4500, 100, 2)]
    narrow, wide = stratified(strata, confidence=0.8), stratified(strata, confidence=0.99)
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_five_strata_are_narrower_than_limits_of_each_that_are_joined() -> None:
    """A stratum that saw 0 wrong of 5 rows does not make the interval absurdly wide."""
    strata = [Stratum(40_000, 80, 0), Stratum(4_000, 40, 2), Stratum(2_000, 30, 10), Stratum(2_000, 30, 20)]
    found = stratified([*strata, Stratum(2_000, 20, 18)])
    assert found is not None
    # Exact limits of each stratum, joined by the method of variance estimates recovery, give 6.6 % to 11.9 %.
    assert (round(found.estimate, 3), round(found.low, 3), round(found.high, 3)) == (0.08, 0.067, 0.11)
    with_few = stratified([*strata, Stratum(2_000, 20, 18), Stratum(1_000, 5, 0)])
    assert with_few is not None
    # All 1,000 rows are 2 % of the total.
    assert with_few.high - with_few.low < found.high - found.low + 0.01


def test_coverage_by_simulation_with_the_real_order_of_drawing() -> None:
    """Half of 60 flagged rows are wrong and 1 % of the others; each seed draws another sample."""
    flagged, others = [f"f{n}" for n in range(60)], [f"u{n}" for n in range(600)]
    covered = 0
    interval = cache(lambda *strata: stratified(strata))
    for seed in range(200):
        strata = []
        for ids, wrong in ((flagged, 30), (others, 6)):
            drawn = review_order(ids, "v1", seed)[:40]
            strata.append(Stratum(len(ids), 40, int((drawn < wrong).sum())))
        found = interval(*strata)
        assert found is not None
        covered += found.low <= 36 / 660 <= found.high
    # Three standard errors of a simulation with 200 draws below 95 %.
    assert covered / 200 > 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5


def test_a_sample_of_an_earlier_version_does_not_count() -> None:
    """Of 5,000 rows 500 are wrong. People correct what a sample of 200 finds, and half of the other wrong labels.

    docs/review.md explains which intervals fail, and which range always holds.
    """
    rng = np.random.default_rng(2)
    rows, reviews, corrected = 5_000, 400, 250
    wrong = rng.hypergeometric(500, rows - 500, 200, size=reviews)
    left = 500 - wrong - corrected

    def coverage(judged: np.ndarray, counted: np.ndarray, lower: np.ndarray | int = 0) -> float:
        low, high = limits_of_total(np.full((reviews, 1), rows), judged[:, None], counted[:, None], 0.95)
        return float(((low - lower <= left) & (left <= high)).mean())

    unchanged_only = coverage(200 - wrong, np.zeros(reviews, int))
    all_verdicts = coverage(np.full(reviews, 200), wrong)
    assert unchanged_only == 0
    assert all_verdicts < 0.5
    assert coverage(np.full(reviews, 200), wrong, lower=wrong + corrected) >= 0.95
