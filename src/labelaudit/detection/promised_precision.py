"""The longest list of flags whose precision verdicts on a random sample guarantee.

Lists are nested: each holds the rows with the highest p_wrong. For each list, the hypothesis that its precision is
lower than promised is tested on the judged rows in it. The tests have a fixed order that does not depend on verdicts:
from the list for which p_wrong promises the clearest result to ever longer lists, until a test fails. This is
fixed-sequence testing (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then test: calibrating predictive algorithms
to achieve risk control", arXiv 2110.01052, 2021), which needs no correction for the number of tests: the chance that
the returned list breaks the promise is at most the risk, however well or badly p_wrong is calibrated. A second start
would halve the risk of each test; in simulations it found fewer and shorter lists.

Conformal p-values with Benjamini-Hochberg (Jin and Candès, JMLR 24, 2023) would promise less, the expected precision,
and need more verdicts than people give: with n verdicts no p-value is below 1 / (n + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.judged_sample import JudgedSample
from labelaudit.detection.strata_totals import SLACK, TAIL_SHARE, tails

# The chance that the precision of a promised list is lower than promised.
RISK = 0.1
# Each list is longer than the one before by this share.
_STEP = 1.05
# The first list has so many judged rows that this share of the risk is left if all of them are wrong.
_LEFT = 0.8
# Standard errors between the promise and an expected precision that verdicts will probably confirm.
_MARGIN = 1.8

_IntArray = npt.NDArray[np.int64]
_FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PromisedList:
    """The flags that verdicts guarantee. If there are none, `cut` is 2 and `rows` is 0."""

    cut: float  # rows are flagged if their p_wrong before any verdict is at least this
    rows: int
    # If there are none: about how many verdicts in all it takes; None if no list is expected to keep the promise.
    verdicts_needed: int | None = None


@dataclass(frozen=True)
class NestedLists:
    """Lists of the rows with the highest p_wrong, the shortest first, and what is promised of them."""

    rank: _IntArray  # (M,) rows with a higher p_wrong, or an equal one and an earlier list
    cuts: _FloatArray  # (G,) the lowest p_wrong in each list
    sizes: _IntArray  # (G,) rows in each list
    in_stratum: _IntArray  # (G, H) rows of each list in each stratum
    expected: _FloatArray  # (G,) mean p_wrong in each list
    first: int  # the list that is tested first


def nested_lists(
    p_wrong: npt.NDArray[np.floating], numbers: _IntArray, judged: npt.NDArray[np.integer], precision: float
) -> NestedLists:
    """Return the lists to test. They depend on p_wrong and on how many rows were drawn, not on any verdict.

    Args:
        p_wrong: (M,) probabilities before any verdict.
        numbers: (M,) the stratum of each row, 0..H-1.
        judged: (H,) judged rows of each stratum.
        precision: The promised share of wrong labels.
    """
    order = np.argsort(-p_wrong, kind="stable")
    descending = p_wrong[order].astype(np.float64)
    ends = np.unique(np.minimum(np.ceil(_STEP ** np.arange(1, math.log(len(order) + 1, _STEP) + 2)), len(order)))
    # Rows with the same p_wrong are in the same lists.
    sizes = np.unique(np.searchsorted(-descending, -descending[ends.astype(int) - 1], side="right"))
    expected = np.cumsum(descending)[sizes - 1] / sizes
    strata = len(judged)
    cumulated = np.stack([np.cumsum(numbers[order] == h)[sizes - 1] for h in range(strata)], axis=1)
    totals = np.maximum(np.bincount(numbers, minlength=strata), 1)
    drawn = (cumulated * (judged / totals)).sum(axis=1)
    # The expected log of the p-value is about the number of judged rows times the divergence from the promise.
    share = np.clip(expected, precision, 1 - SLACK)
    divergence = share * np.log(share / precision) + (1 - share) * np.log((1 - share) / (1 - precision))
    # If p_wrong promises too little everywhere, the first list that has enough judged rows is the best guess.
    is_enough = precision**drawn <= _LEFT * RISK
    first = int(np.where(is_enough | ~is_enough.any(), drawn * divergence, -1).argmax())
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return NestedLists(rank, descending[sizes - 1], sizes, cumulated, expected, first)


def promised_list(
    p_wrong: npt.NDArray[np.floating],
    recalibrated: npt.NDArray[np.floating],
    sample: JudgedSample,
    numbers: _IntArray,
    precision: float,
    risk: float = RISK,
) -> PromisedList:
    """Return the longest list that has the promised precision with a probability of at least 1 - risk.

    The probability is over the random draw of the sample. The precision is the share of wrong labels among all rows of
    the list, the judged ones included. A row judged ambiguous, or to be removed, does not count as wrong.

    Args:
        p_wrong: (M,) probabilities before any verdict.
        recalibrated: (M,) probabilities after the verdicts. They only say how many more verdicts are needed.
        sample: The verdicts. Its strata are those of `numbers`.
        numbers: (M,) the stratum of each row.
        precision: The promised share of wrong labels, 0..1.
        risk: The allowed probability that the precision is lower than promised.
    """
    judged = np.bincount(sample.stratum, minlength=len(sample.rows))
    lists = nested_lists(p_wrong, numbers, judged, precision)
    rank = lists.rank[sample.positions]
    drawn, wrong = np.zeros_like(lists.in_stratum), np.zeros_like(lists.in_stratum)
    for h in range(len(sample.rows)):
        is_here = sample.stratum == h
        drawn[:, h] = (rank[is_here] < lists.sizes[:, None]).sum(axis=1)
        wrong[:, h] = (rank[is_here & sample.is_wrong] < lists.sizes[:, None]).sum(axis=1)
    found = longest_proven(lists, drawn[None], wrong[None], precision, risk)[0]
    if found >= 0:
        return PromisedList(float(lists.cuts[found]), int(lists.sizes[found]))
    return PromisedList(2.0, 0, _verdicts_needed(lists, recalibrated, drawn.sum(axis=1), len(sample), precision))


def longest_proven(lists: NestedLists, drawn: _IntArray, wrong: _IntArray, precision: float, risk: float) -> _IntArray:
    """Return the number of the longest list that the verdicts of each of B reviews prove, (B,); -1 if there is none.

    Args:
        lists: The G lists.
        drawn, wrong: (B, G, H) judged rows, and those judged wrong, of each list in each stratum.
        precision: The promised precision.
        risk: The allowed probability that the precision is lower.
    """
    found = np.full(len(drawn), -1)
    for number in range(lists.first, len(lists.sizes)):
        # Those whose last test did not fail.
        at = np.flatnonzero(found == (number - 1 if number > lists.first else -1))
        p = _p_values(lists.in_stratum[number], drawn[at, number], wrong[at, number], precision)
        found[at[p <= risk]] = number
    return found


def promise_sentence(found: PromisedList, precision: float, verdicts: int) -> str:
    """Return what the verdicts guarantee, for people."""
    if found.rows:
        return (
            f"With a probability of {1 - RISK:.0%}, at least {precision:.0%} of the {found.rows:,} flagged labels are "
            f"wrong. This rests on {verdicts:,} verdicts on randomly drawn rows, not on the model."
        )
    unproved = (
        f"Nothing is flagged, because {verdicts:,} verdicts on randomly drawn rows do not prove of any list of flags "
        f"that at least {precision:.0%} of them are wrong."
    )
    if found.verdicts_needed is None:
        return f"{unproved} More verdicts would probably not prove it either. Set a lower detection.precision."
    return f"{unproved} About {found.verdicts_needed:,} verdicts may be enough. Draw a larger sample, or promise less."


def _p_values(rows: _IntArray, drawn: _IntArray, wrong: _IntArray, precision: float) -> _FloatArray:
    """Return the p-values of the hypothesis that a list has fewer wrong labels than promised, (B,).

    Args:
        rows: (H,) rows of the list in each stratum.
        drawn, wrong: (B, H) judged rows of the list, and those judged wrong.
        precision: The promised precision.
    """
    # One less than the promise asks for. Rounding must not ask for less.
    most = math.ceil(precision * int(rows.sum()) - SLACK) - 1
    # If no row was judged there, all labels may be right.
    is_unknown = drawn == 0
    parts = np.where(is_unknown, 1, rows), np.where(is_unknown, 1, drawn), wrong
    possible = np.where(is_unknown, 0, rows - (drawn - wrong)).sum(axis=1)
    seen = wrong.sum(axis=1)
    p = np.where(seen > most, 0.0, 1.0)
    is_tested = (seen <= most) & (possible > most)
    if is_tested.any():
        cases, which = np.unique(
            np.concatenate([part[is_tested] for part in parts], axis=1), axis=0, return_inverse=True
        )
        sizes, judged, counted = np.split(cases, 3, axis=1)
        found = tails(sizes, judged, counted, np.full(len(cases), most)).at_least
        p[is_tested] = found[which.reshape(-1)] / (TAIL_SHARE if len(rows) > 1 else 1)
    return p


def _verdicts_needed(
    lists: NestedLists, recalibrated: npt.NDArray[np.floating], drawn: _IntArray, verdicts: int, precision: float
) -> int | None:
    """Return about how many verdicts in all prove a list, if the recalibrated p_wrong is right."""
    ordered = np.empty(len(recalibrated))
    ordered[lists.rank] = recalibrated
    surplus = np.cumsum(ordered)[lists.sizes - 1] / lists.sizes - precision
    useful = (surplus > 0) & (drawn > 0)
    if not useful.any():
        return None
    in_list = (_MARGIN / surplus[useful]) ** 2 * precision * (1 - precision)
    # A perfect list needs this many right answers in a row.
    in_list = np.maximum(in_list, math.log(RISK) / math.log(precision))
    needed = float((in_list * verdicts / drawn[useful]).min())
    return max(verdicts + 10, math.ceil(needed / 10) * 10)
