"""The cut of p_wrong: promises, and what stays possible if nothing is flagged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.detection.cut import find_cut
from labelaudit.findings import Promise

DOUBTS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40).map(lambda values: np.array(values, np.float32))


@given(DOUBTS, st.sampled_from([None, Promise(precision=0.8), Promise(recall=0.8)]))
def test_a_cut_is_a_probability_and_spares_certain_rows(p_wrong: np.ndarray, promise: Promise | None) -> None:
    cut = find_cut(p_wrong, promise)
    assert 0 < cut <= 1
    assert not (p_wrong[p_wrong == 0] >= cut).any()


@given(DOUBTS, st.floats(0.05, 0.95))
def test_a_promised_precision_is_kept_by_the_longest_list(p_wrong: np.ndarray, precision: float) -> None:
    flagged = np.sort(p_wrong[p_wrong >= find_cut(p_wrong, Promise(precision=precision))].astype(float))[::-1]
    descending = np.sort(p_wrong.astype(float))[::-1]
    kept = [n for n in range(1, len(descending) + 1) if descending[:n].mean() >= precision]
    if not kept:
        # Rounding to single precision may flag a row that is exactly at the promise.
        assert (flagged >= np.float32(precision)).all()
    else:
        assert len(flagged) >= kept[-1]


def test_without_a_list_a_doubtful_label_would_still_be_flagged() -> None:
    nothing = np.array([0.1, 0.2], np.float32)
    assert find_cut(nothing, Promise(precision=0.8)) == 0.8


@pytest.mark.parametrize("p_wrong", [[0.99, 0.0], [0.9, 0.9, 0.0, 0.0], [1.0]])
def test_the_best_cut_is_never_above_one_half(p_wrong: list[float]) -> None:
    values = np.array(p_wrong, np.float32)
    cut = find_cut(values, None)
    assert cut == 0.5
    assert (values >= cut).tolist() == (values > 0).tolist()
