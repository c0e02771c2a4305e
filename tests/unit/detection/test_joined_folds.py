"""The folds as one stream of rows: each row at its position, of repeats the mean."""

from __future__ import annotations

import numpy as np
import pytest

from labelaudit.detection.joined_folds import JoinedFolds, PlacedRows, _RowFile
from labelaudit.detection.probability_blocks import ArrayBlocks
from support.simulated import all_rows, simulate_probs

LABELS = np.arange(90) % 3
FIRST = simulate_probs(LABELS, 3, signal=1.0, seed=1)
SECOND = simulate_probs(LABELS, 3, signal=1.0, seed=2)


def folds(probs: np.ndarray, seed: int) -> tuple[PlacedRows, ...]:
    parts = np.array_split(np.random.default_rng(seed).permutation(len(probs)), 3)
    return tuple(PlacedRows(ArrayBlocks(probs[rows]), rows) for rows in parts)


def test_rows_of_one_repeat() -> None:
    joined = JoinedFolds(folds(FIRST, 0), 90, 1)
    assert (len(joined), joined.num_classes) == (90, 3)
    np.testing.assert_array_equal(all_rows(joined), FIRST)


def test_rows_of_two_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_RowFile, "_ROWS", 7)
    joined = JoinedFolds((*folds(FIRST, 0), *folds(SECOND, 1)), 90, 2)
    for _ in range(2):
        np.testing.assert_array_equal(all_rows(joined), FIRST / 2 + SECOND / 2)
