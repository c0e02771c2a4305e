"""A promised precision: proved lists by hand, and how often 1,000 simulated reviews break the promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from labelaudit.detection.p_wrong_strata import allocation, strata_by_p_wrong
from labelaudit.detection.promised_precision import (
    RISK,
    PromisedList,
    longest_proven,
    nested_lists,
    promise_sentence,
    promised_list,
)
from support.judged import sample_of

REVIEWS = 1_000
ROWS = 4_000
# The log odds of p_wrong: times a slope.
CONFIDENCE = {"calibrated": 1.0, "over-confident": 2.0, "under-confident": 0.5}
CASES = [(0.03, 100, 0.8), (0.1, 60, 0.8), (0.1, 200, 0.8), (0.3, 100, 0.6), (0.3, 200, 0.9)]


def population(rate: float, slope: float, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return p_wrong of `ROWS` rows, and whether each label is wrong."""
    rng = np.random.default_rng(seed)
    true = np.clip(rng.beta(rate * 0.6, (1 - rate) * 0.6, ROWS), 1e-4, 1 - 1e-4)
    odds = np.exp(slope * np.log(true / (1 - true)))
    return (odds / (1 + odds)).astype(np.float32), rng.random(ROWS) < true


def broken_promises(rate: float, slope: float, verdicts: int, precision: float) -> tuple[float, float]:
    """Return in which share of the reviews the promise is broken, and in which share any list is proved."""
    p_wrong, is_wrong = population(rate, slope)
    strata, numbers = strata_by_p_wrong(p_wrong)
    judged = np.array(allocation(strata, verdicts))
    lists = nested_lists(p_wrong, numbers, judged, precision)
    rng = np.random.default_rng(11)
    shape = (REVIEWS, len(lists.sizes), len(judged))
    drawn, wrong = np.zeros(shape, int), np.zeros(shape, int)
    for number, count in enumerate(judged):
        rows = np.flatnonzero(numbers == number)
        order = np.argpartition(rng.random((REVIEWS, len(rows))), min(count, len(rows) - 1), axis=1)[:, :count]
        positions = rows[order]
        is_listed = lists.rank[positions][:, None, :] < lists.sizes[:, None]
        drawn[:, :, number] = is_listed.sum(axis=2)
        wrong[:, :, number] = (is_listed & is_wrong[positions][:, None, :]).sum(axis=2)
    found = longest_proven(lists, drawn, wrong, precision, RISK)
    by_rank = np.empty(ROWS, bool)
    by_rank[lists.rank] = is_wrong
    true_precision = np.cumsum(by_rank)[lists.sizes - 1] / lists.sizes
    return float((true_precision[found[found >= 0]] < precision).sum() / REVIEWS), float((found >= 0).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("confidence", "case"), list(itertools.product(CONFIDENCE, CASES)))
def test_a_promise_is_broken_no_more_often_than_stated(confidence: str, case: tuple[float, int, float]) -> None:
    rate, verdicts, precision = case
    broken, _ = broken_promises(rate, CONFIDENCE[confidence], verdicts, precision)
    assert broken <= RISK


def test_good_probabilities_and_enough_verdicts_prove_a_list() -> None:
    assert broken_promises(0.1, 1.0, 200, 0.8)[1] > 0.6
    assert broken_promises(0.3, 1.0, 200, 0.6)[1] > 0.95


def test_lists_by_hand() -> None:
    """100 rows at .9 are all wrong, 900 at .01 all right. 20 of each are judged."""
    p_wrong = np.repeat([0.9, 0.01], [100, 900]).astype(np.float32)
    strata, numbers = strata_by_p_wrong(p_wrong)
    assert [stratum.rows for stratum in strata] == [900, 100]
    positions = np.concatenate([np.arange(20), np.arange(100, 120)])
    found = promised_list(p_wrong, p_wrong, sample_of(numbers, positions, positions < 100), numbers, 0.8)
    # 79 wrong of 100 give 20 of 20 with a probability of 0.3 %. Of all 1,000 rows, 20 % at most can be wrong.
    assert found == PromisedList(pytest.approx(0.9), 100)
    # Two of 20 are right: 79 wrong of 100 give 18 or more with a probability of 15 %.
    is_wrong = (positions < 100) & (positions > 1)
    unproved = promised_list(p_wrong, p_wrong, sample_of(numbers, positions, is_wrong), numbers, 0.8)
    assert (unproved.cut, unproved.rows) == (2, 0)
    assert unproved.verdicts_needed is not None
    assert 60 < unproved.verdicts_needed < 200
    # Rows that are to be removed prove nothing about the labels of the others in their stratum.
    is_removed = positions < 2
    removed = promised_list(p_wrong, p_wrong, sample_of(numbers, positions, is_wrong, is_removed), numbers, 0.8)
    assert (removed.cut, removed.rows) == (2, 0)
    # If the recalibrated p_wrong is lower than the promise everywhere, more verdicts do not help.
    hopeless = promised_list(p_wrong, p_wrong / 2, sample_of(numbers, positions, is_wrong), numbers, 0.8)
    assert hopeless.verdicts_needed is None


def test_a_known_list_needs_no_luck() -> None:
    """If all rows are judged, the longest list is exact."""
    p_wrong, is_wrong = population(0.3, 1.0)
    _, numbers = strata_by_p_wrong(p_wrong)
    every = np.arange(ROWS)
    found = promised_list(p_wrong, p_wrong, sample_of(numbers, every, is_wrong), numbers, 0.7)
    flagged = p_wrong >= found.cut
    assert flagged.sum() == found.rows
    assert is_wrong[flagged].mean() >= 0.7
    assert is_wrong[p_wrong >= np.sort(p_wrong)[-int(found.rows * 1.06)]].mean() < 0.71


def test_sentences() -> None:
    proved = promise_sentence(PromisedList(0.7, 412), 0.8, 137)
    assert proved == (
        "With a probability of 90%, at least 80% of the 412 flagged labels are wrong. This rests on 137 verdicts on "
        "randomly drawn rows, not on the model."
    )
    assert "About 240 verdicts may be enough." in promise_sentence(PromisedList(2, 0, 240), 0.8, 137)
    assert "Set a lower detection.precision." in promise_sentence(PromisedList(2, 0), 0.8, 137)
