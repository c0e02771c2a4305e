"""Of copies with different labels, at most one label is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.detection.conflicting_copies import p_wrong_of_copies

SHARES = st.floats(0, 1, width=32)


def of(p_wrong: list[float], labels: list[int], clusters: list[int]) -> np.ndarray:
    return p_wrong_of_copies(np.array(p_wrong, np.float32), np.array(labels), np.array(clusters))


def test_two_labels_by_hand() -> None:
    # Right with .9 and .5. Without both right: .9 * .5, .1 * .5, and .1 * .5 for neither, of .55 in total.
    np.testing.assert_allclose(of([0.1, 0.5], [0, 1], [7, 7]), [1 - 0.45 / 0.55, 1 - 0.05 / 0.55], rtol=1e-5)


def test_two_likely_labels_are_both_doubtful() -> None:
    assert of([0.01, 0.01], [0, 1], [0, 0]).tolist() == pytest.approx([0.5025, 0.5025], abs=1e-3)


def test_a_confirmed_label_makes_the_other_wrong() -> None:
    assert of([0.0, 0.2], [0, 1], [0, 0]).tolist() == pytest.approx([0, 1], abs=1e-5)


def test_a_wrong_label_says_nothing_about_the_other() -> None:
    assert of([1.0, 0.2], [0, 1], [0, 0]).tolist() == pytest.approx([1, 0.2])


def test_rows_without_conflicts_keep_their_probability() -> None:
    p_wrong = [0.1, 0.4, 0.3, 0.9]
    assert of(p_wrong, [0, 0, 1, 0], [5, 5, -1, -1]).tolist() == pytest.approx(p_wrong)
    assert of([0.5], [0], [-1]).tolist() == [0.5]


def test_one_label_among_many_equal_ones_is_the_doubtful_one() -> None:
    found = of([0.01] * 100, [0] * 99 + [1], [0] * 100)
    assert found[:99].max() < 0.02
    assert found[99] > 0.98


@given(st.lists(SHARES, min_size=2, max_size=6))
def test_all_labels_but_one_are_wrong(p_wrong: list[float]) -> None:
    found = of(p_wrong, list(range(len(p_wrong))), [0] * len(p_wrong))
    assert (found >= np.array(p_wrong, np.float32) - 1e-5).all()
    assert found.sum() >= len(p_wrong) - 1 - 1e-4
    assert found.max() <= 1 + 1e-6
    # The order of the labels by doubt stays.
    assert (np.diff(found[np.argsort(p_wrong, kind="stable")]) >= -1e-5).all()
