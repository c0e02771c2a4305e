"""The calibrated probability that each given label is wrong, and the share of wrong labels. PROVISIONAL method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.row_scores import RowScores
from labelaudit.findings import ErrorRange, Noise, NoiseKind, RateBasis


@dataclass(frozen=True)
class WrongLabels:
    """The results of calibration for M rows."""

    p_wrong: npt.NDArray[np.float32]  # (M,) calibrated probability that the given label is wrong
    error_range: ErrorRange
    noise: Noise


def estimate_wrong(scores: RowScores) -> WrongLabels:
    """Return p_wrong of each row, and what follows from it."""
    ratio = scores.p_other / np.maximum(scores.p_other + scores.p_given, 1e-9)
    p_wrong = np.where(scores.disagrees, ratio**2, 0.02 * ratio).astype(np.float32)
    rate = float(p_wrong.mean())
    noise = Noise(NoiseKind.HARD_EXAMPLES, 0.9, "Errors are assumed to be more frequent among hard examples.")
    return WrongLabels(p_wrong, ErrorRange(rate, rate / 1.6, min(1.0, rate * 1.6), RateBasis.PROBABILITIES), noise)


def best_cut(p_wrong: npt.NDArray[np.float32]) -> float:
    """Return the threshold of p_wrong (flag if at least) with the highest expected F1."""
    descending = np.sort(p_wrong.astype(np.float64))[::-1]
    expected_f1 = 2 * np.cumsum(descending) / (np.arange(1, len(descending) + 1) + descending.sum())
    return float(descending[expected_f1.argmax()]) if len(descending) else 1.0


def precision_cut(p_wrong: npt.NDArray[np.float32], precision: float) -> float:
    """Return the threshold of the longest list of which at least this share is expected to be wrong; > 1 if none."""
    descending = np.sort(p_wrong.astype(np.float64))[::-1]
    expected = np.cumsum(descending) / np.arange(1, len(descending) + 1)
    reached = np.flatnonzero(expected >= precision)
    return float(descending[reached[-1]]) if len(reached) else 2.0


def recall_cut(p_wrong: npt.NDArray[np.float32], recall: float) -> float:
    """Return the threshold of the shortest list that is expected to contain this share of the wrong labels."""
    descending = np.sort(p_wrong.astype(np.float64))[::-1]
    found = np.cumsum(descending)
    return float(descending[np.searchsorted(found, recall * found[-1])]) if len(descending) else 1.0
