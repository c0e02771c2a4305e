"""The cut of p_wrong: promises, and what stays possible if nothing is flagged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.detection.cut import choose_cut, find_cut, recalibrate
from labelaudit.detection.expected_cuts import best_cut
from labelaudit.detection.judged_sample import JudgedSample
from labelaudit.detection.label_evidence import LabelEvidence
from labelaudit.detection.p_wrong_strata import strata_by_p_wrong
from labelaudit.detection.wrong_labels import WrongLabelModel, WrongLabels
from labelaudit.findings import ErrorRange, Noise, NoiseKind, Promise, RateBasis
from support.judged import sample_of


def estimated(p_wrong: np.ndarray) -> WrongLabels:
    """Return a result of calibration with this p_wrong. Only it and the best cut matter here."""
    return WrongLabels(
        p_wrong,
        best_cut=best_cut(p_wrong),
        error_range=ErrorRange(0.1, 0.05, 0.2, RateBasis.PROBABILITIES),
        noise=Noise(NoiseKind.UNKNOWN, 0.5, "By hand."),
        model=WrongLabelModel(LabelEvidence(1.0, np.zeros((2, 2), np.float32)), np.ones(1), np.zeros(1), np.ones(1)),
    )


DOUBTS = st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=1, max_size=40).map(
    lambda values: np.array(values, np.float32)
)


@given(DOUBTS, st.sampled_from([None, Promise(precision=0.8), Promise(recall=0.8)]))
def test_a_cut_is_a_probability_and_spares_certain_rows(p_wrong: np.ndarray, promise: Promise | None) -> None:
    cut = find_cut(p_wrong, promise)
    assert 0 < cut <= 1
    assert not (p_wrong[p_wrong == 0] >= cut).any()


@given(DOUBTS, st.floats(0.05, 0.95))
def test_a_promised_precision_is_kept_by_the_longest_list(p_wrong: np.ndarray, precision: float) -> None:
    flagged = np.sort(p_wrong[p_wrong >= find_cut(p_wrong, Promise(precision=precision))].astype(float))[::-1]
    descending = np.sort(p_wrong.astype(float))[::-1]
    # A cut cannot separate equal rows.
    ends = [n for n in range(1, len(descending) + 1) if n == len(descending) or descending[n - 1] > descending[n]]
    kept = [n for n in ends if descending[:n].mean() >= precision]
    if not kept:
        # Rounding to single precision may flag a row that is exactly at the promise.
        assert (flagged >= np.float32(precision)).all()
    else:
        assert len(flagged) >= (descending[: kept[-1]] > 0).sum()


def test_without_a_list_a_doubtful_label_would_still_be_flagged() -> None:
    nothing = np.array([0.1, 0.2], np.float32)
    assert find_cut(nothing, Promise(precision=0.8)) == 0.8


@pytest.mark.parametrize("p_wrong", [[0.99, 0.0], [0.9, 0.9, 0.0, 0.0], [1.0]])
def test_the_best_cut_is_never_above_one_half(p_wrong: list[float]) -> None:
    values = np.array(p_wrong, np.float32)
    cut = find_cut(values, None)
    assert cut == 0.5
    assert (values >= cut).tolist() == (values > 0).tolist()


def reviewed(is_wrong: np.ndarray) -> tuple[np.ndarray, JudgedSample]:
    """Return p_wrong of 100 likely and 900 unlikely errors, and a sample: the first 40 rows of each."""
    p_wrong = np.repeat([0.9, 0.01], [100, 900]).astype(np.float32)
    numbers = strata_by_p_wrong(p_wrong).numbers
    positions = np.concatenate([np.arange(40), np.arange(100, 140)])
    return p_wrong, sample_of(numbers, positions, is_wrong)


def test_verdicts_prove_a_promised_precision() -> None:
    p_wrong, sample = reviewed(np.arange(80) < 40)
    promise = Promise(precision=0.8)
    found = choose_cut(estimated(p_wrong), recalibrate(p_wrong, sample), sample, promise)
    assert found.is_above.tolist() == [True] * 100 + [False] * 900
    assert found.p_wrong_without_verdicts == pytest.approx(0.9)
    assert found.p_wrong >= 0.9
    assert found.notes[0].startswith("With a probability of 90%, at least 80% of the 100 flagged labels are wrong.")


def test_verdicts_that_prove_nothing_flag_nothing() -> None:
    """Half of the likely errors are right: a precision of .8 is expected without verdicts, and refuted by them."""
    p_wrong, sample = reviewed(np.arange(80) < 20)
    found = choose_cut(estimated(p_wrong), recalibrate(p_wrong, sample), sample, Promise(precision=0.8))
    assert not found.is_above.any()
    assert (found.p_wrong, found.p_wrong_without_verdicts) == (1, 1)
    assert found.notes[0].startswith("Nothing is flagged, because 80 verdicts on randomly drawn rows do not prove")


def test_what_verdicts_do_not_prove_is_said() -> None:
    p_wrong, sample = reviewed(np.arange(80) < 40)
    assert "They never prove a recall." in choose_cut(estimated(p_wrong), p_wrong, sample, Promise(recall=0.8)).notes[0]
    by_flag = replace(sample, rows=sample.rows[::-1])
    assert "drawn by p_wrong" in choose_cut(estimated(p_wrong), p_wrong, by_flag, Promise(precision=0.8)).notes[0]
    assert choose_cut(estimated(p_wrong), p_wrong, sample, None).notes == ()


def test_the_cut_is_the_same_on_both_scales() -> None:
    """Verdicts show that only half of the likely errors are errors. Canaries are judged without verdicts."""
    p_wrong, sample = reviewed(np.arange(80) < 20)
    recalibrated = recalibrate(p_wrong, sample)
    assert 0.4 < recalibrated[0] < 0.8
    found = choose_cut(estimated(p_wrong), recalibrated, sample, None)
    assert (found.is_above == (p_wrong >= found.p_wrong_without_verdicts)).all()
    assert (found.is_above == (recalibrated >= found.p_wrong)).all()
    assert recalibrate(p_wrong, None) is p_wrong
