"""What the answers of annotators and a model together say about each label, by Bayes' theorem.

Each annotator j has one parameter: with probability a_j, the answer is the true label, and each other label is equally
frequent. Given the true label, answers are independent. The model's probabilities are the prior, and a_j and the true
labels are estimated together by expectation maximization. (Dawid and Skene, "Maximum likelihood estimation of observer
error-rates using the EM algorithm", 1979; Raykar et al., "Learning from crowds", JMLR 2010.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from labelaudit.detection.answers import Answers
from labelaudit.detection.expected_cuts import best_cut
from labelaudit.detection.row_scores import RowScores
from labelaudit.detection.wrong_labels import WrongLabels
from labelaudit.findings import ErrorRange

_Floats = npt.NDArray[np.float64]

# An annotator counts like an average one who gave so many answers more. So few answers do not decide about a person.
_AVERAGE_ANSWERS = 10
# No annotator and no model is certain.
_LEAST = 1e-3
_LEAST_PRIOR = 1e-4
_MOST_STEPS = 100
_SMALL_STEP = 1e-5
_TAIL = 0.025
# If annotators make the same mistakes, two answers may say no more than one.
_IF_DEPENDENT = 0.5
# The cut with the highest expected F1 is not above this.
_HIGHEST_CUT = 0.5
# If so many of the given labels are the most frequent answer, they were made from the answers. A person may have
# corrected the rest.
_MADE_FROM_ANSWERS = 0.9


class AnsweredRows(NamedTuple):
    """The answers to M rows, and the probability that the model gives to the label of each of `answers.cells`, (C,)."""

    answers: Answers
    p_cells: npt.NDArray[np.float32]

    def among(self, counted: npt.NDArray[np.bool_]) -> AnsweredRows:
        """Return the answers to some of the M rows, (M,) bool."""
        return AnsweredRows(self.answers.among(counted), self.p_cells[counted[self.answers.cells.row]])


class RightShares(NamedTuple):
    """The share of each annotator's answers that are right, with the limits of its 95 % interval; (J,) each."""

    share: _Floats
    low: _Floats
    high: _Floats


@dataclass(frozen=True)
class AnswerEvidence:
    """What answers and model say together.

    Attributes:
        p_wrong: (M,) probability that the given label is wrong; NaN for a row without answers.
        other: (M,) int32, the most probable other label; -1 for a row without answers.
        p_other: (M,) float32, what the model alone says about `other`.
        p_right: (A,) probability that each answer is the true label.
        p_cells: (C,) probability that the label of each of `answers.cells` is the true one.
        rate_if_dependent: the mean of p_wrong over rows with answers if two answers count as one.
        are_labels_answers: whether the given labels are the majority of the answers.
    """

    p_wrong: _Floats
    other: npt.NDArray[np.int32]
    p_other: npt.NDArray[np.float32]
    p_right: _Floats
    p_cells: _Floats
    rate_if_dependent: float
    are_labels_answers: bool


def weigh_answers(answered: AnsweredRows, scores: RowScores, p_wrong: npt.NDArray[np.float32]) -> AnswerEvidence:
    """Return what answers and model say together.

    If the given labels were made from the answers, one that is the most frequent answer to its row says nothing beyond
    the answers, so the model's probabilities are the prior. Otherwise the prior takes the given label into account, as
    for a label that a person corrected.

    Args:
        scores: of the M rows, with the given labels.
        p_wrong: (M,) what the model says about the given labels.
    """
    answers, p_cells = answered
    are_answers = are_labels_answers(answers, scores.labels)
    is_answer = are_answers & _is_most_frequent(answers, scores.labels)
    prior = _prior_of_answered_labels(answered, scores, p_wrong, is_answer)
    posterior, dependent = (_estimate(answers, prior.cells, weight) for weight in (1.0, _IF_DEPENDENT))
    cells = answers.cells
    rest = _rest(answers, prior.cells, posterior)
    has_answers = answers.number > 0
    other = _other(answers, posterior, scores, rest)
    is_cell = cells.label == other[cells.row]
    p_answered = cells.per_row(np.where(is_cell, p_cells, 0)).astype(np.float32)
    return AnswerEvidence(
        p_wrong=_p_wrong(answers, prior, posterior, scores),
        other=np.where(has_answers, other, np.int32(-1)),
        p_other=np.where(cells.per_row(is_cell) > 0, p_answered, scores.p_other),
        p_right=posterior[cells.of_answer],
        p_cells=posterior,
        rate_if_dependent=float(np.nanmean(_p_wrong(answers, prior, dependent, scores))),
        are_labels_answers=are_answers,
    )


def right_shares(answers: Answers, p_right: _Floats) -> RightShares:
    """Return how often each annotator is right.

    Args:
        answers: A answers of J annotators, at least one.
        p_right: (A,) probability that each answer is right, as in `AnswerEvidence`.
    """
    accuracy, mean = _accuracy(answers, p_right)
    return RightShares(accuracy, *_limits(answers, accuracy, mean, p_right))


def _p_wrong(answers: Answers, prior: _Prior, posterior: _Floats, scores: RowScores) -> _Floats:
    """Return (M,) the probability that the given label is wrong; NaN for a row without answers."""
    cells = answers.cells
    is_given = cells.label == scores.labels[cells.row]
    of_answered = cells.per_row(np.where(is_given, posterior, 0))
    of_others = prior.given * _rest(answers, prior.cells, posterior)
    p_given = np.where(cells.per_row(is_given) > 0, of_answered, of_others)
    return np.where(answers.number > 0, 1 - np.clip(p_given, 0, 1), np.nan)


def with_evidence(wrong: WrongLabels, evidence: AnswerEvidence) -> WrongLabels:
    """Return p_wrong with what the answers say.

    The range is widened until it contains the new mean, also if two answers count as one. Annotators make the same
    mistakes, so their answers say less than independent ones; how much less is unknown.
    """
    has_answers = ~np.isnan(evidence.p_wrong)
    p_wrong = np.where(has_answers, evidence.p_wrong, wrong.p_wrong).astype(np.float32)
    estimate = float(p_wrong.mean(dtype=np.float64))
    dependent = estimate + float(has_answers.mean()) * (
        evidence.rate_if_dependent - float(np.nanmean(evidence.p_wrong))
    )
    before = wrong.error_range
    widened = ErrorRange(estimate, min(before.low, estimate), max(before.high, estimate, dependent), before.basis)
    return replace(wrong, p_wrong=p_wrong, best_cut=min(best_cut(p_wrong), _HIGHEST_CUT), error_range=widened)


def are_labels_answers(answers: Answers, labels: npt.NDArray[np.integer]) -> bool:
    """Return whether the given labels are the most frequent answers, in rows that have one."""
    cells = answers.cells
    votes = cells.sums()
    is_most = votes == cells.largest(votes)[cells.row]
    is_only = is_most & (cells.per_row(is_most)[cells.row] == 1)
    if not is_only.any():
        return False
    return bool((cells.label == labels[cells.row])[is_only].mean() >= _MADE_FROM_ANSWERS)


def _is_most_frequent(answers: Answers, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return (M,) whether the given label is the most frequent answer to its row, or one of several."""
    cells = answers.cells
    votes = cells.sums()
    is_most = votes == cells.largest(votes)[cells.row]
    return np.asarray(cells.per_row(is_most & (cells.label == labels[cells.row])) > 0)


class _Prior(NamedTuple):
    cells: _Floats  # (C,) of the labels with answers
    given: _Floats  # (M,) of the given labels


def _prior_of_answered_labels(
    answered: AnsweredRows,
    scores: RowScores,
    p_wrong: npt.NDArray[np.float32],
    is_answer: npt.NDArray[np.bool_],
) -> _Prior:
    cells = answered.answers.cells
    p_cells, given = answered.p_cells.astype(np.float64), scores.p_given.astype(np.float64)
    p_right = np.where(is_answer, given, 1 - p_wrong.astype(np.float64))
    # The other labels share the probability that the given one is wrong.
    factor = (1 - p_right) / np.maximum(1 - given, _LEAST_PRIOR)
    is_given = cells.label == scores.labels[cells.row]
    p_cells = np.where(is_given, p_right[cells.row], p_cells * factor[cells.row])
    given = p_right
    return _Prior(np.clip(p_cells, _LEAST_PRIOR, 1.0), np.clip(given, _LEAST_PRIOR, 1.0))


def _estimate(answers: Answers, prior: _Floats, weight: float) -> _Floats:
    """Return (C,) the probability of each label with answers.

    `weight` is that of an answer, 1 if all are independent.
    """
    cells = answers.cells
    posterior = cells.sums() / answers.number[cells.row]
    accuracy = np.zeros(len(answers.annotators))
    for _ in range(_MOST_STEPS):
        before = accuracy
        accuracy, _mean = _accuracy(answers, posterior[cells.of_answer])
        posterior = _posterior(answers, prior, accuracy, weight)
        if np.abs(accuracy - before).max(initial=0) < _SMALL_STEP:
            break
    return posterior


def _accuracy(answers: Answers, p_right: _Floats) -> tuple[_Floats, float]:
    """Return (J,) the share of right answers of each annotator, and the mean over answers."""
    mean = float(np.clip(p_right.mean(), _LEAST, 1 - _LEAST))
    total = answers.per_annotator(p_right) + _AVERAGE_ANSWERS * mean
    accuracy = total / (answers.per_annotator() + _AVERAGE_ANSWERS)
    return np.clip(accuracy, _LEAST, 1 - _LEAST), mean


def _posterior(answers: Answers, prior: _Floats, accuracy: _Floats, weight: float) -> _Floats:
    cells = answers.cells
    log_odds = weight * (np.log(accuracy) - np.log((1 - accuracy) / (answers.num_classes - 1)))
    evidence = np.log(prior) + cells.sums(log_odds[answers.annotator])
    rest = np.log(_unanswered(answers, prior))
    largest = np.maximum(cells.largest(evidence), rest)
    odds = np.exp(evidence - largest[cells.row])
    total = cells.per_row(odds) + np.exp(rest - largest)
    return np.asarray(odds / total[cells.row])


def _unanswered(answers: Answers, prior: _Floats) -> _Floats:
    """Return (M,) the prior probability of all labels without answers."""
    count = answers.num_classes - answers.cells.per_row(np.ones(len(prior)))
    # If every label has an answer, nothing is left.
    least = np.where(count > 0, _LEAST_PRIOR, np.finfo(np.float64).tiny)
    left = np.where(count > 0, 1 - answers.cells.per_row(prior), 0.0)
    return np.asarray(np.maximum(left, least))


def _rest(answers: Answers, prior: _Floats, posterior: _Floats) -> _Floats:
    """Return (M,) by how much the probability of a label without answers changes."""
    left = np.clip(1 - answers.cells.per_row(posterior), 0, 1)
    return left / _unanswered(answers, prior)


def _other(answers: Answers, posterior: _Floats, scores: RowScores, rest: _Floats) -> npt.NDArray[np.int32]:
    """Return (M,) the most probable label apart from the given one."""
    cells = answers.cells
    is_other = cells.label != scores.labels[cells.row]
    values = np.where(is_other, posterior, -1.0)
    largest = cells.largest(values)
    is_best = is_other & (values == largest[cells.row])
    other = scores.other.copy()
    # Several equal ones: the last in class order.
    other[cells.row[is_best]] = cells.label[is_best]
    # A label without answers can still be the most probable one.
    is_answered = cells.per_row(cells.label == scores.other[cells.row]) > 0
    is_higher = ~is_answered & (scores.p_other * rest > largest)
    return np.where(is_higher, scores.other, other)


def _limits(answers: Answers, accuracy: _Floats, mean: float, p_right: _Floats) -> tuple[_Floats, _Floats]:
    """Return (J,) the limits of the 95 % interval of each accuracy.

    An answer that may be right or wrong says less about its annotator: its information is that of
    1 - p (1 - p) / (a (1 - a)) known answers (Louis, "Finding the observed information matrix when using the EM
    algorithm", 1982).
    """
    spread = accuracy * (1 - accuracy)
    unknown = answers.per_annotator(p_right * (1 - p_right)) / spread
    known = np.maximum(answers.per_annotator() - unknown, 0) + _AVERAGE_ANSWERS
    right = known * accuracy
    low = betaincinv(right, known - right, _TAIL)
    high = betaincinv(right, known - right, 1 - _TAIL)
    return np.asarray(low), np.asarray(high)
