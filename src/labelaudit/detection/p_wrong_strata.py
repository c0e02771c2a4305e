"""Strata of a random sample by p_wrong, and how many rows are drawn from each.

Rows with similar p_wrong are similarly often wrong, so each stratum varies little, and the measured error rate is more
precise than from a simple random sample of the same size. Boundaries and sizes depend only on p_wrong before any
verdict: verdicts must not move a row to another stratum.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Possible boundaries of p_wrong.
CUTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
MAX_STRATA = 5
LIKELY_WRONG = 0.5
# A stratum has at least this many rows, unless there are too few in all.
MIN_ROWS = 50
# Each stratum gets this many of the drawn rows before the others are shared out.
FIRST_ROWS = 5
# No stratum weighs less than this share of all, so that a sample says enough about the rows that are probably flagged.
LEAST_WEIGHT = 0.12
# p_wrong is an estimate: no stratum is treated as if it were purer than this.
LEAST_DOUBT = 0.01

_Cells = npt.NDArray[np.float64]  # (len(CUTS) + 1,), one value for each range between two neighbouring cuts


class PWrongStratum(NamedTuple):
    """The rows with `low` <= p_wrong < `high`; the last stratum includes 1."""

    low: float
    high: float
    rows: int
    weight: float  # rows times the standard deviation that p_wrong predicts

    @property
    def name(self) -> str:
        return f"p_wrong {self.low:g} to {self.high:g}"


class PWrongStrata(NamedTuple):
    """At most `MAX_STRATA` strata of M rows, the lowest p_wrong first."""

    strata: tuple[PWrongStratum, ...]
    numbers: npt.NDArray[np.int64]  # (M,) the stratum of each row, from 0


def strata_by_p_wrong(p_wrong: npt.NDArray[np.floating]) -> PWrongStrata:
    """Return the strata of M rows.

    Of all sets of boundaries from `CUTS`, it is the one for which Neyman's allocation (Journal of the Royal Statistical
    Society 97, 1934) has the smallest standard error, if p_wrong is right. `LIKELY_WRONG` is always a boundary, so that
    a sample says enough about the rows that are probably flagged.

    Args:
        p_wrong: (M,) probabilities before any verdict.
    """
    cell = np.searchsorted(np.asarray(CUTS, p_wrong.dtype), p_wrong, side="right")
    sizes = np.bincount(cell, minlength=len(CUTS) + 1).astype(np.float64)
    sums = np.bincount(cell, weights=p_wrong, minlength=len(CUTS) + 1).astype(np.float64)
    cuts = min(_sets_of_cuts(sizes), key=lambda cuts: (_standard_error(sizes, sums, cuts), len(cuts), cuts))
    bounds = [0.0, *(CUTS[cut] for cut in cuts), 1.0]
    rows, weights = _of_strata(sizes, cuts), _weights(sizes, sums, cuts)
    strata = [
        PWrongStratum(bounds[number], bounds[number + 1], int(rows[number]), float(weights[number]))
        for number in range(len(cuts) + 1)
    ]
    # Cut c is between the cells c and c + 1.
    return PWrongStrata(tuple(strata), np.searchsorted(np.array(cuts, int), cell, side="left"))


def allocation(strata: Sequence[PWrongStratum], count: int) -> list[int]:
    """Return how many rows to draw from each stratum: `count` in all, or every row if there are fewer.

    Rows are given out one by one, each to the stratum that gains most. Apart from the least weight and the first rows
    of a stratum, this is exactly Neyman's optimum in whole numbers (Wright, "The equivalence of Neyman optimum
    allocation for sampling and equal proportions for apportionment of the U.S. House of Representatives", The American
    Statistician 66, 2012). A larger sample therefore contains every smaller one.
    """
    drawn = np.zeros(len(strata), int)
    rows = np.array([stratum.rows for stratum in strata])
    weights = np.array([stratum.weight for stratum in strata])
    weights = np.maximum(weights, LEAST_WEIGHT * weights.sum())
    for _ in range(min(count, int(rows.sum()))):
        is_first = (drawn < FIRST_ROWS) & (drawn < rows)
        gain = np.where(is_first, -drawn, -np.inf) if is_first.any() else weights / np.sqrt(drawn * (drawn + 1.0))
        drawn[int(np.where(drawn < rows, gain, -np.inf).argmax())] += 1
    return [int(one) for one in drawn]


def _sets_of_cuts(sizes: _Cells) -> list[tuple[int, ...]]:
    """Return the sets of boundaries, as positions in `CUTS`, for which every stratum has enough rows."""
    every = (cuts for number in range(1, MAX_STRATA) for cuts in combinations(range(len(CUTS)), number))
    found = [cuts for cuts in every if _of_strata(sizes, cuts).min() >= MIN_ROWS]
    likely = CUTS.index(LIKELY_WRONG)
    return [cuts for cuts in found if likely in cuts] or found or [()]


def _standard_error(sizes: _Cells, sums: _Cells, cuts: tuple[int, ...]) -> float:
    # Rounded, so that the choice does not depend on the order of sums.
    return round(float(_weights(sizes, sums, cuts).sum()), 6)


def _weights(sizes: _Cells, sums: _Cells, cuts: tuple[int, ...]) -> npt.NDArray[np.float64]:
    rows = _of_strata(sizes, cuts)
    share = np.clip(_of_strata(sums, cuts) / np.maximum(rows, 1), LEAST_DOUBT, 1 - LEAST_DOUBT)
    found: npt.NDArray[np.float64] = rows * np.sqrt(share * (1 - share))
    return found


def _of_strata(values: _Cells, cuts: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the sums of the cells of each stratum."""
    return np.add.reduceat(values, [0, *(cut + 1 for cut in cuts)])
