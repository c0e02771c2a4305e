"""Cuts of p_wrong by what is expected of the list from the cut on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FloatArray = npt.NDArray[np.float64]


def best_cut(p_wrong: npt.NDArray[np.float32]) -> float:
    """Return the p_wrong from which the list has the highest expected F1; 1 without rows."""
    values, wrong, rows = _lists(p_wrong)
    return float(values[(2 * wrong / (rows + wrong[-1])).argmax()]) if len(values) else 1.0


def precision_cut(p_wrong: npt.NDArray[np.float32], precision: float) -> float:
    """Return the p_wrong from which the longest list of this expected precision begins; 2 if there is none."""
    values, wrong, rows = _lists(p_wrong)
    reached = np.flatnonzero(wrong >= precision * rows)
    return float(values[reached[-1]]) if len(reached) else 2.0


def recall_cut(p_wrong: npt.NDArray[np.float32], recall: float) -> float:
    """Return the p_wrong from which the shortest list of this expected recall begins; 1 without rows."""
    values, wrong, _ = _lists(p_wrong)
    return float(values[np.searchsorted(wrong, recall * wrong[-1])]) if len(values) else 1.0


def _lists(p_wrong: npt.NDArray[np.float32]) -> tuple[_FloatArray, _FloatArray, _FloatArray]:
    """Return all lists that a cut can give: their lowest p_wrong, expected wrong labels, and rows."""
    descending = np.sort(p_wrong.astype(np.float64))[::-1]
    # A cut cannot separate equal rows.
    ends = np.flatnonzero(np.append(descending[:-1] > descending[1:], True)) if len(descending) else np.empty(0, int)
    return descending[ends], np.cumsum(descending)[ends], (ends + 1).astype(np.float64)
