"""Intervals of a share: of a random sample of many rows, and over strata of known size.

`wilson` is for a sample of many rows. `stratified` is for strata that were sampled without replacement: the shares that
a test of the total does not refute (`detection/strata_totals.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labelaudit.detection.strata_totals import limits_of_total

CONFIDENCE = 0.95


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
    # Imported late: scipy.stats takes most of a second, and most commands draw no limits.
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
    expected = sum(stratum.rows * stratum.counted / stratum.judged for stratum in strata)
    rows, judged, counted = np.array(strata).T
    low, high = limits_of_total(rows, judged, counted, confidence)
    return Interval(expected / total, int(low[0]) / total, int(high[0]) / total)
