"""How well probabilities agree with given labels, compared with chance.

All statistics compare with the permutation null hypothesis: the same labels, assigned to the rows at random. It needs
no model of the classes and is valid for any scale of confidence. Unlike accuracy, it is valid for imbalanced classes.
Its mean and variance have a closed form (Hoeffding, "A combinatorial central limit theorem", 1951).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.detection.row_shift import Shift, find_shift

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

# Values in which a shift of rows is searched: 64 MiB of float32. Of more, classes are put into groups.
_SHIFT_VALUES = 2**24
# Blocks with more rows per class than this are summed in float64.
_ROWS_PER_CLASS_IN_FLOAT32 = 64


@dataclass(frozen=True)
class Agreement:
    """Agreement of n rows of probabilities with their given labels; K classes."""

    examples: int
    share: float  # rows whose most probable class is the given one, 0..1
    mean_p_given: float
    z: float  # mean_p_given above chance, in standard deviations of the permutation null
    z_error: float  # standard error of z over another sample of rows, at least 1
    coarseness: float  # upper bound of the contribution of one row to z
    distinct: float  # distinct highest probabilities per row; near 0: all rows are the same
    shift: Shift  # of rows
    columns: IntArray  # (K,) the order of columns in which the labels fit best: the column of each class
    columns_z: float  # z with the columns in that order
    columns_lead: float  # how much better that order fits than the shift, in standard errors; negative if worse
    counts: FloatArray  # (K,) rows per given class
    mean_probs: FloatArray  # (K,) mean probability of each class
    lead: FloatArray  # (K, K): sum over rows of class g of centred p_g - p_k
    lead_squares: FloatArray  # (K, K): the sum of its squares

    @property
    def effect(self) -> float:
        """The z per row. Like a correlation, it is comparable between folds of different size."""
        return self.z / math.sqrt(self.examples)

    @property
    def correlation(self) -> float:
        """The effect as a share of the effect of perfect predictions, -1..1."""
        share = self.counts / self.examples
        squares = float((share**2).sum())
        variance = squares - 2 * float((share**3).sum()) + squares**2
        return self.effect * math.sqrt(max(variance, 0.0)) / (1 - squares) if squares < 1 else 0.0


def measure_agreement(labels: IntArray, probabilities: ProbabilityBlocks) -> Agreement:
    """Measure how well probabilities agree with `labels`.

    Args:
        labels: (n,) int, 0..K-1, n >= 1.
        probabilities: n rows of K classes. A shift is searched in the order of their positions.
    """
    n, num_classes = len(labels), probabilities.num_classes
    sums = _Sums(labels, num_classes)
    for positions, pred_probs in probabilities.blocks():
        sums.add(positions, pred_probs)
    mean = sums.mean
    given = sums.given - mean[labels]
    expected = sums.expected - float(mean @ sums.shares)
    squares = float(sums.shares @ (sums.squares - n * mean**2))
    spread = math.sqrt(max(squares - float(expected @ expected), 0.0) * n / max(n - 1, 1))
    # Smaller differences are rounding errors of float32.
    scale = 1 / spread if spread > 1e-7 * math.sqrt(n) else 0.0
    largest = float(max((sums.highest - mean).max(), (mean - sums.lowest).max()))
    lead, lead_squares = sums.lead(mean)
    total, deviation = float(given.sum()), float((given - expected).std())
    share = float((sums.predicted == labels).mean())
    mean_p_given = float(sums.p_given.mean(dtype=np.float64))
    distinct = 0.0 if largest < 1e-6 else len(np.unique(sums.p_predicted)) / n
    highest_expected = float(np.abs(expected).max())
    mean_probs = sums.reference + mean
    counts, grouped, groups = sums.counts, sums.grouped, sums.group_of[labels]
    # The search needs a few numbers per row, as many as these.
    del sums, given, expected
    shift = find_shift(grouped, groups)
    columns = linear_sum_assignment(lead)[1]
    return Agreement(
        examples=n,
        share=share,
        mean_p_given=mean_p_given,
        z=total * scale,
        z_error=max(1.0, deviation * math.sqrt(n) * scale),
        coarseness=(largest + highest_expected) * scale,
        distinct=distinct,
        shift=shift,
        columns=columns,
        columns_z=float((total - lead[np.arange(num_classes), columns].sum()) * scale),
        columns_lead=_lead_over_shift(labels, probabilities, mean_probs, columns, shift.offset),
        counts=counts,
        mean_probs=mean_probs,
        lead=lead,
        lead_squares=lead_squares,
    )


class _Sums:
    """Sums over the rows of n labels, from which agreement is computed.

    All probabilities count from the mean of the first rows, so that hardly any digits are lost in differences of sums.
    """

    def __init__(self, labels: IntArray, num_classes: int) -> None:
        n = len(labels)
        self.labels = labels
        self.counts = np.bincount(labels, minlength=num_classes).astype(np.float64)
        self.shares = self.counts / n
        self.reference: FloatArray = np.empty(0)
        self.given, self.expected = np.empty(n), np.empty(n)  # p of the given class; the mean over random labels
        self.predicted = np.empty(n, np.int32)
        self.p_given, self.p_predicted = np.empty((2, n), np.float32)
        self.total, self.squares = np.zeros(num_classes), np.zeros(num_classes)
        self.highest, self.lowest = np.full(num_classes, -np.inf), np.full(num_classes, np.inf)
        self._ahead, self._ahead_squares = np.zeros((2, num_classes, num_classes))
        groups = min(num_classes, max(2, _SHIFT_VALUES // n))
        self.group_of = np.arange(num_classes) * groups // num_classes
        self._first_of_group = np.searchsorted(self.group_of, np.arange(groups))
        self.grouped = np.empty((groups, n), np.float32)

    @property
    def mean(self) -> FloatArray:
        """The (K,) mean probabilities, counted from the reference."""
        return self.total / len(self.labels)

    def add(self, positions: IntArray, pred_probs: FloatArray) -> None:
        """Add rows of probabilities, (m, K)."""
        if not self.reference.size:
            self.reference = pred_probs.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
        rows, labels = np.arange(len(pred_probs)), self.labels[positions]
        predicted = pred_probs.argmax(axis=1)
        self.predicted[positions], self.p_predicted[positions] = predicted, pred_probs[rows, predicted]
        self.p_given[positions] = pred_probs[rows, labels]
        # Sums of few rows are exact enough in float32, which is twice as fast.
        is_long = len(pred_probs) > _ROWS_PER_CLASS_IN_FLOAT32 * pred_probs.shape[1]
        values = pred_probs - self.reference.astype(np.float64 if is_long else np.float32)
        self.given[positions] = values[rows, labels]
        self.expected[positions] = values @ self.shares.astype(values.dtype)
        ones = np.ones(len(values), values.dtype)
        self.total += ones @ values
        self.squares += ones @ values**2
        self.highest = np.maximum(self.highest, values.max(axis=0))
        self.lowest = np.minimum(self.lowest, values.min(axis=0))
        # The groups are contiguous, and each has a class.
        self.grouped[:, positions] = np.add.reduceat(values, self._first_of_group, axis=1).T
        classes, class_of = np.unique(labels, return_inverse=True)
        by_class = csr_array((ones, (class_of, rows)), shape=(len(classes), len(rows)))
        ahead = values[rows, labels][:, None] - values
        self._ahead[classes] += by_class @ ahead
        self._ahead_squares[classes] += by_class @ np.square(ahead, out=ahead)

    def lead(self, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the (K, K) sums of the centred lead of the given class, and of its squares."""
        usual = mean[:, None] - mean
        counts = self.counts[:, None]
        squares = self._ahead_squares - 2 * usual * self._ahead + counts * usual**2
        return self._ahead - counts * usual, np.maximum(squares, 0)


def chance_bound(coarseness: float, log_odds: float) -> float:
    """Return the z that chance exceeds with a probability of at most exp(-log_odds).

    This is Bernstein's bound. It is the normal bound if z has many small contributions, and wider if one row
    contributes much, such as in a class of two rows.
    """
    third = log_odds * coarseness / 3
    return third + math.sqrt(third**2 + 2 * log_odds)


def _lead_over_shift(
    labels: IntArray, probabilities: ProbabilityBlocks, mean_probs: FloatArray, columns: IntArray, offset: int
) -> float:
    """Return how much better the rows fit another order of columns than a shift of rows, in standard errors.

    Returns 0 without a look at the rows if the columns are in their own order.
    """
    if (columns == np.arange(len(columns))).all():
        return 0.0
    by_columns, by_shift = columns[labels], np.roll(labels, offset)
    lead = np.empty(len(labels))
    for positions, pred_probs in probabilities.blocks():
        rows, own, shifted = np.arange(len(positions)), by_columns[positions], by_shift[positions]
        lead[positions] = pred_probs[rows, own] - mean_probs[own] - (pred_probs[rows, shifted] - mean_probs[shifted])
    error = math.sqrt(float((lead**2).sum()))
    # Smaller differences are rounding errors of float32.
    return float(lead.sum()) / error if error > 1e-6 * math.sqrt(len(lead)) else 0.0
