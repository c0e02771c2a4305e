"""The consensus is that of cleanlab.multiannotator, which is the reference."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.multiannotator import get_label_quality_multiannotator

from labelaudit.detection.answers import Answers, probabilities_of_cells
from labelaudit.detection.crowdlab import Consensus, find_consensus
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.detection.row_scores import score_blocks
from support.crowds import crowd


def consensus_of(answers: Answers, pred_probs: np.ndarray) -> Consensus:
    blocks = ArrayBlocks(pred_probs)
    labels = np.zeros(len(pred_probs), np.int64)
    return find_consensus(answers, probabilities_of_cells(answers.cells, blocks), score_blocks(labels, blocks))


def wide(answers: Answers) -> np.ndarray:
    table = np.full((answers.rows, len(answers.annotators)), np.nan)
    table[answers.row, answers.annotator] = answers.label
    return table


@pytest.mark.parametrize("certainty", [0.0, 0.4])
@pytest.mark.parametrize(("classes", "per_row", "seed"), [(2, 3, 0), (3, 2, 1), (5, 4, 2), (10, 1, 3), (2, 6, 4)])
def test_the_consensus_is_that_of_cleanlab(classes: int, per_row: int, seed: int, certainty: float) -> None:
    made = crowd(200, 12, classes, max(2, per_row), seed, certainty=certainty)
    answers = made.answers
    if per_row == 1:
        # Most rows have one answer.
        is_kept = (answers.row % 4 == 0) | np.r_[True, answers.row[1:] != answers.row[:-1]]
        columns = (answers.row[is_kept], answers.annotator[is_kept], answers.label[is_kept])
        answers = Answers(*columns, answers.annotators, answers.rows, answers.num_classes)
    found = consensus_of(answers, made.pred_probs)
    reference = get_label_quality_multiannotator(
        wide(answers), made.pred_probs.astype(float), verbose=False, return_weights=True
    )
    table = reference["label_quality"]
    assert (found.label == table["consensus_label"]).all()
    np.testing.assert_allclose(found.quality, table["consensus_quality_score"], atol=1e-6)
    np.testing.assert_allclose(found.agreement, table["annotator_agreement"], atol=1e-12)
    np.testing.assert_allclose(found.model_weight, reference["model_weight"], rtol=1e-9)
    np.testing.assert_allclose(found.annotator_weight, reference["annotator_weight"], rtol=1e-9)
    # The formula of `get_active_learning_scores`, which also fits a temperature.
    weights, mean = reference["annotator_weight"], reference["annotator_weight"].mean()
    for row in range(20):
        of_row = weights[~np.isnan(wide(answers)[row])].sum() + reference["model_weight"]
        score = np.average([table["consensus_quality_score"][row], 1 / classes], weights=[of_row, mean])
        assert found.need[row] == pytest.approx(score, abs=1e-6)


def test_rows_without_answers_change_nothing() -> None:
    made = crowd(60, 8, 3, 3, 0)
    answers = made.answers
    spread = Answers(answers.row * 2, answers.annotator, answers.label, answers.annotators, 120, 3)
    probabilities = np.repeat(made.pred_probs, 2, axis=0)
    found, alone = consensus_of(spread, probabilities), consensus_of(answers, made.pred_probs)
    assert (found.label[::2] == alone.label).all()
    np.testing.assert_allclose(found.quality[::2], alone.quality)
    assert (found.label[1::2] == -1).all()
    assert np.isnan(found.quality[1::2]).all()
    assert np.isnan(found.need[1::2]).all()


def test_one_answer_to_each_row() -> None:
    answers = Answers(np.array([0, 1]), np.array([0, 1], np.int32), np.array([1, 0], np.int32), ("x", "y"), 2, 2)
    found = consensus_of(answers, np.array([[0.9, 0.1], [0.6, 0.4]], np.float32))
    assert found.label.tolist() == [1, 0]
    np.testing.assert_allclose(found.quality, [0.1, 0.6], rtol=1e-6)
    assert found.agreement.tolist() == [1, 1]
    # Equal weights of model, answer and the prior of the next answer.
    np.testing.assert_allclose(found.need, [(2 * 0.1 + 0.5) / 3, (2 * 0.6 + 0.5) / 3], rtol=1e-6)
