"""Blocks of probabilities: every row once, whatever the order, and scores in the order of positions."""

from __future__ import annotations

import numpy as np

from labelaudit.detection.probability_blocks import ArrayBlocks, read_rows, rows_per_block, spans
from labelaudit.detection.row_scores import score_blocks, score_rows, with_labels
from support.simulated import simulate_probs

LABELS = np.random.default_rng(0).integers(0, 5, 200)
PROBS = simulate_probs(LABELS, 5, signal=1.0)


def test_spans_cover_all_rows_once() -> None:
    length = rows_per_block(1000)
    assert list(spans(2 * length + 5, 1000)) == [(0, length), (length, 2 * length), (2 * length, 2 * length + 5)]
    assert list(spans(0, 10)) == []
    assert rows_per_block(10**9) == 1
    assert rows_per_block(2) == 2**16


def test_scores_by_hand() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.45, 0.45], [0.4, 0.4, 0.2]], np.float32)
    scores = score_blocks(np.array([0, 2, 2]), ArrayBlocks(probs))
    assert scores.predicted.tolist() == [0, 1, 0]
    assert scores.other.tolist() == [1, 1, 0]
    np.testing.assert_allclose(scores.p_given, [0.5, 0.45, 0.2])
    np.testing.assert_allclose(scores.p_other, [0.3, 0.45, 0.4])
    assert scores.disagrees.tolist() == [False, True, True]


def test_scores_of_blocks_equal_those_of_rows() -> None:
    expected = score_rows([(LABELS, PROBS)], 5)
    for name, values in vars(score_blocks(LABELS, ArrayBlocks(PROBS))).items():
        np.testing.assert_array_equal(values, getattr(expected, name))


def test_other_labels_in_a_few_rows() -> None:
    rows = np.array([7, 3, 150])
    changed = LABELS.copy()
    changed[rows] = (LABELS[rows] + 1) % 5
    blocks = ArrayBlocks(PROBS)
    before = score_blocks(LABELS, blocks)
    after = with_labels(before, rows, changed[rows], read_rows(blocks, rows))
    expected = score_blocks(changed, blocks)
    for name, values in vars(after).items():
        np.testing.assert_array_equal(values, getattr(expected, name))
    np.testing.assert_array_equal(before.labels, LABELS)
