"""What detection needs of each row of probabilities: six numbers, so that memory does not grow with the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.probability_blocks import ProbabilityBlocks

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class RowScores:
    """The probabilities that matter of M rows of K classes, 24 bytes per row."""

    labels: IntArray  # (M,) the given class, 0..K-1
    predicted: IntArray  # (M,) the most probable class; the first one of equals
    other: IntArray  # (M,) the most probable class apart from the given one
    p_given: FloatArray  # (M,)
    p_predicted: FloatArray  # (M,)
    p_other: FloatArray  # (M,)
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def disagrees(self) -> npt.NDArray[np.bool_]:
        """(M,) whether the predicted class is not the given one."""
        return self.predicted != self.labels


def score_rows(blocks: Iterable[tuple[npt.NDArray[np.integer], FloatArray]], num_classes: int) -> RowScores:
    """Return the scores of all rows of `blocks`, in their order.

    Args:
        blocks: the labels (m,) in 0..K-1 and the probabilities (m, K) float32 of consecutive rows.
        num_classes: K, at least 2.
    """
    scored = [_score(labels, pred_probs) for labels, pred_probs in blocks]
    columns = [np.concatenate(column) for column in zip(*scored, strict=True)] if scored else _no_rows()
    return RowScores(*columns, num_classes)


def score_blocks(labels: npt.NDArray[np.integer], probabilities: ProbabilityBlocks) -> RowScores:
    """Return the scores of all rows, in the order of their positions.

    Args:
        labels: (M,) in 0..K-1, in the order of positions.
        probabilities: M rows of K classes.
    """
    columns = [np.empty(len(labels), column.dtype) for column in _no_rows()]
    for positions, pred_probs in probabilities.blocks():
        for column, values in zip(columns, _score(labels[positions], pred_probs), strict=True):
            column[positions] = values
    return RowScores(*columns, probabilities.num_classes)


def with_labels(
    scores: RowScores,
    rows: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    pred_probs: FloatArray,
) -> RowScores:
    """Return scores in which some rows have another label.

    Args:
        scores: M rows.
        rows: (n,) the positions of the rows, distinct.
        labels: (n,) their new labels.
        pred_probs: (n, K) their probabilities.
    """
    columns = [
        column.copy()
        for column in (
            scores.labels,
            scores.predicted,
            scores.other,
            scores.p_given,
            scores.p_predicted,
            scores.p_other,
        )
    ]
    for column, values in zip(columns, _score(labels, pred_probs), strict=True):
        column[rows] = values
    return RowScores(*columns, scores.num_classes)


def _score(labels: npt.NDArray[np.integer], pred_probs: FloatArray) -> tuple[np.ndarray, ...]:
    rows = np.arange(len(labels))
    predicted = pred_probs.argmax(axis=1)
    p_given = pred_probs[rows, labels]
    # If the most probable class is not the given one, it is also the most probable other class.
    other = predicted.copy()
    agrees = np.flatnonzero(predicted == labels)
    others = pred_probs[agrees]
    others[np.arange(len(agrees)), labels[agrees]] = -1
    other[agrees] = others.argmax(axis=1)
    integers = (np.asarray(values, np.int32) for values in (labels, predicted, other))
    return (*integers, p_given, pred_probs[rows, predicted], pred_probs[rows, other])


def _no_rows() -> list[np.ndarray]:
    return [np.empty(0, np.int32)] * 3 + [np.empty(0, np.float32)] * 3
