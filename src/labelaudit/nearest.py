"""The nearest neighbours of each of many points, without comparing all pairs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from labelaudit.read_ahead import mapped_ahead

_T = TypeVar("_T")

# Up to this many points, all are compared.
_MAX_COMPARED = 8_192
# Dimensions in which neighbours are searched. A random projection to so many keeps distances within about 9 %
# (W. Johnson and J. Lindenstrauss, 1984).
_MAX_DIMENSIONS = 128
# Points are divided into cells around random points. Each is compared with the points for which its cell is one of
# the two nearest.
_POINTS_PER_CELL = 1_024
_MAX_DEPTH = 4
# Numbers in a block of distances, 16 MiB. Computing a block takes about five times this memory.
_BLOCK_NUMBERS = 2**22
# Numbers in a block of distances from all points: a block of fewer points would read all the others too often.
_WIDE_BLOCK_NUMBERS = 2**24
# Blocks that are computed side by side, to limit memory.
_MOST_THREADS = 4
# Relative to the largest square of a norm.
_ROUNDING = 1e-5
_SEED = 0


@dataclass(frozen=True)
class Nearest:
    """The nearest neighbours of n points.

    Attributes:
        positions: (n, k) int32, the nearest first. A point is never its own neighbour.
        distances: (n, k) float32, ascending. Points without k neighbours in their cell repeat the last one.
        is_exact: whether all points were compared. Otherwise closer ones may be missing.
    """

    positions: np.ndarray
    distances: np.ndarray
    is_exact: bool


@dataclass(frozen=True, eq=False)
class _Members:
    """The points with which others are compared.

    Attributes:
        numbers: (m,) int64, their positions among all points.
        points: (m, d) float32.
        squared_norms: (m,) float32, computed once for all blocks.
    """

    numbers: np.ndarray
    points: np.ndarray
    squared_norms: np.ndarray


def find_nearest(points: np.ndarray, count: int) -> Nearest:
    """Return the `count` nearest points of each point, by Euclidean distance.

    With many points, the search is approximate: a point is compared with some thousand others around it instead of all.
    The order of the points matters only for the choice of cells. Threads of this module share the work. Their number
    does not change the result if linear algebra uses one thread.

    Args:
        points: (n, d) float, n > `count`.
    """
    points = projected(points)
    # Squares of very large and very small numbers do not fit into float32.
    scale = float(np.abs(points).max(initial=0.0)) or 1.0
    points = points / np.float32(scale)
    positions = np.zeros((len(points), count), np.int32)
    squares = np.full((len(points), count), np.inf, np.float32)
    everyone = np.arange(len(points))
    norms = _squared_norms(points)

    def parts() -> Iterator[tuple[np.ndarray, _Members]]:
        for queries, members in _cells(points, everyone, everyone):
            around = _Members(members, points[members], norms[members])
            for block in _blocks(queries, len(members)):
                yield block, around

    def search(part: tuple[np.ndarray, _Members]) -> None:
        block, around = part
        positions[block], squares[block] = _within(points[block], block, around, count)

    _side_by_side(search, parts())
    distances = np.sqrt(np.maximum(squares, 0)) * np.float32(scale)
    return Nearest(positions, distances, is_exact=len(points) <= _MAX_COMPARED)


def with_all_compared(points: np.ndarray, nearest: Nearest, rows: np.ndarray) -> Nearest:
    """Return the same neighbours, but of some points those of a search among all points.

    Args:
        points: (n, d) float32, d at most 128, of `nearest`.
        rows: (m,) positions of the points whose neighbours are searched again.
    """
    if nearest.is_exact:
        return nearest
    count = nearest.positions.shape[1]
    positions, distances = nearest.positions.copy(), nearest.distances.copy()
    norms = _squared_norms(points)
    # The squares below are differences, and are wrong by this at most.
    rounding = _ROUNDING * float(norms.max(initial=0.0))

    def search(block: np.ndarray) -> None:
        squares = _squares(points[block], points, norms)
        # A point is not its own neighbour: no limit includes NaN, and it is sorted last.
        squares[np.arange(len(block)), block] = np.nan
        # No neighbour is farther than the known ones, so only points up to there must be sorted.
        limits = distances[block, -1] ** 2 + 2 * rounding
        for row, others, limit in zip(block.tolist(), squares, limits, strict=True):
            near = np.flatnonzero(others <= limit)
            if len(near) < count:
                # Too few neighbours are known: the cell of the point has fewer points.
                near = np.argpartition(others, count - 1)[:count]
            positions[row], distances[row] = _nearest_among(points, row, near, count)

    _side_by_side(search, _blocks(rows, len(points), _WIDE_BLOCK_NUMBERS))
    return Nearest(positions, distances, is_exact=False)


def _nearest_among(points: np.ndarray, row: int, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of some other points, at least `count`, and their distances."""
    distances = np.sqrt(((points[others] - points[row]) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")[:count]
    return others[order], distances[order]


def with_exact_distances(nearest: Nearest, rows_of: Callable[[np.ndarray], np.ndarray], dimensions: int) -> Nearest:
    """Return the same neighbours with distances in all dimensions, and in their order.

    Args:
        rows_of: Returns the points at some positions, (b, d) float32. Threads call it.
        dimensions: d.
    """
    positions, distances = np.empty_like(nearest.positions), np.empty_like(nearest.distances)
    count = positions.shape[1]

    def measure(block: np.ndarray) -> None:
        found = nearest.positions[block]
        others = rows_of(found.ravel()).reshape(len(block), count, dimensions)
        others -= rows_of(block)[:, None, :]
        exact = np.sqrt(np.einsum("bkd,bkd->bk", others, others))
        order = np.argsort(exact, axis=1, kind="stable")
        positions[block] = np.take_along_axis(found, order, axis=1)
        distances[block] = np.take_along_axis(exact, order, axis=1)

    _side_by_side(measure, _blocks(np.arange(len(positions)), count * dimensions))
    return Nearest(positions, distances, nearest.is_exact)


def projected(points: np.ndarray) -> np.ndarray:
    """Return points in at most 128 dimensions, (n, min(d, 128)) float32."""
    dimensions = points.shape[1]
    if dimensions <= _MAX_DIMENSIONS:
        return np.asarray(points, np.float32)
    directions = np.random.default_rng(_SEED).normal(size=(dimensions, _MAX_DIMENSIONS)) / np.sqrt(_MAX_DIMENSIONS)
    out = np.empty((len(points), _MAX_DIMENSIONS), np.float32)
    for block in _blocks(np.arange(len(points)), dimensions):
        out[block] = np.asarray(points[block[0] : block[-1] + 1], np.float32) @ directions.astype(np.float32)
    return out


def _cells(
    points: np.ndarray, queries: np.ndarray, members: np.ndarray, depth: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield parts of some points, and the members with which they are compared. Large cells are divided again."""
    if len(members) <= _MAX_COMPARED:
        yield queries, members
        return
    if depth == _MAX_DEPTH:
        # These points are nearly equal.
        for start in range(0, len(queries), _MAX_COMPARED):
            part = queries[start : start + _MAX_COMPARED]
            yield part, part
        return
    chosen = np.random.default_rng(_SEED).choice(len(members), len(members) // _POINTS_PER_CELL, replace=False)
    centres = points[members[np.sort(chosen)]]
    cells = _two_nearest(points, members, centres)
    is_query = np.isin(members, queries, assume_unique=True)
    for cell in range(len(centres)):
        is_own, is_near = cells[:, 0] == cell, cells[:, 1] == cell
        own = members[is_own & is_query]
        if len(own):
            yield from _cells(points, own, members[is_own | is_near], depth + 1)


def _two_nearest(points: np.ndarray, rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the nearest and the second nearest centre of some points, (n, 2) int32."""
    cells = np.empty((len(rows), 2), np.int32)
    norms = _squared_norms(centres)
    for block in _blocks(np.arange(len(rows)), len(centres)):
        squares = _squares(points[rows[block]], centres, norms)
        two = np.argpartition(squares, 1, axis=1)[:, :2]
        both = np.take_along_axis(squares, two, axis=1)
        cells[block] = np.where(both[:, :1] > both[:, 1:], two[:, ::-1], two)
    return cells


def _within(points: np.ndarray, queries: np.ndarray, around: _Members, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest members of each query, (b, count), and their squared distances.

    Args:
        points: (b, d) those of the queries.
    """
    squares = _squares(points, around.points, around.squared_norms)
    squares[queries[:, None] == around.numbers] = np.inf
    kept = min(count, len(around.numbers) - 1)
    if kept == 0:
        return np.repeat(queries[:, None], count, axis=1), np.full((len(queries), count), np.inf, np.float32)
    nearest = np.argpartition(squares, kept - 1, axis=1)[:, :kept]
    # Recomputed, because the difference of squares above has few digits left if points are close.
    exact = ((points[:, None, :] - around.points[nearest]) ** 2).sum(axis=2)
    order = np.argsort(exact, axis=1, kind="stable")
    order = np.concatenate([order, np.repeat(order[:, -1:], count - kept, axis=1)], axis=1)
    return around.numbers[np.take_along_axis(nearest, order, axis=1)], np.take_along_axis(exact, order, axis=1)


def _squares(queries: np.ndarray, members: np.ndarray, squared_norms: np.ndarray) -> np.ndarray:
    """Return the squared distances of queries from members, (b, m), from the squared norms of the members, (m,)."""
    products = queries @ members.T
    products *= -2
    products += _squared_norms(queries)[:, None]
    products += squared_norms
    return np.asarray(products)


def _squared_norms(points: np.ndarray) -> np.ndarray:
    norms = np.empty(len(points), points.dtype)
    for block in _blocks(np.arange(len(points)), points.shape[1]):
        norms[block] = (points[block[0] : block[-1] + 1] ** 2).sum(axis=1)
    return norms


def _side_by_side(work: Callable[[_T], None], parts: Iterable[_T]) -> None:
    """Do some work in threads. It must not depend on the order of the parts."""
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    for _ in mapped_ahead(work, parts, threads, threads):
        pass


def _blocks(rows: np.ndarray, width: int, numbers: int | None = None) -> Iterator[np.ndarray]:
    step = max(1, (numbers or _BLOCK_NUMBERS) // max(1, width))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
