"""The cut of `p_wrong` from which rows are flagged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.expected_cuts import best_cut, precision_cut, recall_cut
from labelaudit.detection.judged_sample import JudgedSample
from labelaudit.detection.p_wrong_strata import strata_by_p_wrong
from labelaudit.detection.promised_precision import promise_sentence, promised_list
from labelaudit.detection.recalibration import LEAST_VERDICTS, recalibrated_p_wrong
from labelaudit.detection.wrong_labels import WrongLabels
from labelaudit.findings import Promise

# The cut with the highest expected F1 is half of that F1, so it is never higher than this (Lipton, Elkan and
# Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", 2014).
_HIGHEST_BEST_CUT = 0.5
# If only a few labels are wrong and the models do not find them, the highest expected F1 is near 0, and a long list of
# labels that are almost certainly right reaches it. So without a promise no row below this is flagged.
_LOWEST_BEST_CUT = 0.05
# A row that is certainly right is never flagged.
_LOWEST_CUT = float(np.finfo(np.float32).tiny)
_NOT_PROVED = (
    "The promise about the flags is an expectation. Verdicts prove a promised precision if they are on a sample that "
    "was drawn by p_wrong from the same probabilities (`labelaudit review sample --rows`). They never prove a recall."
)


@dataclass(frozen=True)
class Cut:
    """The rows from a cut on, and the cut on two scales."""

    is_above: npt.NDArray[np.bool_]  # (M,) whether the detector flags the row
    p_wrong: float  # after verdicts
    p_wrong_without_verdicts: float
    notes: tuple[str, ...] = ()


def recalibrate(p_wrong: npt.NDArray[np.float32], sample: JudgedSample | None) -> npt.NDArray[np.float32]:
    """Return p_wrong of M rows after the verdicts on a random sample, if there are enough.

    Args:
        p_wrong: (M,) probabilities before any verdict.
        sample: the judged rows. If its strata are those of `p_wrong`, all judged rows count equally; otherwise each
            counts for the rows that it stands for, because the strata may depend on something else.
    """
    stays = None if sample is None else sample.among(~sample.is_removed)
    if sample is None or stays is None or len(stays) < LEAST_VERDICTS:
        return p_wrong
    is_by_p_wrong = sample.is_drawn_by(strata_by_p_wrong(p_wrong).numbers)
    return recalibrated_p_wrong(p_wrong, stays.positions, stays.is_wrong, None if is_by_p_wrong else stays.weights)


def choose_cut(
    wrong: WrongLabels,
    recalibrated: npt.NDArray[np.float32],
    sample: JudgedSample | None,
    promise: Promise | None,
) -> Cut:
    """Return the cut for M rows, and what verdicts say about it.

    Args:
        wrong: the result of calibration before any verdict.
        recalibrated: (M,) its p_wrong after verdicts, which rises with it.
        sample: verdicts on randomly drawn rows.
        promise: as for `find_cut`. A promised precision is proved by the verdicts if there are enough of them.
    """
    p_wrong = wrong.p_wrong
    has_enough = sample is not None and len(sample) >= LEAST_VERDICTS
    if sample is not None and has_enough and promise is not None and promise.precision is not None:
        numbers = strata_by_p_wrong(p_wrong).numbers
        if sample.is_drawn_by(numbers):
            return _proved_cut(p_wrong, recalibrated, sample, numbers, promise.precision)
    notes = (_NOT_PROVED,) if has_enough and promise is not None else ()
    if recalibrated is p_wrong:
        # Without verdicts, the share of wrong labels is uncertain, which the best cut takes into account.
        cut = max(wrong.best_cut, _LOWEST_BEST_CUT) if promise is None else find_cut(p_wrong, promise)
        return Cut(p_wrong >= cut, cut, cut, notes)
    cut = find_cut(recalibrated, promise)
    is_above = recalibrated >= cut
    return Cut(is_above, cut, _lowest(p_wrong[is_above]), notes)


def _proved_cut(
    p_wrong: npt.NDArray[np.float32],
    recalibrated: npt.NDArray[np.float32],
    sample: JudgedSample,
    numbers: npt.NDArray[np.int64],
    precision: float,
) -> Cut:
    found = promised_list(p_wrong, recalibrated, sample, numbers, precision)
    is_above = p_wrong >= found.cut
    notes = (promise_sentence(found, precision, len(sample)),)
    return Cut(is_above, _lowest(recalibrated[is_above]), _lowest(p_wrong[is_above]), notes)


def _lowest(p_wrong: npt.NDArray[np.float32]) -> float:
    """Return the lowest value, and 1 if there is none."""
    return float(p_wrong.min(initial=1.0))


def find_cut(p_wrong: npt.NDArray[np.float32], promise: Promise | None) -> float:
    """Return the lowest p_wrong that is flagged, above 0 and at most 1.

    If no row should be flagged, the cut is still a probability that can be reached. So a canary, which is planted
    later, is caught if its label is as doubtful as that.

    Args:
        p_wrong: (M,) float32 in 0..1.
        promise: which share of the flags must be wrong, or which share of the wrong labels must be flagged. None: the
            cut with the highest expected F1.
    """
    return max(_cut(p_wrong, promise), _LOWEST_CUT)


def _cut(p_wrong: npt.NDArray[np.float32], promise: Promise | None) -> float:
    if promise is not None and promise.precision is not None:
        # If no list reaches the promise, then no row alone does, and one that did would be a list of its own.
        return min(precision_cut(p_wrong, promise.precision), promise.precision)
    if promise is not None and promise.recall is not None:
        return recall_cut(p_wrong, promise.recall)
    return min(max(best_cut(p_wrong), _LOWEST_BEST_CUT), _HIGHEST_BEST_CUT)
