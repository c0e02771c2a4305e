"""The map keeps neighbours together and groups apart."""

from __future__ import annotations

import numpy as np

from labelaudit.detection import feature_map
from labelaudit.detection.feature_map import map_layout, principal_plane
from labelaudit.nearest import find_nearest


def clusters(each: int = 60, dimensions: int = 20) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    cluster = np.repeat(np.arange(4), each)
    points = 8 * generator.normal(size=(4, dimensions))[cluster] + generator.normal(size=(4 * each, dimensions))
    return points.astype(np.float32), cluster


def test_groups_stay_together() -> None:
    points, cluster = clusters()
    place = map_layout(find_nearest(points, 20), principal_plane(points))
    assert place.shape == (240, 2)
    assert place.dtype == np.float32
    assert np.isfinite(place).all()
    near = find_nearest(place, 5).positions
    assert (cluster[near] == cluster[:, None]).mean() > 0.95
    # Points of a group do not cover each other.
    assert len(np.unique(place.round(3), axis=0)) > 230


def test_blocks_do_not_matter_for_the_plane(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    points, _ = clusters()
    whole = principal_plane(points)
    monkeypatch.setattr(feature_map, "_BLOCK", 7)
    np.testing.assert_allclose(principal_plane(points), whole, atol=1e-4)


def test_the_plane_has_the_largest_variance() -> None:
    points = np.zeros((100, 5), np.float32)
    points[:, 3] = np.linspace(-10, 10, 100)
    points[:, 1] = np.tile([-1, 1], 50)
    plane = principal_plane(points + 5)
    assert np.abs(np.corrcoef(plane[:, 0], points[:, 3])[0, 1]) > 0.99
    assert np.abs(np.corrcoef(plane[:, 1], points[:, 1])[0, 1]) > 0.99
    assert plane.std(axis=0)[0] == np.float32(1) or abs(plane.std(axis=0)[0] - 1) < 1e-3
    np.testing.assert_allclose(principal_plane(points), plane, atol=1e-4)


def test_points_of_one_dimension_and_equal_points() -> None:
    line = principal_plane(np.arange(30, dtype=np.float32)[:, None])
    assert (line[:, 1] == 0).all()
    equal = np.ones((30, 3), np.float32)
    assert np.isfinite(map_layout(find_nearest(equal, 20), principal_plane(equal))).all()
