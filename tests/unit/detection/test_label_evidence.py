"""The evidence of a row: ranks by hand, planted pairs of classes, confidence, and training dynamics."""

from __future__ import annotations

import numpy as np
import pytest

from labelaudit.detection.label_evidence import LEAST_SCALE, LabelEvidence, PairLogOdds, rank_within_predicted
from labelaudit.detection.row_scores import RowScores, score_rows
from labelaudit.row_dynamics import Dynamics
from support.simulated import plant_noise

NO_PAIRS = PairLogOdds(np.zeros(3), np.empty(0, np.int64), np.empty(0))


def scored(labels: list[int], pred_probs: list[list[float]]) -> RowScores:
    return score_rows([(np.array(labels), np.array(pred_probs, np.float32))], len(pred_probs[0]))


def fitted(scores: RowScores) -> LabelEvidence:
    return LabelEvidence.fit(scores, rank_within_predicted(scores))


def learned(p_given: list[float]) -> Dynamics:
    """Return dynamics whose other numbers do not matter."""
    values = np.array(p_given, np.float32)
    return Dynamics(values * 0, values, values * 0, values * 0)


def test_ranks_are_within_the_predicted_class() -> None:
    """Three rows are predicted as class 0, one as class 1, and none as class 2."""
    scores = scored([0, 1, 2, 1], [[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.7, 0.2, 0.1], [0.2, 0.6, 0.2]])
    np.testing.assert_allclose(rank_within_predicted(scores), [1 / 6, 5 / 6, 3 / 6, 1 / 2])


def test_equal_rows_are_in_random_order() -> None:
    """All wrong labels are in the first half of the dataset. That must not make them confident, or unsure."""
    rows = 2000
    scores = scored([1] * (rows // 2) + [0] * (rows // 2), [[0.8, 0.2]] * rows)
    rank = rank_within_predicted(scores)
    np.testing.assert_allclose(np.sort(rank), (np.arange(rows) + 0.5) / rows)
    assert rank[: rows // 2].mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(rank, rank_within_predicted(scores))


def test_evidence_by_hand() -> None:
    scores = scored([0, 1, 0], [[0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.0, 0.5, 0.5]])
    evidence = LabelEvidence(2.0, NO_PAIRS).of(scores)
    np.testing.assert_allclose(evidence, 2 * np.log([0.25 / 0.5, 0.8 / 0.1, 0.5 / 1e-6]), rtol=1e-6)
    pairs = PairLogOdds(np.zeros(3), np.array([1]), np.array([3.0]))  # class 0 is often labeled as class 1
    np.testing.assert_allclose(LabelEvidence(2.0, pairs).of(scores) - evidence, [0, 3, 0], atol=1e-12)


def all_pairs(scores: RowScores) -> np.ndarray:
    """Return (K, K): the log-odds of each pair, by other class and given class."""
    grid = np.indices((scores.num_classes, scores.num_classes))
    return fitted(scores).pairs.of(grid[0].ravel(), grid[1].ravel()).reshape(grid[0].shape)


def test_pairs_do_not_count_without_disagreement() -> None:
    assert not all_pairs(scored([0, 1, 2] * 10, np.tile(0.1 + 0.7 * np.eye(3), (10, 1)).tolist())).any()


def test_pairs_hardly_count_if_errors_are_uniform() -> None:
    assert np.abs(all_pairs(plant_noise("uniform", 0.1, num_classes=5).scores)).max() < 0.3


def test_a_planted_pair_counts_in_one_direction() -> None:
    pairs = all_pairs(plant_noise("pair", 0.1, num_classes=5).scores)
    true, given = np.arange(5), (np.arange(5) + 1) % 5
    assert (pairs[true, given] > 0.5).all()
    assert (pairs[given, true] < -0.2).all()


def test_pairs_by_hand() -> None:
    """Class 0 is predicted for 12 rows, 4 of them labeled as class 1. Classes 1 and 2 have 12 rows without errors."""
    predicted = np.repeat([0, 1, 2], 12)
    labels = predicted.copy()
    labels[:4] = 1
    scores = score_rows([(labels, (0.1 + 0.7 * np.eye(3)[predicted]).astype(np.float32))], 3)
    counts, expected = np.zeros((3, 3)), np.full((3, 3), 4 / 36 / 2 * 12)
    counts[0, 1] = 4
    np.fill_diagonal(expected, 0)
    prior = max(0.3, (expected**2).sum() / (((counts - expected) ** 2).sum() - expected.sum()))
    ratio = np.log((counts + prior) / (expected + prior))
    by_hand = ((ratio - ratio.T) / 2 + (ratio + ratio.T) / 4) / 2
    grid = np.indices((3, 3)).reshape(2, -1)
    found = PairLogOdds.fit(scores, np.ones(36, bool)).of(grid[0], grid[1]).reshape(3, 3)
    different = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found[different], by_hand[different])


def test_many_classes_need_little_memory() -> None:
    """A matrix of all pairs of these classes would have 80 GB."""
    labels = np.arange(1000, dtype=np.int32)
    other = labels + 1
    half = np.full(1000, 0.5, np.float32)
    scores = RowScores(labels, other, other, half, half, half, 100_000)
    assert np.isfinite(fitted(scores).of(scores)).all()


@pytest.mark.parametrize(("exponent", "low", "high"), [(1, 0.9, 1.1), (0.5, 1.3, 2.2), (0.25, 2, 4.4)])
def test_the_scale_corrects_smoothed_probabilities(exponent: float, low: float, high: float) -> None:
    assert low < fitted(with_exponent(exponent)).scale < high


def test_a_model_that_is_too_confident_has_the_least_scale() -> None:
    assert fitted(with_exponent(4)).scale == LEAST_SCALE


def with_exponent(exponent: float) -> RowScores:
    """Draw labels from probabilities, and return a model whose log-odds are this many times the right ones."""
    rng = np.random.default_rng(0)
    right = rng.dirichlet(np.full(4, 0.3), 20_000)
    labels = np.minimum((right.cumsum(axis=1) < rng.random((len(right), 1))).sum(axis=1), 3)
    powers = right**exponent
    return score_rows([(labels, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32))], 4)


def test_a_perfect_model_keeps_its_scale() -> None:
    assert fitted(scored([0, 1, 2] * 20, np.tile(np.eye(3), (20, 1)).tolist())).scale == pytest.approx(1, abs=0.05)


FOUR = scored([0, 0, 0, 0], [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.1, 0.9, 0.0]])
PLAIN = LabelEvidence(1.0, NO_PAIRS)


def test_dynamics_get_the_same_weight_and_keep_the_spread() -> None:
    before = PLAIN.of(FOUR)
    evidence = PLAIN.of(FOUR, learned([0.2, 0.9, 0.9, 0.9]))
    assert (evidence.mean(), evidence.std()) == pytest.approx((before.mean(), before.std()))
    # The first row was learned late, which makes it more doubtful. The order of the others stays.
    assert evidence[0] > before[0]
    assert (np.diff(evidence[1:]) > 0).all()


def test_dynamics_that_agree_change_nothing() -> None:
    same = learned([0.9, 0.6, 0.4, 0.1])
    np.testing.assert_allclose(PLAIN.of(FOUR, same), PLAIN.of(FOUR), atol=1e-5)


@pytest.mark.parametrize("p_given", [[np.nan] * 4, [0.5] * 4, [np.nan, 0.3, np.nan, np.nan]])
def test_dynamics_that_say_nothing_change_nothing(p_given: list[float]) -> None:
    np.testing.assert_array_equal(PLAIN.of(FOUR, learned(p_given)), PLAIN.of(FOUR))


def test_rows_without_dynamics_keep_their_evidence() -> None:
    before, after = PLAIN.of(FOUR), PLAIN.of(FOUR, learned([np.nan, 0.9, 0.2, np.nan]))
    assert after[[0, 3]].tolist() == before[[0, 3]].tolist()
    assert np.isfinite(after).all()


def test_certain_dynamics_are_finite() -> None:
    assert np.isfinite(PLAIN.of(FOUR, learned([1.0, 0.0, 1.0, 0.0]))).all()


def test_dynamics_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dynamics are of 3 rows, but there are probabilities of 4 rows\. Give both"):
        PLAIN.of(FOUR, learned([0.5, 0.5, 0.5]))
