"""Rows as points in a plane, such that rows with near features are near each other.

The first positions are the two principal components, which keep the large distances. Then points are drawn to their
neighbours and pushed away from random others, as by L. McInnes, J. Healy and J. Melville, "UMAP: uniform manifold
approximation and projection", 2018, with equal weights and few steps. So near points are alike, but the distance
between two groups says little.
"""

from __future__ import annotations

import numpy as np

from labelaudit.nearest import Nearest

# Neighbours that draw a point, and random others that push it, in each step. As in UMAP, there are five of these for
# each neighbour, so they count five times as much.
_DRAWING, _PUSHING = 10, 5
_PUSHING_WEIGHT = 5.0
# Points are moved so many times in all, within these limits of steps.
_MOVES, _STEPS = 10_000_000, (30, 150)
# The standard deviation of the first positions, in units of the distance of two neighbours.
_EXTENT = 10.0
_FASTEST = 4.0
_BLOCK = 2**16
_SEED = 0


def principal_plane(points: np.ndarray) -> np.ndarray:
    """Return the two principal components of points, (n, 2) float32, with a standard deviation of 1 or less.

    Args:
        points: (n, d) float32.
    """
    mean = points.mean(axis=0, dtype=np.float64)
    spread: np.ndarray = np.zeros((points.shape[1], points.shape[1]))
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK] - mean
        spread += block.T @ block
    values, directions = np.linalg.eigh(spread / len(points))
    first = directions[:, ::-1][:, :2]
    # The sign of a direction is arbitrary: its largest part is positive.
    largest = first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])]
    first = np.where(largest < 0, -first, first)
    scale = float(max(values[-1], np.finfo(np.float32).tiny)) ** 0.5
    plane = np.zeros((len(points), 2), np.float32)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK] - mean
        plane[start : start + _BLOCK, : first.shape[1]] = block @ first / scale
    return plane


def map_layout(nearest: Nearest, plane: np.ndarray) -> np.ndarray:
    """Return the positions of n points on the map, (n, 2) float32.

    Args:
        nearest: their neighbours.
        plane: (n, 2) of `principal_plane`.
    """
    count = len(plane)
    steps = int(np.clip(_MOVES // count, *_STEPS))
    generator = np.random.default_rng(_SEED)
    place = _EXTENT * plane
    for step in range(steps):
        pace = 1 - step / steps
        moved = np.empty_like(place)
        for start in range(0, count, _BLOCK):
            own = place[start : start + _BLOCK, None]
            near = place[nearest.positions[start : start + _BLOCK, :_DRAWING]] - own
            far = own - place[generator.integers(0, count, (len(own), _PUSHING))]
            moved[start : start + _BLOCK] = own[:, 0] + pace * (_drawn(near) + _PUSHING_WEIGHT * _pushed(far))
        place = moved
    return place


def _drawn(difference: np.ndarray) -> np.ndarray:
    squares = (difference**2).sum(axis=2, keepdims=True)
    return np.asarray((difference * (2 / (1 + squares))).mean(axis=1))


def _pushed(difference: np.ndarray) -> np.ndarray:
    squares = (difference**2).sum(axis=2, keepdims=True)
    force = difference * (2 / ((0.001 + squares) * (1 + squares)))
    return np.asarray(np.clip(force, -_FASTEST, _FASTEST).mean(axis=1))
