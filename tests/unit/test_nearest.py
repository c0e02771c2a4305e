"""The search for nearest neighbours against one by hand, in cells, and in a projection."""

from __future__ import annotations

import os

import numpy as np
import pytest

from labelaudit import nearest
from labelaudit.nearest import Nearest, find_nearest, projected, with_exact_distances


def points(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def test_equals_a_search_by_hand() -> None:
    base = points(60, 3)
    distances = np.linalg.norm(base[:, None] - base, axis=2)
    np.fill_diagonal(distances, np.inf)
    found = find_nearest(base, 5)
    np.testing.assert_array_equal(found.positions, np.argsort(distances, axis=1)[:, :5])
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :5], rtol=1e-5)


def test_cells_find_close_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_MAX_COMPARED", 100)
    monkeypatch.setattr(nearest, "_POINTS_PER_CELL", 50)
    monkeypatch.setattr(nearest, "_BLOCK_NUMBERS", 500)
    base = points(1_000, 20)
    everything = np.concatenate([base, base + 1e-3 * points(1_000, 20, seed=1)])
    found = find_nearest(everything, 5)
    partner = (np.arange(2_000) + 1_000) % 2_000
    # A pair is lost only if a border with two other cells is between its points.
    assert (found.positions[:, 0] == partner).mean() > 0.98
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert (found.positions != np.arange(2_000)[:, None]).all()


def test_a_cell_with_few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_MAX_COMPARED", 10)
    monkeypatch.setattr(nearest, "_POINTS_PER_CELL", 2)
    found = find_nearest(points(40, 2), 8)
    assert found.positions.shape == (40, 8)
    assert (np.diff(found.distances[np.isfinite(found.distances).all(axis=1)], axis=1) >= 0).all()


@pytest.mark.parametrize("cores", [2, 16])
def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(nearest, "_MAX_COMPARED", 100)
    monkeypatch.setattr(nearest, "_POINTS_PER_CELL", 50)
    monkeypatch.setattr(nearest, "_BLOCK_NUMBERS", 500)
    monkeypatch.setattr(nearest, "_WIDE_BLOCK_NUMBERS", 2_000)
    base = points(500, 20)

    def search(cores: int) -> list[np.ndarray]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
        searched = nearest.with_all_compared(base, find_nearest(base, 5), np.arange(40))
        exact = with_exact_distances(searched, lambda rows: base[rows], 20)
        return [searched.positions, searched.distances, exact.positions, exact.distances]

    for one, several in zip(search(1), search(cores), strict=True):
        np.testing.assert_array_equal(one, several)


def test_a_projection_keeps_distances() -> None:
    base = points(100, 2_000)
    there = projected(base)
    assert there.shape == (100, 128)
    before = np.linalg.norm(base[:50] - base[50:], axis=1)
    after = np.linalg.norm(there[:50] - there[50:], axis=1)
    assert np.abs(after / before - 1).max() < 0.25


def test_few_dimensions_stay_as_they_are() -> None:
    base = points(10, 7)
    np.testing.assert_array_equal(projected(base), base)


def test_far_points_are_compared_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    base = points(400, 3)
    exact = find_nearest(base, 5)
    monkeypatch.setattr(nearest, "_MAX_COMPARED", 40)
    monkeypatch.setattr(nearest, "_POINTS_PER_CELL", 20)
    monkeypatch.setattr(nearest, "_BLOCK_NUMBERS", 2_000)  # several blocks
    monkeypatch.setattr(nearest, "_WIDE_BLOCK_NUMBERS", 2_000)
    searched = find_nearest(base, 5)
    assert (searched.positions != exact.positions).any()
    far = np.argsort(-searched.distances.mean(axis=1), kind="stable")
    some = nearest.with_all_compared(base, searched, far[:50])
    np.testing.assert_array_equal(some.positions[far[:50]], exact.positions[far[:50]])
    np.testing.assert_array_equal(some.positions[far[50:]], searched.positions[far[50:]])
    everything = nearest.with_all_compared(base, searched, np.arange(400))
    np.testing.assert_array_equal(everything.positions, exact.positions)
    np.testing.assert_allclose(everything.distances, exact.distances, rtol=1e-4)


@pytest.mark.parametrize("together", [1, 2, 3, 5])
def test_cells_with_fewer_points_than_neighbours(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    """Some far groups contain the centre of a cell, so the search knows only the others of the group, or none."""
    base = points(600, 3)
    base[: 60 // together * together] = np.repeat(100 * points(60 // together, 3, seed=1), together, axis=0)
    base += 0.01 * points(600, 3, seed=2)
    exact = find_nearest(base, 8)
    monkeypatch.setattr(nearest, "_MAX_COMPARED", 60)
    monkeypatch.setattr(nearest, "_POINTS_PER_CELL", 10)
    monkeypatch.setattr(nearest, "_BLOCK_NUMBERS", 6_000)
    monkeypatch.setattr(nearest, "_WIDE_BLOCK_NUMBERS", 6_000)
    searched = find_nearest(base, 8)
    assert (np.diff(searched.distances[:60]) == 0).any() or not np.isfinite(searched.distances).all()
    found = nearest.with_all_compared(base, searched, np.arange(600))
    np.testing.assert_array_equal(found.positions, exact.positions)
    np.testing.assert_allclose(found.distances, exact.distances, rtol=1e-4, atol=1e-4)


def test_exact_distances_are_in_all_dimensions_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    base = points(50, 300)
    by_hand = np.linalg.norm(base[:, None] - base, axis=2)
    monkeypatch.setattr(nearest, "_BLOCK_NUMBERS", 10_000)  # several blocks
    searched = find_nearest(base, 6)
    exact = with_exact_distances(searched, lambda rows: base[rows], 300)
    assert (np.sort(exact.positions, axis=1) == np.sort(searched.positions, axis=1)).all()
    np.testing.assert_allclose(exact.distances, np.take_along_axis(by_hand, exact.positions, axis=1), rtol=1e-5)
    assert (np.diff(exact.distances, axis=1) >= 0).all()
    swapped = Nearest(searched.positions[:, ::-1], searched.distances, is_exact=True)
    np.testing.assert_array_equal(
        with_exact_distances(swapped, lambda rows: base[rows], 300).distances, exact.distances
    )
