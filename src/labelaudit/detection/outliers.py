"""Rows that are far from all other rows in the space of their features.

A row far from its own class but close to another one has a doubtful label, but it is not an outlier. So the label of a
row does not matter for its score: the score is the mean distance to its K nearest other contents (S. Ramaswamy,
R. Rastogi and K. Shim, "Efficient algorithms for mining outliers from large data sets", 2000; J. Kuan and J. Mueller,
"Back to the basics: revisiting out-of-distribution detection baselines", 2022), divided by what is usual. Usual is the
median of all rows, or of the class of most neighbours if its rows are farther apart than others.

How far is too far depends on the data. The logarithms of the largest scores follow about a generalised Pareto
distribution (J. Pickands, "Statistical inference using extreme order statistics", 1975) for most kinds of data. It is
fitted to scores above a threshold. The farthest 2 % of all rows count only as "farther than the others", because
outliers are among them. About one row of the whole dataset is expected to exceed the cut by chance.

Many outliers look like a long tail. So the distribution is also fitted without the m farthest rows, for several m. If
clearly more than m rows exceed the cut then, these rows are not a tail: in clean data, fewer than m do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelaudit.nearest import Nearest

# K. Foreign rows in groups of more than so many are not found.
OUTLIER_NEIGHBOURS = 10
# With fewer contents, what is usual among them is unknown.
FEWEST_CONTENTS = 100
# A class with fewer rows has no usual distance of its own.
_FEWEST_IN_CLASS = 50
# The share of rows with the largest scores, which may be outliers. Their own scores do not change the cut.
_MAY_BE_OUTLIERS = 0.02
# The distribution is fitted to about so many of the largest scores, but to these shares at least and at most. A larger
# share would describe the body of the scores, and not their tail.
_FITTED_ROWS = 2_000
_FITTED_SHARES = (0.05, 0.2)
# With many rows, the search is approximate: rows may seem too far away, which looks like a long tail, but never too
# near. So the farthest 5 % are among those that seem to be the farthest 20 %, unless it misses much. Of these, so many
# random ones are compared with all rows, and the distribution is fitted to them. Only the farthest can be outliers.
_SEEMINGLY_FARTHEST = 0.2
_FITTED_AT_MOST = 16_384
_OUTLIERS_AT_MOST = 8_192
_SEED = 0
_EXPECTED_BY_CHANCE = 1.0
# The parts of the rows that may be outliers that are tried, and how many rows these must be at least.
_PARTS_TRIED = np.arange(15, 0, -1) / 20
_FEWEST_TRIED = 10
# m rows, and so many times the square root of m, must exceed the cut without m rows. In normal distributions of 300 to
# 30,000 rows and 2 to 300 dimensions, at most 0.9 m do.
_CLEARLY_MORE = 2.0
# Scores that represent all between the threshold and the largest ones.
_POINTS = 300
_SHAPES = np.arange(-45, 51) / 50
# Scales to try, relative to the distance from the threshold to the largest scores.
_SCALES = np.geomspace(0.05, 5.0, 160)
# How much less likely the shape may be than the best one: one standard error. With few rows, the shape is uncertain,
# and a longer tail lists fewer rows.
_LESS_LIKELY = 0.5
_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class FoundOutliers:
    """What is unusual about n rows.

    Attributes:
        score: (n,) float32, the distance from the nearest others, relative to the usual one; 1 is usual.
        cut: a row with a larger score is an outlier, if it was compared with all others; infinite if the rows are too
            few or too alike.
        is_outlier: (n,) bool.
        near_class: (n,) int64, the class of most of the nearest others.
    """

    score: np.ndarray
    cut: float
    is_outlier: np.ndarray
    near_class: np.ndarray

    def of(self, contents: np.ndarray) -> FoundOutliers:
        """Return what is unusual about other rows, given by their contents, (m,)."""
        return FoundOutliers(self.score[contents], self.cut, self.is_outlier[contents], self.near_class[contents])


class _Distances(NamedTuple):
    """How far n contents are from their nearest others.

    Attributes:
        relative: (n,) float64, relative to what is usual in the class of most neighbours.
        usual: the median distance.
        near_class: (n,) int64, this class.
    """

    relative: np.ndarray
    usual: float
    near_class: np.ndarray

    @classmethod
    def of(cls, nearest: Nearest, labels: np.ndarray) -> _Distances:
        near_class = _most_frequent(labels, nearest.positions[:, :OUTLIER_NEIGHBOURS])
        distance = nearest.distances[:, :OUTLIER_NEIGHBOURS].mean(axis=1, dtype=np.float64)
        usual = float(np.median(distance))
        of_class = np.full(int(labels.max(initial=0)) + 1, usual)
        counts = np.bincount(labels)
        for number in np.flatnonzero(counts >= _FEWEST_IN_CLASS):
            of_class[number] = max(usual, np.median(distance[labels == number]))
        return cls(distance / np.maximum(of_class[near_class], _SMALLEST), usual, near_class)


@dataclass(frozen=True)
class FarRows:
    """The rows that must be compared with all others before `find_outliers`.

    Attributes:
        may_be_outliers: positions of the rows that seem to be the farthest.
        fitted: positions of the rows to which the cut is fitted.
        stands_for: how many of the farthest rows each fitted row stands for.
    """

    may_be_outliers: np.ndarray
    fitted: np.ndarray
    stands_for: float

    @classmethod
    def of(cls, nearest: Nearest, labels: np.ndarray) -> FarRows:
        """Return these rows, given the class numbers (n,), and neighbours that may not be the nearest."""
        order = np.argsort(-_Distances.of(nearest, labels).relative, kind="stable")
        if nearest.is_exact:
            return cls(order, order, 1.0)
        far = order[: max(_FITTED_AT_MOST, int(_SEEMINGLY_FARTHEST * len(order)))]
        fitted = np.random.default_rng(_SEED).permutation(far)[:_FITTED_AT_MOST]
        return cls(order[:_OUTLIERS_AT_MOST], fitted, len(far) / len(fitted))

    @property
    def all(self) -> np.ndarray:
        return np.union1d(self.may_be_outliers, self.fitted)


def find_outliers(nearest: Nearest, labels: np.ndarray, far: FarRows) -> FoundOutliers:
    """Find the outliers among different contents.

    Args:
        nearest: at least OUTLIER_NEIGHBOURS neighbours of each of n contents.
        labels: (n,) int64, class numbers.
        far: the rows that were compared with all others.
    """
    distances = _Distances.of(nearest, labels)
    if distances.usual <= _SMALLEST:
        # Most contents are at the same point, so nothing is a usual distance.
        nothing = np.full(len(labels), np.nan, np.float32)
        return FoundOutliers(nothing, float("inf"), np.zeros(len(labels), bool), distances.near_class)
    score = distances.relative.astype(np.float32)
    cut = _cut(score[far.fitted], len(score), far.stands_for)
    is_outlier = np.zeros(len(score), bool)
    is_outlier[far.may_be_outliers] = score[far.may_be_outliers] > cut
    return FoundOutliers(score, cut, is_outlier, distances.near_class)


def _most_frequent(labels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the most frequent class among the neighbours of each row, (n,); of several, the smallest number."""
    near = np.sort(labels[positions], axis=1)
    best, most = near[:, 0].copy(), np.ones(len(near), np.int64)
    run = np.ones(len(near), np.int64)
    for column in range(1, near.shape[1]):
        run = np.where(near[:, column] == near[:, column - 1], run + 1, 1)
        is_more = run > most
        best, most = np.where(is_more, near[:, column], best), np.maximum(most, run)
    return best


def _cut(score: np.ndarray, rows: int, stands_for: float) -> float:
    """Return the score that about one of `rows` exceeds by chance; infinite if that is unknown.

    Args:
        score: (m,) float32, those of the farthest rows.
        rows: number of all rows.
        stands_for: how many of the farthest rows each of the m stands for.
    """
    if rows < FEWEST_CONTENTS:
        return float("inf")
    ordered = np.log(np.maximum(np.sort(score), _SMALLEST).astype(np.float64))
    count = len(ordered)
    share = float(np.clip(_FITTED_ROWS / rows, *_FITTED_SHARES))
    first, last = (count - int((rows - int((1 - part) * rows)) / stands_for) for part in (share, _MAY_BE_OUTLIERS))
    threshold, farthest = ordered[first], ordered[last] - ordered[first]
    if farthest <= 0:
        return float("inf")

    def without(outliers: int) -> float:
        shape, scale = _tail(ordered[first:last] - threshold, farthest, count - last - outliers)
        by_chance = _EXPECTED_BY_CHANCE / ((count - first) * stands_for)
        beyond = -np.log(by_chance) if shape == 0 else np.expm1(-shape * np.log(by_chance)) / shape
        return float(threshold + scale * beyond)

    for outliers in (int(part * (count - last)) for part in _PARTS_TRIED):
        if outliers >= _FEWEST_TRIED:
            cut = without(outliers)
            if (ordered > cut).sum() >= outliers + _CLEARLY_MORE * np.sqrt(outliers):
                return float(np.exp(cut))
    return float(np.exp(without(0)))


def _tail(excesses: np.ndarray, farthest: float, beyond: int) -> tuple[float, float]:
    """Return shape and scale of a generalised Pareto distribution, with the longest tail that fits nearly best.

    Args:
        excesses: (m,) float64, over the threshold, ascending.
        farthest: the excess that other rows exceed, by unknown amounts.
        beyond: number of these.
    """
    chosen = excesses[((np.arange(_POINTS) + 0.5) / _POINTS * len(excesses)).astype(np.int64)]
    scales = farthest * _SCALES
    likelihoods, best_scales = np.empty(len(_SHAPES)), np.empty(len(_SHAPES))
    for number, shape in enumerate(_SHAPES):
        density = -np.log(scales) - (1 + shape) * _exponents(chosen[:, None] / scales, shape).mean(axis=0)
        likelihood = len(excesses) * density - beyond * _exponents(farthest / scales, shape)
        best = int(np.argmax(likelihood))
        likelihoods[number], best_scales[number] = likelihood[best], scales[best]
    longest = int(np.flatnonzero(likelihoods >= likelihoods.max() - _LESS_LIKELY)[-1])
    return float(_SHAPES[longest]), float(best_scales[longest])


def _exponents(ratios: np.ndarray, shape: float) -> np.ndarray:
    """Return minus the logarithm of the probability to exceed some excesses, divided by their scale."""
    if shape == 0:
        return ratios
    inside = 1 + shape * ratios
    with np.errstate(divide="ignore", invalid="ignore"):
        # Beyond the end of a bounded distribution, nothing is possible.
        return np.asarray(np.where(inside > 0, np.log(np.maximum(inside, 0)) / shape, np.inf))
