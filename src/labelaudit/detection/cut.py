"""The cut of `p_wrong` from which rows are flagged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from labelaudit.detection.wrong_labels import best_cut, precision_cut, recall_cut
from labelaudit.findings import Promise

# The cut with the highest expected F1 is half of that F1, so it is never higher than this (Lipton, Elkan and
# Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", 2014).
_HIGHEST_BEST_CUT = 0.5
# A row that is certainly right is never flagged.
_LOWEST_CUT = float(np.finfo(np.float32).tiny)


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
    return min(best_cut(p_wrong), _HIGHEST_BEST_CUT)
