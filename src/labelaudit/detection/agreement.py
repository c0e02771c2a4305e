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
from scipy import fft
from scipy.optimize import linear_sum_assignment

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


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
    offset: int  # the shift of rows, other than 0, at which the labels fit best
    offset_z: float  # z at that shift
    columns: IntArray  # (K,) the order of columns in which the labels fit best: the column of each class
    columns_z: float  # z with the columns in that order
    columns_lead: float  # how much better that order fits than the shift, in standard errors; negative if worse
    labels_are_mixed: bool  # the order of rows does not depend on the labels
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


def measure_agreement(labels: IntArray, pred_probs: FloatArray) -> Agreement:
    """Measure how well `pred_probs` agree with `labels`.

    Works column by column, so that it needs only a few numbers per row beyond the input.

    Args:
        labels: (n,) int, 0..K-1, n >= 1.
        pred_probs: (n, K) distributions, rows in the order in which they were stored. A shift is searched in this
            order.
    """
    n, num_classes = pred_probs.shape
    counts = np.bincount(labels, minlength=num_classes).astype(np.float64)
    mean_probs = pred_probs.mean(axis=0, dtype=np.float64)
    p_given = pred_probs[np.arange(n), labels].astype(np.float64)
    given = p_given - mean_probs[labels]
    expected = np.zeros(n)  # mean over random labels
    squares = np.zeros(n)
    largest = 0.0
    lead = np.zeros((num_classes, num_classes))
    lead_squares = np.zeros((num_classes, num_classes))
    for k in range(num_classes):
        column = pred_probs[:, k] - mean_probs[k]
        ahead = given - column
        lead[:, k] = np.bincount(labels, weights=ahead, minlength=num_classes)
        lead_squares[:, k] = np.bincount(labels, weights=ahead**2, minlength=num_classes)
        expected += counts[k] / n * column
        squares += counts[k] / n * column**2
        largest = max(largest, float(np.abs(column).max()))
    spread = math.sqrt(max((squares - expected**2).sum(), 0.0) * n / max(n - 1, 1))
    # Smaller differences are rounding errors of float32.
    scale = 1 / spread if spread > 1e-7 * math.sqrt(n) else 0.0
    offset, offset_sum, are_mixed = _best_offset(labels, pred_probs, counts, mean_probs)
    columns = linear_sum_assignment(lead)[1]
    return Agreement(
        examples=n,
        share=float((pred_probs.argmax(axis=1) == labels).mean()),
        mean_p_given=float(p_given.mean()),
        z=float(given.sum() * scale),
        z_error=max(1.0, float((given - expected).std() * math.sqrt(n) * scale)),
        coarseness=(largest + float(np.abs(expected).max())) * scale,
        distinct=0.0 if largest < 1e-6 else len(np.unique(pred_probs.max(axis=1))) / n,
        offset=offset,
        offset_z=offset_sum * scale,
        columns=columns,
        columns_z=float((given.sum() - lead[np.arange(num_classes), columns].sum()) * scale),
        columns_lead=_lead_over_shift(pred_probs, mean_probs, columns[labels], np.roll(labels, offset)),
        labels_are_mixed=are_mixed,
        counts=counts,
        mean_probs=mean_probs,
        lead=lead,
        lead_squares=lead_squares,
    )


def chance_bound(coarseness: float, log_odds: float) -> float:
    """Return the z that chance exceeds with a probability of at most exp(-log_odds).

    This is Bernstein's bound. It is the normal bound if z has many small contributions, and wider if one row
    contributes much, such as in a class of two rows.
    """
    third = log_odds * coarseness / 3
    return third + math.sqrt(third**2 + 2 * log_odds)


def _lead_over_shift(pred_probs: FloatArray, mean_probs: FloatArray, by_columns: IntArray, by_shift: IntArray) -> float:
    """Return how much better the rows fit one choice of columns than another, in standard errors.

    Args:
        by_columns: (n,) the column of each row if the columns are in another order.
        by_shift: (n,) the column of each row if the rows are shifted.
    """
    rows = np.arange(len(pred_probs))
    lead = (pred_probs[rows, by_columns] - mean_probs[by_columns]).astype(np.float64)
    lead -= pred_probs[rows, by_shift] - mean_probs[by_shift]
    error = math.sqrt(float((lead**2).sum()))
    # Smaller differences are rounding errors of float32.
    return float(lead.sum()) / error if error > 1e-6 * math.sqrt(len(rows)) else 0.0


def _best_offset(
    labels: IntArray, pred_probs: FloatArray, counts: FloatArray, mean_probs: FloatArray
) -> tuple[int, float, bool]:
    """Return the shift, other than 0, at which the labels fit best, the fit, and whether labels are in random order.

    The fit at all shifts is the circular cross-correlation of labels and probabilities, summed over classes. At shift s
    in -n/2..n/2, the probabilities of label i are s rows further down.
    """
    n = len(labels)
    if n < 2:
        return 0, 0.0, False
    cross = np.zeros(n // 2 + 1, dtype=np.complex128)
    auto = np.zeros(n // 2 + 1)
    for k in range(len(counts)):
        has_label = fft.rfft((labels == k) - counts[k] / n)
        cross += has_label.conj() * fft.rfft(pred_probs[:, k] - mean_probs[k])
        auto += has_label.real**2 + has_label.imag**2
    fit = fft.irfft(cross, n)
    best = _nearest_of_best(fit)
    are_mixed = _are_mixed(fft.irfft(auto, n), best)
    return (best if best <= n // 2 else best - n), float(fit[best]), are_mixed


def _nearest_of_best(fit: FloatArray) -> int:
    """Return the shift, other than 0, that fits best; of several that fit equally, the one by the fewest rows.

    If the classes alternate regularly, each of K shifts fits as well as the next ones.
    """
    n = len(fit)
    best = fit[1:].max()
    equal = 1 + np.flatnonzero(fit[1:] >= best - 1e-6 * max(abs(best), 1.0))
    return int(equal[np.minimum(equal, n - equal).argmin()])


def _are_mixed(autocorrelation: FloatArray, offset: int) -> bool:
    """Return whether labels at any distance, and at `offset`, are as different as in a random order."""
    n = len(autocorrelation)
    # Each value has a standard deviation of 1/sqrt(n). By chance none of n values exceeds 6 of them.
    unit = autocorrelation[0] / math.sqrt(n)
    return bool(autocorrelation[1:].max() < 6 * unit and autocorrelation[offset] < 3 * unit)
