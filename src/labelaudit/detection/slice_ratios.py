"""Compare the wrong labels of each slice with those of all other rows: ratios with intervals, and evidence.

A slice is the rows with one value in a column, such as one annotator. The number of its wrong labels is not known. It
is estimated by the sum of `p_wrong`, and treated like a count of so many wrong labels. For n rows with the mean m, the
variance of that count is n m (1 - m): the sum of p (1 - p) over the rows, because each label may be right or wrong, and
the spread of p between the rows.

Rows of one group, such as the frames of one video, are alike. So the variance is multiplied by the design effect of
Kish, "Survey Sampling" (1965): how much the variance of the sums of groups exceeds that of independent rows.

`p_wrong` does not know the slices. If it is unsure about many rows, it moves every slice towards the mean, so the ratio
of wrong labels is probably further from 1 than the ratio here.

Slices with other classes than the rest are compared within each given label. The ratio is that of Mantel and Haenszel
(1959), the interval that of Greenland and Robins, "Estimation of a common effect parameter from sparse follow-up data",
Biometrics 41 (1985). With one class, it is the interval of Katz et al., Biometrics 34 (1978).

Evidence is a permutation test: if rows of the same given label were assigned to slices by chance, how often would the
sum of p_wrong be so large? Mean, variance and skewness of this sum are exact for independent rows. Its upper tail is
that of a Pearson distribution of type III (as in Mielke and Berry, "Permutation Methods", 2007). If p_wrong is 0 or 1,
the sum has the hypergeometric distribution. The correction for many slices is that of Benjamini and Hochberg, JRSS B 57
(1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]

# A value with fewer scored rows or groups, or with fewer of them to compare it with, is not tested.
FEWEST_TESTED = 10
# This quantile of the standard normal distribution gives a 95 % interval.
_Z = 1.959963984540054
# With more possible pairs of slice and class, and few rows, counters would need more memory than the rows.
_SORTED_FROM = 2**20
# Below this skewness, the tail is that of a normal distribution.
_SYMMETRIC = 1e-3


@dataclass(frozen=True)
class Ratios:
    """The ratios of V slices to the others, with 95 % intervals: (V,) each, NaN if there is nothing to compare."""

    ratio: _Floats
    low: _Floats
    high: _Floats


@dataclass(frozen=True)
class SliceMeasures:
    """What was measured of V slices, (V,) each.

    Attributes:
        scored: scored rows.
        flagged: flagged rows.
        expected_wrong: sum of p_wrong.
        ratio: of the shares of wrong labels, among rows with the same given label.
        plain_ratio: the same among all rows.
        flag_ratio: of the shares of flagged rows, among rows with the same given label.
        p_value: of the test that its rows are as doubtful as others with the same label; NaN if too few are compared.
    """

    scored: _Integers
    flagged: _Integers
    expected_wrong: _Floats
    ratio: Ratios
    plain_ratio: Ratios
    flag_ratio: Ratios
    p_value: _Floats


def measure_slices(
    code: npt.NDArray[np.integer],
    values: int,
    label: npt.NDArray[np.integer],
    p_wrong: npt.NDArray[np.floating],
    is_flagged: npt.NDArray[np.bool_],
    group: npt.NDArray[np.integer] | None = None,
) -> SliceMeasures:
    """Compare each slice with all other rows.

    Args:
        code: (M,) the slice of each scored row, 0..V-1.
        values: V.
        label: (M,) class numbers of the given labels.
        p_wrong: (M,) in 0..1.
        is_flagged: (M,).
        group: (M,) numbers that rows of one group share. None: each row is a group of its own.
    """
    wrong = np.asarray(p_wrong, np.float64)
    unit = None if group is None else _Units.of(code, values, group)
    cells = _Cells.of(code, values, label, unit)
    one_class = _Cells.of(code, values, np.zeros(len(code), np.int64), unit)
    return SliceMeasures(
        scored=one_class.by_slice(one_class.rows).astype(np.int64),
        flagged=np.bincount(code[is_flagged], minlength=values),
        expected_wrong=_summed(code, wrong, values),
        ratio=_ratios(cells, wrong),
        plain_ratio=_ratios(one_class, wrong),
        flag_ratio=_ratios(cells, is_flagged.astype(np.float64)),
        p_value=_p_values(cells, wrong),
    )


def adjusted_p_values(p_values: _Floats) -> _Floats:
    """Return the smallest false discovery rate at which each test is significant; NaN if there is no p-value."""
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return adjusted


@dataclass(frozen=True)
class _Units:
    """The parts of groups that are in one slice, U of them."""

    unit: _Integers  # (M,) the part of each row
    by_slice: _Integers  # (V,) parts of each slice

    @classmethod
    def of(cls, code: npt.NDArray[np.integer], values: int, group: npt.NDArray[np.integer]) -> _Units:
        parts, unit = np.unique(group.astype(np.int64) * max(1, values) + code, return_inverse=True)
        return cls(unit, np.bincount(parts % max(1, values), minlength=values))


@dataclass(frozen=True)
class _Cells:
    """The pairs of a slice and a class that have rows, C of them."""

    slice: _Integers  # (C,)
    label: _Integers  # (C,)
    rows: _Floats  # (C,)
    of_class: _Floats  # (C,) rows of the class in all slices
    cell: _Integers  # (M,) the pair of each row
    values: int
    units: _Units | None  # None: each row is a group of its own

    @classmethod
    def of(
        cls, code: npt.NDArray[np.integer], values: int, label: npt.NDArray[np.integer], units: _Units | None
    ) -> _Cells:
        classes = int(label.max(initial=0)) + 1
        pairs, cell, rows = _numbered(code.astype(np.int64) * classes + label, values * classes)
        of_pair = pairs % classes
        counts = rows.astype(np.float64)
        of_class = _summed(of_pair, counts, classes)[of_pair]
        return cls(pairs // classes, of_pair, counts, of_class, cell, values, units)

    def by_slice(self, amounts: _Floats) -> _Floats:
        """Return the sums over the classes of each slice, (V,), of amounts (C,)."""
        return _summed(self.slice, amounts, self.values)

    def sums(self, weights: _Floats) -> _Floats:
        """Return the sums over the rows of each pair, (C,), of weights (M,)."""
        return _summed(self.cell, weights, len(self.rows))

    def by_class(self, amounts: _Floats) -> _Floats:
        """Return the sums over all slices with the same class, (C,), of amounts (C,)."""
        return _summed(self.label, amounts, 0)[self.label]

    @property
    def others(self) -> _Floats:
        """The rows of the same class in other slices, (C,)."""
        return self.of_class - self.rows

    def away_from_class(self, weights: _Floats) -> _Floats:
        """Return weights (M,) minus the mean weight of their class."""
        mean = self.by_class(self.sums(weights)) / self.of_class
        return np.asarray(weights - mean[self.cell], np.float64)

    def group_effects(self, weights: _Floats) -> tuple[float, float]:
        """Return how many times as large the second and third moment of sums are because rows are in groups."""
        if self.units is None or not len(weights):
            return 1.0, 1.0
        away = self.away_from_class(weights)
        sums = _summed(self.units.unit, away, 0)
        second, third = (float((away**power).sum()) for power in (2, 3))
        return (
            max(1.0, float((sums**2).sum()) / second) if second > 0 else 1.0,
            max(1.0, float((sums**3).sum()) / third) if third > 0 else 1.0,
        )

    def fewest_groups(self) -> _Integers | None:
        """Return the number of groups of each slice or of the others, the smaller one; None without groups."""
        if self.units is None:
            return None
        own = self.units.by_slice
        return np.asarray(np.minimum(own, own.sum() - own), np.int64)


def _numbered(pairs: _Integers, possible: int) -> tuple[_Integers, _Integers, _Integers]:
    """Return the distinct pairs, ascending; the number of each row's pair among them; and the rows of each."""
    if possible > _SORTED_FROM + 4 * len(pairs):
        return np.unique(pairs, return_inverse=True, return_counts=True)
    # Counting is faster than sorting.
    rows = np.bincount(pairs, minlength=possible)
    distinct = np.flatnonzero(rows)
    number = np.cumsum(rows > 0) - 1
    return distinct, number[pairs], rows[distinct]


def _summed(group: npt.NDArray[np.integer], amounts: _Floats, groups: int) -> _Floats:
    """Return the sums of amounts by group, at least (groups,)."""
    return np.asarray(np.bincount(group, amounts, groups), np.float64)


def _ratios(cells: _Cells, weights: _Floats) -> Ratios:
    """Return ratios of Mantel and Haenszel with the intervals of Greenland and Robins."""
    inside = cells.sums(weights)
    outside = np.maximum(cells.by_class(inside) - inside, 0.0)
    rows, others, total = cells.rows, cells.others, cells.of_class
    ours = cells.by_slice(inside * others / total)
    theirs = cells.by_slice(outside * rows / total)
    effect, _ = cells.group_effects(weights)
    spread = effect * cells.by_slice(rows * others * (inside + outside) / total**2 - inside * outside / total)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(theirs > 0, ours / theirs, np.nan)
        margin = np.exp(_Z * np.sqrt(np.maximum(spread, 0.0) / (ours * theirs)))
        low, high = ratio / margin, ratio * margin
    is_known = np.isfinite(high)
    return Ratios(ratio, np.where(is_known, low, np.nan), np.where(is_known, high, np.nan))


def _p_values(cells: _Cells, weights: _Floats) -> _Floats:
    """Return the probability of at least the observed sums if rows of a class were assigned to slices by chance."""
    rows, others, total = cells.rows, cells.others, cells.of_class
    away = cells.away_from_class(weights)
    effects = cells.group_effects(weights)
    second = effects[0] * cells.by_class(cells.sums(away**2)) / total
    third = effects[1] * cells.by_class(cells.sums(away**3)) / total
    variance = cells.by_slice(second * rows * others / np.maximum(total - 1, 1))
    skewed = third * rows * others * (others - rows) / np.maximum((total - 1) * (total - 2), 1)
    excess = cells.by_slice(cells.sums(away))
    is_compared = others > 0
    fewest = np.minimum(cells.by_slice(rows * is_compared), cells.by_slice(others))
    groups = cells.fewest_groups()
    fewest = fewest if groups is None else np.minimum(fewest, groups)
    is_tested = (fewest >= FEWEST_TESTED) & (variance > 0)
    deviation = np.sqrt(np.where(is_tested, variance, 1.0))
    tail = _upper_tail(excess / deviation, cells.by_slice(skewed) / deviation**3)
    return np.where(is_tested, tail, np.nan)


def _upper_tail(score: _Floats, skewness: _Floats) -> _Floats:
    """Return the probability of at least a standardised score. Negative skewness counts as none, which is careful."""
    is_skewed = skewness > _SYMMETRIC
    shape = 4.0 / np.where(is_skewed, skewness, 1.0) ** 2
    at = np.maximum(shape + score * np.sqrt(shape), 0.0)
    tail: _Floats = np.where(is_skewed, special.gammaincc(shape, at), special.ndtr(-score))
    return tail
