from __future__ import annotations

import numpy as np
import pytest

from labelaudit.detection.answer_evidence import (
    AnsweredRows,
    AnswerEvidence,
    are_labels_answers,
    right_shares,
    weigh_answers,
    with_evidence,
)
from labelaudit.detection.answers import Answers, probabilities_of_cells
from labelaudit.detection.issues import find_issues
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.detection.row_scores import score_blocks
from labelaudit.detection.wrong_labels import estimate_wrong
from support.crowds import Crowd, crowd


def answered(answers: Answers, pred_probs: np.ndarray) -> AnsweredRows:
    return AnsweredRows(answers, probabilities_of_cells(answers.cells, ArrayBlocks(pred_probs)))


def evidence_of(answers: Answers, pred_probs: np.ndarray, labels: np.ndarray) -> AnswerEvidence:
    scores = score_blocks(labels, ArrayBlocks(pred_probs))
    return weigh_answers(answered(answers, pred_probs), scores, np.float32(1) - scores.p_given)


def majority(made: Crowd) -> np.ndarray:
    votes = np.zeros(made.pred_probs.shape)
    np.add.at(votes, (made.answers.row, made.answers.label), 1)
    labels: np.ndarray = votes.argmax(axis=1)
    return labels


def test_bayes_by_hand() -> None:
    """Three answers of annotators who are known from many other rows."""
    rows = 400
    truth = np.arange(rows) % 2
    # x and y are always right, z never on the first rows, and right otherwise.
    row = np.repeat(np.arange(rows), 3)
    label = np.repeat(truth, 3)
    is_wrong = (np.tile([0, 0, 1], rows) == 1) & (row < 100)
    label = np.where(is_wrong, 1 - label, label).astype(np.int32)
    answers = Answers(row, np.tile([0, 1, 2], rows).astype(np.int32), label, ("x", "y", "z"), rows, 2)
    found = evidence_of(answers, np.full((rows, 2), 0.5, np.float32), truth)
    share = right_shares(answers, found.p_right).share
    assert found.p_wrong.max() < 0.01
    assert share[2] == pytest.approx(0.75, abs=0.01)
    # 99.9 % is the most that is believed of an annotator.
    assert share[:2] == pytest.approx(0.997, abs=0.003)
    np.testing.assert_allclose(found.p_right[label != np.repeat(truth, 3)], 0, atol=0.01)


def test_answers_and_model_are_better_than_each_alone() -> None:
    made = crowd(2000, 30, 4, 3, 5, certainty=0.2)
    labels = majority(made)
    found = evidence_of(made.answers, made.pred_probs, labels)
    is_wrong = labels != made.truth
    best = np.where(found.p_wrong > 0.5, found.other, labels)
    assert found.are_labels_answers
    assert (best == made.truth).mean() > max((~is_wrong).mean(), (made.pred_probs.argmax(1) == made.truth).mean())
    # Calibrated, because the answers are independent and the probabilities are nearly so.
    assert found.p_wrong.mean() == pytest.approx(is_wrong.mean(), abs=0.03)
    is_doubtful = found.p_wrong > 0.3
    assert is_wrong[is_doubtful].mean() == pytest.approx(found.p_wrong[is_doubtful].mean(), abs=0.1)
    assert found.rate_if_dependent > found.p_wrong.mean()


def test_intervals_contain_the_accuracy() -> None:
    inside, total = 0, 0
    for seed in range(5):
        made = crowd(600, 40, 3, 4, seed)
        found = right_shares(made.answers, evidence_of(made.answers, made.pred_probs, made.truth).p_right)
        inside += int(((found.low <= made.accuracy) & (made.accuracy <= found.high)).sum())
        total += 40
        assert (found.low < found.share).all()
        assert (found.share < found.high).all()
        assert np.corrcoef(found.share, made.accuracy)[0, 1] > 0.8
    assert inside > 0.88 * total


def test_few_answers_say_little_about_an_annotator() -> None:
    made = crowd(300, 10, 2, 4, 0)
    answers = made.answers
    extra = Answers(
        np.r_[answers.row, 0].astype(np.int64),
        np.r_[answers.annotator, 10].astype(np.int32),
        np.r_[answers.label, 1 - made.truth[0]].astype(np.int32),
        (*answers.annotators, "new"),
        answers.rows,
        2,
    )
    order = np.argsort(extra.row, kind="stable")
    extra = Answers(extra.row[order], extra.annotator[order], extra.label[order], extra.annotators, extra.rows, 2)
    found = right_shares(extra, evidence_of(extra, made.pred_probs, made.truth).p_right)
    assert found.high[10] - found.low[10] > 0.35
    assert found.share[10] == pytest.approx(found.share[:10].mean(), abs=0.15)


def test_answers_to_some_rows_are_those_of_a_table_without_the_others() -> None:
    made = crowd(200, 12, 3, 2, 7)
    whole = answered(made.answers, made.pred_probs)
    counted = made.truth != 0
    some = whole.among(counted)
    given = [
        (row, made.answers.annotators[who], label)
        for row, who, label in zip(made.answers.row, made.answers.annotator, made.answers.label, strict=True)
        if counted[row]
    ]
    names = [some.answers.annotators[who] for who in some.answers.annotator]
    assert list(zip(some.answers.row, names, some.answers.label, strict=True)) == given
    assert set(names) == set(some.answers.annotators)
    assert (some.p_cells == probabilities_of_cells(some.answers.cells, ArrayBlocks(made.pred_probs))).all()
    assert len(whole.among(np.zeros(200, bool)).answers) == 0


def test_an_annotator_is_judged_by_the_rows_that_count() -> None:
    """Three answers are right, one is wrong; without that row, all are right."""
    row = np.repeat(np.arange(4), 1)
    answers = Answers(row, np.zeros(4, np.int32), np.array([0, 1, 0, 1], np.int32), ("x",), 4, 2)
    p_right = np.array([0.9, 0.9, 0.9, 0.1])
    assert right_shares(answers, p_right).share[0] == pytest.approx((2.8 + 10 * 0.7) / 14)
    counted = np.array([True, True, True, False])
    assert right_shares(answers.among(counted), p_right[counted]).share[0] == pytest.approx((2.7 + 10 * 0.9) / 13)


def test_other_labels_than_the_answers_are_evidence_too() -> None:
    made = crowd(500, 10, 3, 1, 1, certainty=0.5)
    assert not are_labels_answers(made.answers, made.truth)
    blocks = ArrayBlocks(made.pred_probs)
    scores = score_blocks(made.truth, blocks)
    certain = weigh_answers(answered(made.answers, made.pred_probs), scores, np.full(500, 0.01, np.float32))
    doubtful = weigh_answers(answered(made.answers, made.pred_probs), scores, np.full(500, 0.4, np.float32))
    assert not certain.are_labels_answers
    assert (certain.p_wrong < doubtful.p_wrong).all()


def test_a_label_without_answers_can_be_suggested() -> None:
    """One bad answer against a sure model."""
    answers = Answers(np.array([0]), np.array([0], np.int32), np.array([1], np.int32), ("x",), 1, 3)
    found = evidence_of(answers, np.array([[0.02, 0.03, 0.95]], np.float32), np.array([0]))
    assert found.other[0] == 2
    assert found.p_other[0] == pytest.approx(0.95)


def test_rows_without_answers_keep_what_the_model_says() -> None:
    made = crowd(300, 10, 3, 3, 2)
    is_kept = made.answers.row < 200
    answers = Answers(
        *(column[is_kept] for column in (made.answers.row, made.answers.annotator, made.answers.label)),
        made.answers.annotators,
        300,
        3,
    )
    blocks = ArrayBlocks(made.pred_probs)
    scores = score_blocks(made.truth, blocks)
    of_model = estimate_wrong(scores)
    evidence = weigh_answers(answered(answers, made.pred_probs), scores, of_model.p_wrong)
    known = with_evidence(of_model, evidence)
    assert np.isnan(evidence.p_wrong[200:]).all()
    assert (known.p_wrong[200:] == of_model.p_wrong[200:]).all()
    assert (known.p_wrong[:200] != of_model.p_wrong[:200]).any()
    assert known.error_range.low <= known.error_range.estimate <= known.error_range.high


def test_flags_follow_the_answers_but_canaries_the_model() -> None:
    made = crowd(1500, 20, 3, 4, 3)
    labels = made.truth.copy()
    labels[:75] = (labels[:75] + 1) % 3
    names = ["a", "b", "c"]
    blocks = ArrayBlocks(made.pred_probs)
    alone = find_issues(labels, blocks, names)
    found = find_issues(labels, blocks, names, answered=answered(made.answers, made.pred_probs))
    is_wrong = labels != made.truth

    def f1(flags: np.ndarray) -> float:
        return float(2 * (flags & is_wrong).sum() / (flags.sum() + is_wrong.sum()))

    assert f1(found.is_label_issue) > f1(alone.is_label_issue)
    assert (found.p_wrong_of_model == alone.p_wrong).all()
    assert found.cut_without_verdicts == alone.cut_without_verdicts
    assert found.evidence is not None
    assert (found.suggested_labels[found.is_label_issue] != labels[found.is_label_issue]).all()
    assert (found.suggested_labels[:75] == made.truth[:75]).mean() > 0.8


def test_labels_that_are_the_only_answers_are_not_counted_twice() -> None:
    """One answer per row, and it is the label: the answers add nothing to what the model says."""
    made = crowd(1_000, 10, 4, 1, 4, certainty=0.7)
    labels = majority(made)
    found = evidence_of(made.answers, made.pred_probs, labels)
    assert found.are_labels_answers
    is_wrong = labels != made.truth
    assert found.p_wrong[is_wrong].mean() > 0.4
    assert found.p_wrong.mean() == pytest.approx(is_wrong.mean(), rel=0.35)


def test_a_few_corrected_labels_do_not_hide_the_other_wrong_ones() -> None:
    made = crowd(1_500, 20, 4, 3, 5, certainty=0.7)
    labels = majority(made)
    wrong = np.flatnonzero(labels != made.truth)
    before = evidence_of(made.answers, made.pred_probs, labels)
    corrected = labels.copy()
    corrected[wrong[::3]] = made.truth[wrong[::3]]
    after = evidence_of(made.answers, made.pred_probs, corrected)
    left = np.setdiff1d(wrong, wrong[::3])
    assert after.are_labels_answers
    assert after.p_wrong[left].mean() == pytest.approx(before.p_wrong[left].mean(), abs=0.05)
    # A corrected label is not in doubt as the wrong one was.
    assert after.p_wrong[wrong[::3]].mean() < before.p_wrong[wrong[::3]].mean()
