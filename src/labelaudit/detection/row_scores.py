"""What detection needs of each row of probabilities: six numbers, so that memory does not grow with the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.probability_blocks import ProbabilityBlocks

_FloatArray = npt.NDArray[np.float32]
_IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class RowScores:
    """The probabilities that matter of M rows of K classes, 24 bytes per row."""

    labels: _IntArray  # (M,) the given class, 0..K-1
    predicted: _IntArray  # (M,) the most probable class; the first one of equals
    other: _IntArray  # (M,) the most probable class apart from the given one
    p_given: _FloatArray  # (M,)
    p_predicted: _FloatArray  # (M,)
    p_other: _FloatArray  # (M,)
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def empty(cls, rows: int, num_classes: int) -> RowScores:
        """Return scores of rows that are not known yet."""
        labels, predicted, other = np.empty((3, rows), np.int32)
        p_given, p_predicted, p_other = np.empty((3, rows), np.float32)
        return cls(labels, predicted, other, p_given, p_predicted, p_other, num_classes)

    def put(self, positions: npt.NDArray[np.integer], scores: RowScores) -> None:
        """Replace the scores of some rows."""
        for name in ("labels", "predicted", "other", "p_given", "p_predicted", "p_other"):
            getattr(self, name)[positions] = getattr(scores, name)

    @property
    def disagrees(self) -> npt.NDArray[np.bool_]:
        """(M,) whether the predicted class is not the given one."""
        return np.asarray(self.predicted != self.labels)


def score_rows(blocks: Iterable[tuple[npt.NDArray[np.integer], _FloatArray]], num_classes: int) -> RowScores:
    """Return the scores of all rows of `blocks`, in their order.

    Args:
        blocks: the labels (m,) in 0..K-1 and the probabilities (m, K) float32 of consecutive rows.
        num_classes: K, at least 2.
    """
    scored = [_score(labels, pred_probs) for labels, pred_probs in blocks]
    scores = RowScores.empty(sum(map(len, scored)), num_classes)
    start = 0
    for part in scored:
        scores.put(np.arange(start, start + len(part)), part)
        start += len(part)
    return scores


def score_blocks(labels: npt.NDArray[np.integer], probabilities: ProbabilityBlocks) -> RowScores:
    """Return the scores of all rows, in the order of their positions.

    Args:
        labels: (M,) in 0..K-1, in the order of positions.
        probabilities: M rows of K classes.
    """
    scores = RowScores.empty(len(labels), probabilities.num_classes)
    for positions, pred_probs in probabilities.blocks():
        scores.put(positions, _score(labels[positions], pred_probs))
    return scores


def with_labels(
    scores: RowScores,
    rows: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    pred_probs: _FloatArray,
) -> RowScores:
    """Return scores in which some rows have another label.

    Args:
        scores: M rows.
        rows: (n,) the positions of the rows, distinct.
        labels: (n,) their new labels.
        pred_probs: (n, K) their probabilities.
    """
    changed = RowScores.empty(len(scores), scores.num_classes)
    changed.put(np.arange(len(scores)), scores)
    changed.put(rows, _score(labels, pred_probs))
    return changed


def _score(labels: npt.NDArray[np.integer], pred_probs: _FloatArray) -> RowScores:
    rows = np.arange(len(labels))
    predicted = pred_probs.argmax(axis=1)
    # If the most probable class is not the given one, it is also the most probable other class.
    other = predicted.copy()
    agrees = np.flatnonzero(predicted == labels)
    others = pred_probs[agrees]
    others[np.arange(len(agrees)), labels[agrees]] = -1
    other[agrees] = others.argmax(axis=1)
    return RowScores(
        labels=labels.astype(np.int32),
        predicted=predicted.astype(np.int32),
        other=other.astype(np.int32),
        p_given=pred_probs[rows, labels],
        p_predicted=pred_probs[rows, predicted],
        p_other=pred_probs[rows, other],
        num_classes=pred_probs.shape[1],
    )
