"""Evidence from out-of-fold probabilities and training dynamics: by hand, its direction, and missing dynamics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.detection.dynamics import wrong_evidence
from labelaudit.detection.row_scores import RowScores
from labelaudit.row_dynamics import Dynamics


def scores_of(p_given: list[float], p_other: list[float]) -> RowScores:
    given, other = np.array(p_given, np.float32), np.array(p_other, np.float32)
    ones = np.ones(len(given), np.int32)
    return RowScores(0 * ones, np.where(given >= other, 0, 1), ones, given, np.maximum(given, other), other, 3)


def dynamics_of(p_given: list[float]) -> Dynamics:
    p = np.array(p_given, np.float32)
    return Dynamics(p, p, p, p)


def test_by_hand() -> None:
    scores = scores_of([0.2, 0.5], [0.6, 0.25])
    expected = [(np.log(3) + np.log(4)) / 2, (np.log(0.5) + np.log(1)) / 2]
    np.testing.assert_allclose(wrong_evidence(scores, dynamics_of([0.2, 0.5])), expected, rtol=1e-5)


def test_without_dynamics_its_sigmoid_is_the_ratio() -> None:
    scores = scores_of([0.2, 0.5, 0.0, 1.0], [0.6, 0.25, 1.0, 0.0])
    for dynamics in (None, dynamics_of([np.nan] * 4)):
        evidence = wrong_evidence(scores, dynamics)
        assert evidence.dtype == np.float32
        np.testing.assert_allclose(1 / (1 + np.exp(-evidence)), [0.75, 1 / 3, 1.0, 0.0], atol=2e-6)


probability = st.floats(0, 1, width=32)


@given(probability, probability, probability, probability)
def test_it_is_monotone_and_finite(p_given: float, p_other: float, p: float, larger: float) -> None:
    scores = scores_of([p_given] * 2, [p_other] * 2)
    low, high = sorted([p, larger])
    evidence = wrong_evidence(scores, dynamics_of([low, high]))
    assert np.isfinite(evidence).all()
    assert evidence[0] >= evidence[1]
    more = replace(scores, p_other=np.maximum(scores.p_other, larger))
    less = replace(scores, p_given=np.maximum(scores.p_given, larger))
    dynamics = dynamics_of([p, p])
    assert (wrong_evidence(more, dynamics) >= wrong_evidence(scores, dynamics)).all()
    assert (wrong_evidence(less, dynamics) <= wrong_evidence(scores, dynamics)).all()
