"""Judged random samples for tests."""

from __future__ import annotations

import numpy as np

from labelaudit.detection.judged_sample import JudgedSample


def sample_of(
    numbers: np.ndarray, positions: np.ndarray, is_wrong: np.ndarray, is_removed: np.ndarray | None = None
) -> JudgedSample:
    """Return the verdicts on rows at some positions. `numbers` are those of the strata of all rows."""
    removed = np.zeros(len(positions), bool) if is_removed is None else is_removed
    stratum, rows = numbers[positions], np.bincount(numbers)
    return JudgedSample(positions, is_wrong, stratum, rows, np.bincount(stratum, minlength=len(rows)), removed)
