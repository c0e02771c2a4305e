"""The consensus of several annotators and a model: CROWDLAB, and ActiveLab's score of rows that need another answer.

Goh, Tkachenko and Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality scores for data with
multiple annotators" (2022), and Goh and Mueller, "ActiveLab: Active learning with re-labeling by multiple annotators"
(2023). The results are those of `cleanlab.multiannotator`, which needs a table of all rows times all annotators. Here,
memory grows with the answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.answers import Answers, Cells
from labelaudit.detection.row_scores import RowScores

_Floats = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.int32]

# No model or annotator has a weight of exactly 0. As in cleanlab.
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Consensus:
    """The consensus of M rows. Rows without answers have the label -1 and NaN.

    Attributes:
        label: (M,) the consensus label.
        quality: (M,) 0..1, the weighted mean of what model and annotators say for it; low: doubtful.
        agreement: (M,) the share of the answers that equal it.
        need: (M,) 0..1, low if another answer would help most.
        model_weight: the weight of the model's probabilities.
        annotator_weight: (J,) the weight of an answer of each annotator.
    """

    label: _Labels
    quality: _Floats
    agreement: _Floats
    need: _Floats
    model_weight: float
    annotator_weight: _Floats


@dataclass(frozen=True)
class _Weights:
    """How much the model and the annotators count, and how often an answer equals the consensus."""

    model: float
    annotator: _Floats  # (J,)
    likelihood: float  # that an answer equals the consensus


def find_consensus(answers: Answers, p_cells: npt.NDArray[np.float32], scores: RowScores) -> Consensus:
    """Return the consensus of the answers and out-of-fold probabilities.

    Args:
        answers: A answers to M rows.
        p_cells: (C,) the probability of the label of each of `answers.cells`.
        scores: of the M rows.
    """
    cells = answers.cells
    votes = cells.sums()
    majority = _majority(answers, cells, votes, p_cells)
    if (answers.number <= 1).all():
        # No annotator can be compared with another one.
        weights = _Weights(1.0, np.ones(len(answers.annotators)), 1.0)
        label, quality = majority, _of_label(cells, p_cells.astype(np.float64), majority)
    else:
        label = _best_label(answers, p_cells, scores, _weigh(answers, votes, majority, scores), majority)
        weights = _weigh(answers, votes, label, scores)
        quality = _quality(answers, p_cells, scores, weights, label)
    agreement = _share(_of_label(cells, votes, label), answers.number)
    weight = np.bincount(answers.row, weights.annotator[answers.annotator], answers.rows) + weights.model
    mean = float(weights.annotator.mean())
    need = (quality * weight + mean / answers.num_classes) / (weight + mean)
    return Consensus(label, quality, agreement, need, weights.model, weights.annotator)


def _majority(answers: Answers, cells: Cells, votes: _Floats, p_cells: npt.NDArray[np.float32]) -> _Labels:
    """Return (M,) the most frequent answer; then the most probable one, then that of the rarer class."""
    frequency = np.bincount(answers.label, minlength=answers.num_classes)[cells.label]
    order = np.lexsort((cells.label, frequency, -p_cells, -votes, cells.row))
    row = cells.row[order]
    is_first = np.r_[True, row[1:] != row[:-1]] if len(row) else np.zeros(0, bool)
    majority = np.full(answers.rows, -1, np.int32)
    majority[row[is_first]] = cells.label[order][is_first]
    return majority


def _weigh(answers: Answers, votes: _Floats, consensus: _Labels, scores: RowScores) -> _Weights:
    cells = answers.cells
    is_shared = answers.number > 1
    of_rows = consensus[is_shared]
    agreement = _share(_of_label(cells, votes, consensus), answers.number)
    most_frequent = np.bincount(of_rows, minlength=answers.num_classes).argmax()
    baseline = max(float((of_rows != most_frequent).mean()), _SMALLEST)
    others = answers.number[answers.row] - 1
    equal = answers.per_annotator(votes[cells.of_answer] - 1)
    compared = answers.per_annotator(others)
    has_others = compared > 0
    with_others = np.where(has_others, equal / np.maximum(compared, 1), 0.0)
    with_others = np.where(has_others, with_others, with_others[has_others].mean())
    annotator = np.maximum(1 - (1 - with_others) / baseline, _SMALLEST)
    model_error = float((scores.predicted[is_shared] != of_rows).mean())
    mean_number = float(answers.number[answers.number > 0].mean())
    model = max(1 - model_error / baseline, _SMALLEST) * mean_number**0.5
    return _Weights(model, annotator, float(agreement[is_shared].mean()))


def _cell_quality(answers: Answers, p_cells: npt.NDArray[np.float32], weights: _Weights) -> tuple[_Floats, _Floats]:
    """Return (C,) the quality of the label of each cell, and (M,) what a label without answers has beyond the model."""
    cells = answers.cells
    of_cell = cells.sums(weights.annotator[answers.annotator])
    of_row = cells.per_row(of_cell)
    total = of_row + weights.model
    unlikely = (1 - weights.likelihood) / (answers.num_classes - 1)
    against = of_row[cells.row] - of_cell
    quality = (p_cells * weights.model + of_cell * weights.likelihood + against * unlikely) / total[cells.row]
    return quality, of_row * unlikely / total


def _best_label(
    answers: Answers, p_cells: npt.NDArray[np.float32], scores: RowScores, weights: _Weights, majority: _Labels
) -> _Labels:
    """Return (M,) the label with the highest quality; the majority if several have it."""
    cells = answers.cells
    quality, _ = _cell_quality(answers, p_cells, weights)
    largest = cells.largest(quality)
    is_best = quality == largest[cells.row]
    label = majority.copy()
    label[cells.row[is_best]] = cells.label[is_best]
    is_several = cells.per_row(is_best) > 1
    label[is_several] = majority[is_several]
    # Only the most probable label can have the highest quality without an answer.
    is_new = (answers.number > 0) & (_of_label(cells, np.ones(len(cells.row)), scores.predicted) == 0)
    of_predicted = _quality(answers, p_cells, scores, weights, scores.predicted)
    is_higher = is_new & (of_predicted > largest)
    label[is_higher] = scores.predicted[is_higher]
    return label


def _quality(
    answers: Answers, p_cells: npt.NDArray[np.float32], scores: RowScores, weights: _Weights, label: _Labels
) -> _Floats:
    """Return (M,) the quality of a label of each row that has answers, or is the most probable one."""
    quality, without_answers = _cell_quality(answers, p_cells, weights)
    cells = answers.cells
    of_row = cells.per_row(cells.sums(weights.annotator[answers.annotator]))
    is_given = _of_label(cells, np.ones(len(cells.row)), label) > 0
    predicted = scores.p_predicted * weights.model / (of_row + weights.model) + without_answers
    found = np.where(is_given, _of_label(cells, quality, label), predicted)
    return np.where(answers.number > 0, found, np.nan)


def _of_label(cells: Cells, values: _Floats, label: _Labels) -> _Floats:
    """Return (M,) the value of the cell with a label of each row; 0 without one."""
    return cells.per_row(np.where(cells.label == label[cells.row], values, 0.0))


def _share(part: _Floats, number: npt.NDArray[np.int64]) -> _Floats:
    return np.where(number > 0, part / np.maximum(number, 1), np.nan)
