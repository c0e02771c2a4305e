"""Intervals of a share: of a random sample of many rows, and over strata of known size.

`wilson` is for a sample of many rows. `stratified` is for strata that were sampled without replacement: exact limits in
each stratum, the hypergeometric twin of Clopper and Pearson's (Buonaccorsi, "A note on confidence
intervals for proportions in finite populations", The American Statistician 41, 1987), joined by the method of variance
estimates recovery (Zou, Huang and Zhang, "A note on confidence interval estimation for a linear function of binomial
proportions", Computational Statistics & Data Analysis 53, 2009).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

CONFIDENCE = 0.95
# In rows: far above the rounding error of float sums, far below one row.
_ROUNDING = 1e-6
# A tolerance for rounding errors, so that a probability equal to the tail does not exceed it.
SLACK = 1e-9


class Interval(NamedTuple):
    """A share and its limits, each 0..1, low <= estimate <= high."""

    estimate: float
    low: float
    high: float


class Stratum(NamedTuple):
    """A part of the rows: its size, how many of its rows were reviewed, and how many of these count."""

    rows: int
    judged: int
    counted: int


def wilson(counted: int, judged: int) -> Interval | None:
    """Return the share of judged rows that count with its 95 % limits, or None if no row was judged."""
    if not judged:
        return None
    # Imported late, as in `limits`.
    from scipy.stats import binomtest

    low, high = binomtest(counted, judged).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(counted / judged, float(low), float(high))


def stratified(strata: Sequence[Stratum], confidence: float = CONFIDENCE) -> Interval | None:
    """Return the share of rows that count over all strata, or None if a stratum with rows has no reviewed row.

    If every row was reviewed, both limits are the share itself.
    """
    strata = [stratum for stratum in strata if stratum.rows]
    if not strata or any(stratum.judged == 0 for stratum in strata):
        return None
    total = sum(stratum.rows for stratum in strata)
    expected, below, above = 0.0, 0.0, 0.0
    for stratum in strata:
        count = stratum.rows * stratum.counted / stratum.judged
        low, high = limits(stratum, confidence)
        expected += count
        below += (count - low) ** 2
        above += (high - count) ** 2
    # Limits are whole rows, and never contradict the rows that were seen.
    seen = sum(stratum.counted for stratum in strata)
    others = sum(stratum.judged - stratum.counted for stratum in strata)
    fewest = max(seen, math.floor(expected - math.sqrt(below) + _ROUNDING))
    most = min(total - others, math.ceil(expected + math.sqrt(above) - _ROUNDING))
    return Interval(expected / total, fewest / total, most / total)


def limits(stratum: Stratum, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return the fewest and the most rows of a stratum that may count, given what was drawn.

    Each limit is exact: a population beyond it gives what was seen, or something more extreme, with a probability of
    at most (1 - confidence) / 2.
    """
    # Imported late: scipy.stats takes most of a second, and most commands draw no limits.
    from scipy.stats import hypergeom

    rows, judged, counted = stratum
    tail = (1 - confidence) / 2 + SLACK
    fewest, most = counted, rows - (judged - counted)

    def is_enough(population: int) -> bool:
        return bool(hypergeom.sf(counted - 1, rows, population, judged) > tail)

    def is_too_many(population: int) -> bool:
        return bool(hypergeom.cdf(counted, rows, population, judged) <= tail)

    return _first(is_enough, fewest, most), _first(is_too_many, fewest, most + 1) - 1


def _first(is_true: Callable[[int], bool], start: int, end: int) -> int:
    """Return the first number from `start` on for which a monotonic condition is true, or `end` if there is none."""
    while start < end:
        middle = (start + end) // 2
        if is_true(middle):
            end = middle
        else:
            start = middle + 1
    return start
