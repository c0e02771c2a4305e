"""What detection needs of each row of probabilities: six numbers, so that memory does not grow with the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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


def _score(labels: npt.NDArray[np.integer], pred_probs: FloatArray) -> tuple[np.ndarray, ...]:
    rows = np.arange(len(labels))
    predicted = pred_probs.argmax(axis=1)
    p_given = pred_probs[rows, labels]
    others = pred_probs.copy()
    others[rows, labels] = -1
    other = others.argmax(axis=1)
    integers = (np.asarray(values, np.int32) for values in (labels, predicted, other))
    return (*integers, p_given, pred_probs[rows, predicted], others[rows, other])


def _no_rows() -> list[np.ndarray]:
    return [np.empty(0, np.int32)] * 3 + [np.empty(0, np.float32)] * 3
