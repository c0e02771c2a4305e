"""Cuts by expected precision, recall and F1, compared with trying all lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.detection.expected_cuts import best_cut, precision_cut, recall_cut

# Multiples of 1/16 are exact in single precision, and make ties frequent.
DOUBTS = st.lists(st.integers(0, 16), min_size=1, max_size=30).map(lambda v: np.array(v, np.float32) / 16)
SHARES = st.sampled_from([0.25, 0.5, 0.75, 0.875])


def lists(p_wrong: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Return every cut and the rows that it flags. Equal rows are always flagged together."""
    return [(float(cut), p_wrong[p_wrong >= cut].astype(float)) for cut in sorted(set(p_wrong.tolist()), reverse=True)]


def expected_f1(flagged: np.ndarray, p_wrong: np.ndarray) -> float:
    return 2 * flagged.sum() / (len(flagged) + p_wrong.astype(float).sum())


def test_cuts_by_hand() -> None:
    p_wrong = np.array([0.25, 1.0, 0.0, 0.75, 0.75], np.float32)
    # Lists of 1, 3, 4 and 5 rows: expected F1 2/3.75, 5/5.75, 5.5/6.75 and 5.5/7.75.
    assert best_cut(p_wrong) == 0.75
    # Precisions 1, 2.5/3 and 2.75/4.
    assert [precision_cut(p_wrong, share) for share in (1, 0.84, 0.83, 0.6)] == [1, 1, 0.75, 0.25]
    # Recalls 1/2.75, 2.5/2.75 and 1.
    assert [recall_cut(p_wrong, share) for share in (0.3, 0.4, 0.9, 0.95)] == [1, 0.75, 0.75, 0.25]


def test_without_rows_nothing_is_above_the_cut() -> None:
    nothing = np.empty(0, np.float32)
    assert (best_cut(nothing), precision_cut(nothing, 0.8), recall_cut(nothing, 0.8)) == (1, 2, 1)


def test_a_precision_that_no_list_has_gives_an_unreachable_cut() -> None:
    assert precision_cut(np.array([0.5, 0.1], np.float32), 0.8) == 2


@given(DOUBTS)
def test_the_best_cut_is_the_best_of_all_lists(p_wrong: np.ndarray) -> None:
    best = max(expected_f1(flagged, p_wrong) if p_wrong.any() else 0.0 for _, flagged in lists(p_wrong))
    flagged = p_wrong[p_wrong >= best_cut(p_wrong)]
    assert (expected_f1(flagged, p_wrong) if p_wrong.any() else 0.0) == pytest.approx(best)


@given(DOUBTS, SHARES)
def test_a_precision_cut_gives_the_longest_list(p_wrong: np.ndarray, precision: float) -> None:
    kept = [cut for cut, flagged in lists(p_wrong) if flagged.sum() >= precision * len(flagged)]
    assert precision_cut(p_wrong, precision) == (kept[-1] if kept else 2)


@given(DOUBTS, SHARES)
def test_a_recall_cut_gives_the_shortest_list(p_wrong: np.ndarray, recall: float) -> None:
    wanted = recall * p_wrong.astype(float).sum()
    assert recall_cut(p_wrong, recall) == next(cut for cut, flagged in lists(p_wrong) if flagged.sum() >= wanted)


@given(DOUBTS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(p_wrong: np.ndarray, random: object) -> None:
    shuffled = p_wrong.tolist()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = np.array(shuffled, np.float32)
    assert best_cut(other) == best_cut(p_wrong)
    assert precision_cut(other, 0.75) == precision_cut(p_wrong, 0.75)
    assert recall_cut(other, 0.75) == recall_cut(p_wrong, 0.75)
