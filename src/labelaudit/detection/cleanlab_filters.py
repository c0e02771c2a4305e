"""cleanlab's filters, computed from blocks of rows.

The method is that of Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR
70, 2021). The results are those of cleanlab 2.9: `filter.find_label_issues(labels, pred_probs, filter_by=…, n_jobs=1)`
for float32 probabilities. They are equal row by row: thresholds are means of the same numbers in the same order,
comparisons use the same precision, and rows that are equal at a cut are chosen by the same call of `numpy.argsort`.
This sort is not stable. So if rows are equal at a cut, both depend in the same way on the version of numpy and on the
processor.

Memory is a few numbers per row, a (K, K) matrix, and blocks of a fixed size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.detection.row_scores import RowScores
from labelaudit.errors import ConfigError
from labelaudit.schemas import CLEANLAB_FILTERS

_BoolArray = npt.NDArray[np.bool_]
_FloatArray = npt.NDArray[np.floating]
_IntArray = npt.NDArray[np.int64]

# cleanlab's constants: a probability that is smaller by this much still counts as equal, and a threshold is at least
# twice this.
_TOLERANCE = 1e-6
# The threshold of a class without labels, which no probability reaches.
_NEVER = 2
# Values that are held at once to rank the rows of classes: 64 MiB of float32, or as many as 8 per row.
_HELD_VALUES = 2**24
_HELD_PER_ROW = 8


@dataclass(frozen=True)
class ConfidentClasses:
    """The class that each of M rows confidently belongs to."""

    guess: npt.NDArray[np.int32]  # (M,) 0..K-1, -1 if the row is not confident of any class
    joint: _IntArray  # (K, K) rows by given label and confident class; the diagonal is at least 1

    def is_off_diagonal(self, labels: npt.NDArray[np.integer]) -> _BoolArray:
        """Return the rows that are confidently of another class than their label, (M,)."""
        mask: _BoolArray = (self.guess >= 0) & (self.guess != labels)
        return mask


def count_confident(probabilities: ProbabilityBlocks, scores: RowScores) -> ConfidentClasses:
    """Return the confident joint, before calibration.

    A row is confident of a class if its probability reaches the mean probability of the rows with this label.

    Args:
        probabilities: M rows of K classes.
        scores: their scores.
    """
    thresholds = _thresholds(scores)
    guess = scores.predicted.copy()
    # If the most probable class is confident, it is the guess, whether there are others or not.
    is_open = scores.p_predicted < thresholds[scores.predicted]
    for positions, pred_probs in probabilities.blocks():
        rows = np.flatnonzero(is_open[positions])
        guess[positions[rows]] = _guess(pred_probs[rows], thresholds, scores.predicted[positions[rows]])
    num_classes = scores.num_classes
    is_confident = guess >= 0
    pairs = scores.labels[is_confident].astype(np.int64) * num_classes + guess[is_confident]
    joint = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    return ConfidentClasses(guess, joint)


def flag_by_cleanlab(probabilities: ProbabilityBlocks, scores: RowScores, *, filter_by: str) -> _BoolArray:
    """Return the rows that a filter of cleanlab flags, (M,) bool.

    Args:
        probabilities: M rows of K classes.
        scores: their scores.
        filter_by: one of `CLEANLAB_FILTERS`.

    Raises:
        ConfigError: unknown filter.
    """
    if filter_by not in CLEANLAB_FILTERS:
        raise ConfigError(f"Unknown filter {filter_by!r}. Use one of: {', '.join(CLEANLAB_FILTERS)}.")
    differs = _clearly_differs(scores)
    if filter_by == "predicted_neq_given":
        return scores.disagrees & differs
    confident = count_confident(probabilities, scores)
    off_diagonal = confident.is_off_diagonal(scores.labels) & differs
    if filter_by == "confident_learning":
        return off_diagonal
    if filter_by in ("low_self_confidence", "low_normalized_margin"):
        return _lowest(_quality(scores, filter_by), int(off_diagonal.sum()))
    numbers = _numbers_to_flag(calibrate(confident.joint, scores))
    flags = differs
    if filter_by in ("prune_by_class", "both"):
        flags = flags & _flag_by_class(scores, numbers)
    if filter_by in ("prune_by_noise_rate", "both"):
        flags = flags & _flag_by_noise_rate(probabilities, scores, numbers, differs)
    return flags


def calibrate(joint: _IntArray, scores: RowScores) -> _IntArray:
    """Return a confident joint, (K, K), whose rows are scaled to the number of rows with each label and rounded."""
    examples = np.bincount(scores.labels, minlength=scores.num_classes)
    # The last digits of the sum of all depend on the order in memory. cleanlab's matrix has columns first.
    scaled = (np.ascontiguousarray(joint.T) / joint.sum(axis=1) * examples).T
    scaled = scaled / scaled.sum() * len(scores)
    return np.array([_rounded(row) for row in scaled])


def too_small_classes(scores: RowScores, *, filter_by: str) -> _IntArray:
    """Return the classes with labels that a filter never flags, because they have one row."""
    if not filter_by.startswith("prune_by") and filter_by != "both":
        return np.empty(0, np.int64)
    return np.flatnonzero(np.bincount(scores.labels, minlength=scores.num_classes) == 1)


def _thresholds(scores: RowScores) -> npt.NDArray[np.float32]:
    """Return the (K,) probabilities from which a row is confident of a class."""
    means = [
        scores.p_given[rows].mean() if len(rows) else _NEVER
        for rows in _rows_by_class(scores.labels, scores.num_classes)
    ]
    thresholds = np.clip(means, 2 * _TOLERANCE, None) - _TOLERANCE
    # The mean of integers and float32 is float64. A float32 reaches it if it reaches the next float32.
    rounded = thresholds.astype(np.float32)
    return np.where(rounded < thresholds, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _guess(
    pred_probs: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32], predicted: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Return the guess of rows that are not confident of their most probable class."""
    is_confident = pred_probs >= thresholds
    rows = np.arange(len(pred_probs))
    first = is_confident.argmax(axis=1)
    has_one = is_confident[rows, first]
    is_confident[rows, first] = False
    guess = np.where(is_confident.any(axis=1), predicted, first)
    return np.where(has_one, guess, -1).astype(np.int32)


def _clearly_differs(scores: RowScores) -> _BoolArray:
    """Return whether the predicted class is not the given one, even if the given one is a little more probable."""
    given = scores.p_given + np.float32(_TOLERANCE)
    is_given = (given > scores.p_other) | ((given == scores.p_other) & (scores.labels < scores.other))
    differs: _BoolArray = ~is_given
    return differs


def _quality(scores: RowScores, filter_by: str) -> npt.NDArray[np.float32]:
    if filter_by == "low_self_confidence":
        return scores.p_given
    quality: npt.NDArray[np.float32] = (scores.p_given - scores.p_other + np.float32(1)) / np.float32(2)
    return quality


def _rounded(values: npt.NDArray[np.float64]) -> _IntArray:
    """Return (K,) integers with the same sum. Those values change most that are furthest from an integer."""
    rounded: npt.NDArray[np.float64] = values.round()
    total = float(values.sum().round())
    while missing := int(total - rounded.sum()):
        step = 1 if missing > 0 else -1
        nearest = np.argsort(values - rounded)[::-step]
        rounded[nearest[: abs(missing)]] += step
    return rounded.astype(np.int64)


def _numbers_to_flag(calibrated: _IntArray) -> _IntArray:
    """Return how many rows of each given class to flag for each other class, (K, K).

    The diagonal is the number of rows to keep. It is at least 1, and the other numbers of the class pay for that.
    """
    kept = calibrated.diagonal().clip(min=1)
    to_pay = kept - calibrated.diagonal()
    payers = np.maximum(np.count_nonzero(calibrated, axis=1) - 1.0, 1.0)
    numbers: _IntArray = (calibrated - (to_pay / payers)[:, None]).clip(min=0).astype(np.int64)
    np.fill_diagonal(numbers, kept)
    return numbers


def _flag_by_class(scores: RowScores, numbers: _IntArray) -> _BoolArray:
    """Flag all but the rows to keep in each class: those that are least probably in it."""
    flags = np.zeros(len(scores), bool)
    for k, rows in enumerate(_rows_by_class(scores.labels, scores.num_classes)):
        if len(rows) > 1:
            flags[rows] = _lowest(scores.p_given[rows], len(rows) - int(numbers[k, k]))
    return flags


def _flag_by_noise_rate(
    probabilities: ProbabilityBlocks, scores: RowScores, numbers: _IntArray, differs: _BoolArray
) -> _BoolArray:
    """Flag the given number of rows of each pair of classes: those with the largest margin.

    The margin is the probability of the other class minus that of the given one. Flags of rows outside `differs` do
    not matter.
    """
    flags = np.zeros(len(scores), bool)
    rows_of = _rows_by_class(scores.labels, scores.num_classes)
    matters = np.bincount(scores.labels[differs], minlength=scores.num_classes) > 0
    others = [
        np.flatnonzero((numbers[k] > 0) & (np.arange(len(numbers)) != k))
        if len(rows) > 1 and matters[k]
        else np.empty(0, np.int64)
        for k, rows in enumerate(rows_of)
    ]
    limit = max(_HELD_VALUES, _HELD_PER_ROW * len(scores))
    for batch in _batches([len(rows) * len(columns) for rows, columns in zip(rows_of, others, strict=True)], limit):
        held = {k: np.empty((len(others[k]), len(rows_of[k])), np.float32) for k in batch}
        _fill(held, others, probabilities, scores, rows_of)
        for k in batch:
            for margins, number in zip(held[k], numbers[k, others[k]], strict=True):
                flags[rows_of[k]] |= _lowest(margins, int(number))
    return flags


def _fill(
    held: dict[int, npt.NDArray[np.float32]],
    others: list[npt.NDArray[np.int64]],
    probabilities: ProbabilityBlocks,
    scores: RowScores,
    rows_of: list[_IntArray],
) -> None:
    """Fill each array of `held` with the negative margins of a class's rows, one row per other class."""
    if not held:
        return
    is_held = np.zeros(scores.num_classes, bool)
    is_held[list(held)] = True
    place = np.empty(len(scores), np.int64)
    for k in held:
        place[rows_of[k]] = np.arange(len(rows_of[k]))
    for positions, pred_probs in probabilities.blocks():
        labels = scores.labels[positions]
        chosen = np.flatnonzero(is_held[labels])
        chosen = chosen[np.argsort(labels[chosen], kind="stable")]
        classes, starts = np.unique(labels[chosen], return_index=True)
        for k, start, stop in zip(classes, starts, [*starts[1:], len(chosen)], strict=False):
            rows = chosen[start:stop]
            margins = pred_probs[np.ix_(rows, others[k])] - pred_probs[rows, k][:, None]
            held[int(k)][:, place[positions[rows]]] = -margins.T


def _batches(sizes: list[int], limit: int) -> Iterator[list[int]]:
    """Return the numbers of the sizes that are not 0, in groups of at most `limit` or of one."""
    batch: list[int] = []
    total = 0
    for number, size in enumerate(sizes):
        if batch and total + size > limit:
            yield batch
            batch, total = [], 0
        if size:
            batch.append(number)
            total += size
    if batch:
        yield batch


def _lowest(values: npt.NDArray[np.float32], number: int) -> _BoolArray:
    """Return a mask of the `number` lowest values, the same as the first ones of `numpy.argsort`."""
    if number < 1:
        return np.zeros(len(values), bool)
    if number >= len(values):
        return np.ones(len(values), bool)
    highest = np.partition(values, number - 1)[number - 1]
    mask: _BoolArray = values <= highest
    if int(mask.sum()) > number:  # some are equal
        mask = np.zeros(len(values), bool)
        mask[np.argsort(values)[:number]] = True
    return mask


def _rows_by_class(labels: npt.NDArray[np.integer], num_classes: int) -> list[_IntArray]:
    """Return the rows of each class, ascending."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    return np.split(order, ends[:-1])
