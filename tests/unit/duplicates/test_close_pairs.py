"""Pairs that chance does not explain are found; pairs that it does explain are not."""

from __future__ import annotations

import numpy as np
import pytest

from labelaudit.duplicates.close_pairs import FEWEST_POINTS, NEIGHBOURS, close_pairs
from labelaudit.nearest import find_nearest


def points(rows: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)


def copied(originals: np.ndarray, noise: float, seed: int = 1) -> np.ndarray:
    return (originals + noise * np.random.default_rng(seed).normal(size=originals.shape)).astype(np.float32)


@pytest.mark.parametrize("dimensions", [2, 4, 8, 16, 64, 300])
def test_about_one_pair_is_close_by_chance(dimensions: int) -> None:
    found = [len(close_pairs(points(500, dimensions, seed))) for seed in range(20)]
    assert np.mean(found) < 2


@pytest.mark.parametrize("dimensions", [4, 16, 64, 300])
def test_copies_are_found(dimensions: int) -> None:
    originals = points(500, dimensions)
    # A copy at 2 % of the usual distance between neighbours.
    usual = np.median(find_nearest(originals, NEIGHBOURS).distances[:, -1])
    copies = copied(originals[:40], 0.02 * usual / np.sqrt(dimensions))
    pairs = close_pairs(np.concatenate([originals, copies]))
    expected = {(row, 500 + row) for row in range(40)}
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(expected - found) <= (2 if dimensions == 4 else 0)
    assert len(found - expected) <= 2
    assert pairs.distance.max() < 0.5


def test_the_limit_is_stricter_in_few_dimensions() -> None:
    """The same relative distance, 0.1, is evidence in 60 dimensions and chance in 3."""
    found = []
    for dimensions in (3, 60):
        base = points(400, dimensions)
        neighbours = find_nearest(base, NEIGHBOURS).positions[:, -1]
        halfway = base + 0.1 * (base[neighbours] - base)
        found.append(len(close_pairs(np.concatenate([base, halfway[:40]]))))
    assert found[0] <= 2
    assert found[1] >= 40


@pytest.mark.parametrize("factor", [1e-20, 1e-3, 1_000, 1e25])
def test_units_do_not_matter(factor: float) -> None:
    base = np.concatenate([points(300, 20), copied(points(300, 20)[:10], 0.01)])
    one, other = close_pairs(base), close_pairs(base * np.float32(factor))
    assert len(one) == 10
    np.testing.assert_array_equal(one.first, other.first)
    np.testing.assert_allclose(one.distance, other.distance, rtol=1e-3)


@pytest.mark.parametrize("size", [2, 5, NEIGHBOURS // 2])
def test_a_cluster_of_half_the_neighbourhood_is_found(size: int) -> None:
    base = points(500, 30)
    cluster = copied(np.repeat(base[:1], size - 1, axis=0), 0.3)
    pairs = close_pairs(np.concatenate([base, cluster]))
    assert {0, *range(500, 500 + size - 1)} == {*pairs.first.tolist(), *pairs.second.tolist()}


def test_a_dense_region_is_not_a_cluster_of_copies() -> None:
    dense = copied(np.zeros((200, 30), np.float32), 1e-3)
    assert len(close_pairs(np.concatenate([points(500, 30), dense]))) == 0


def test_too_few_points_say_nothing() -> None:
    base = points(FEWEST_POINTS - 2, 10)
    assert len(close_pairs(np.concatenate([base, base[:1] + 1e-6]))) == 0
    base = points(FEWEST_POINTS, 10)
    assert len(close_pairs(np.concatenate([base, base[:1] + 1e-6]))) == 1


def test_many_equal_points_are_not_close() -> None:
    assert len(close_pairs(np.zeros((100, 5), np.float32))) == 0


def test_each_pair_comes_once_and_in_order() -> None:
    base = points(200, 20)
    pairs = close_pairs(np.concatenate([base[:100], copied(base[::-1], 1e-3), base[100:]]))
    both = np.stack([pairs.first, pairs.second], axis=1)
    assert (pairs.first < pairs.second).all()
    assert len(both) == len(np.unique(both, axis=0)) == 200
    assert both.tolist() == sorted(both.tolist())
