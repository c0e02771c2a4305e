"""Pairs of points that are so close that chance does not explain it.

Near-copies are much closer to each other than other rows are to their neighbours. How close is close depends on the
data. If the density is even around a row and the data has m dimensions there, the nearest of K neighbours is closer
than r times the distance of the K-th one with a probability of about (K - 1) r^m. The limit for r is chosen such that
about one pair of the whole dataset is expected to be so close by chance. Data with few dimensions, such as drawn
digits, gets a stricter limit than photographs.

The ratio of distances is that of D. Lowe, "Distinctive image features from scale-invariant keypoints", 2004. The
dimension is estimated as by E. Levina and P. Bickel, "Maximum likelihood estimation of intrinsic dimension", 2004.

More than about K / 2 near-copies of a row look like a dense region and are not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelaudit.nearest import Nearest, find_nearest

# K. More neighbours find larger clusters, but describe the surroundings of a row less locally.
NEIGHBOURS = 20
# With fewer rows, what is usual among them is unknown.
FEWEST_POINTS = 50
# The expected number of pairs in the whole dataset that are this close by chance.
_EXPECTED_BY_CHANCE = 1.0
# However many dimensions: variants of a product photograph are nearer than half of the usual distance too.
_MAX_RATIO = 0.5
_SMALLEST = np.finfo(np.float32).tiny
# Rows whose neighbours are looked at together.
_BLOCK = 2**16
# Dimensions outside these are not plausible.
_DIMENSIONS = (1.0, 1_000.0)


@dataclass(frozen=True)
class ClosePairs:
    """P pairs of rows.

    Attributes:
        first, second: (P,) int64, positions of the rows.
        distance: (P,) float32, 0..1: for points, the distance as a share of that of their K-th neighbour.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray

    @classmethod
    def none(cls) -> ClosePairs:
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))

    def and_also(self, others: ClosePairs) -> ClosePairs:
        """Return the pairs of both. A pair may come twice."""
        columns = ("first", "second", "distance")
        return ClosePairs(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in columns))

    def __len__(self) -> int:
        return len(self.first)


def close_pairs(points: np.ndarray) -> ClosePairs:
    """Return the pairs of points that are too close to be chance.

    Args:
        points: (n, d) float. Equal points should be passed once, because they hide what is usual.

    Returns:
        Pairs, first < second, each once, sorted; none if there are fewer than FEWEST_POINTS points.
    """
    if len(points) < FEWEST_POINTS:
        return ClosePairs.none()
    return too_close(find_nearest(points, NEIGHBOURS))


def too_close(nearest: Nearest) -> ClosePairs:
    """Return what `close_pairs` returns, from the NEIGHBOURS nearest neighbours of each point."""
    limits = _max_ratios(nearest)
    found = [_pairs_of(nearest, limits, start) for start in range(0, len(limits), _BLOCK)]
    first, second, ratio = (np.concatenate(column) for column in zip(*found, strict=True))
    pairs, at = np.unique(np.stack([first, second], axis=1), axis=0, return_index=True)
    return ClosePairs(pairs[:, 0], pairs[:, 1], ratio[at])


def _pairs_of(nearest: Nearest, limits: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the close pairs of a block of rows: the smaller position, the larger one, and the distance."""
    row = np.arange(start, min(start + _BLOCK, len(limits)))[:, None]
    other = nearest.positions[row[:, 0], :-1].astype(np.int64)
    usual = np.minimum(nearest.distances[row, -1], nearest.distances[other, -1])
    ratio = nearest.distances[row[:, 0], :-1] / np.maximum(usual, _SMALLEST)
    # At a usual distance of 0, too many rows are equal to say anything.
    is_close = (ratio < np.minimum(limits[row], limits[other])) & (usual > _SMALLEST)
    first, second = np.minimum(row, other)[is_close], np.maximum(row, other)[is_close]
    return first, second, ratio[is_close].astype(np.float32)


def _max_ratios(nearest: Nearest) -> np.ndarray:
    """Return (n,) the limit for the ratio of each row."""
    dimensions = _dimensions(nearest)
    by_chance = _EXPECTED_BY_CHANCE / ((NEIGHBOURS - 1) * len(dimensions))
    limits: np.ndarray = np.minimum(by_chance ** (1 / dimensions), _MAX_RATIO)
    return limits


def _dimensions(nearest: Nearest) -> np.ndarray:
    """Return (n,) the intrinsic dimension of the data around each row.

    With the K neighbours of a row at distances d_1 to d_K, m log(d_K / d_j) is the j-th largest of K - 1 exponentially
    distributed numbers. Only the farther half of the neighbours counts, because the nearer ones may be copies. Averaged
    over neighbours as 1/m (D. MacKay and Z. Ghahramani, "Comments on Maximum likelihood estimation of intrinsic
    dimension", 2005).
    """
    distances = np.maximum(nearest.distances, _SMALLEST)
    half = NEIGHBOURS // 2
    logarithms = np.log(distances[:, -1:] / distances[:, half - 1 : -1]).sum(axis=1)
    # The expected j-th largest of n exponential numbers is 1/n + 1/(n - 1) + ... + 1/j.
    expected = sum(sum(1 / k for k in range(j, NEIGHBOURS)) for j in range(half, NEIGHBOURS))
    inverse = logarithms / expected
    low, high = _DIMENSIONS
    inverse = np.clip(inverse, 1 / high, 1 / low)
    around = inverse[nearest.positions].mean(axis=1)
    dimensions: np.ndarray = 1 / around
    return dimensions
