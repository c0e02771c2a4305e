"""The search for a shift of rows: at which offset do labels fit the probabilities best?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

_FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Shift:
    """The shift of rows, other than 0, at which labels fit best.

    Of many rows with many classes, classes are put into groups. Then all numbers are of the groups.
    """

    offset: int  # at shift s, the probabilities of label i are s rows further down
    z: float  # agreement at that shift, in standard deviations of the permutation null
    unshifted_z: float  # agreement of rows in their own places
    coarseness: float  # upper bound of the contribution of one row to z
    labels_are_mixed: bool  # the order of rows does not depend on the labels


def find_shift(columns: npt.NDArray[np.float32], groups: npt.NDArray[np.integer]) -> Shift:
    """Search the shift at which the groups of the labels fit best.

    The fit at all shifts is the circular cross-correlation of labels and probabilities, summed over groups. Works group
    by group, so that it needs only a few numbers per row beyond the input.

    Args:
        columns: (G, n) the probability of each group in each row, counted from any number.
        groups: (n,) the group of each label, 0..G-1.
    """
    n = len(groups)
    shares = np.bincount(groups, minlength=len(columns)) / n
    cross = np.zeros(n // 2 + 1, dtype=np.complex128)
    auto = np.zeros(n // 2 + 1)
    expected, squares = np.zeros(n), 0.0
    largest = 0.0
    for group, share in enumerate(shares):
        column = columns[group].astype(np.float64)
        column -= column.mean()
        expected += share * column
        squares += share * float(column @ column)
        largest = max(largest, float(np.abs(column).max()))
        has_label = fft.rfft((groups == group) - share)
        cross += has_label.conj() * fft.rfft(column)
        auto += has_label.real**2 + has_label.imag**2
    if n < 2:
        return Shift(0, 0.0, 0.0, 0.0, labels_are_mixed=False)
    spread = math.sqrt(max(squares - float(expected @ expected), 0.0) * n / (n - 1))
    # Smaller differences are rounding errors of float32.
    scale = 1 / spread if spread > 1e-7 * math.sqrt(n) else 0.0
    fit = fft.irfft(cross, n)
    best = _nearest_of_best(fit)
    return Shift(
        offset=best if best <= n // 2 else best - n,
        z=float(fit[best]) * scale,
        unshifted_z=float(fit[0]) * scale,
        coarseness=(largest + float(np.abs(expected).max())) * scale,
        labels_are_mixed=_are_mixed(fft.irfft(auto, n), best),
    )


def _nearest_of_best(fit: _FloatArray) -> int:
    """Return the shift, other than 0, that fits best; of several that fit equally, the one by the fewest rows.

    If the classes alternate regularly, each of K shifts fits as well as the next ones.
    """
    n = len(fit)
    best = fit[1:].max()
    equal = 1 + np.flatnonzero(fit[1:] >= best - 1e-6 * max(abs(best), 1.0))
    return int(equal[np.minimum(equal, n - equal).argmin()])


def _are_mixed(autocorrelation: _FloatArray, offset: int) -> bool:
    """Return whether labels at any distance, and at `offset`, are as different as in a random order."""
    n = len(autocorrelation)
    # Each value has a standard deviation of 1/sqrt(n). By chance none of n values exceeds 6 of them.
    unit = autocorrelation[0] / math.sqrt(n)
    return bool(autocorrelation[1:].max() < 6 * unit and autocorrelation[offset] < 3 * unit)
