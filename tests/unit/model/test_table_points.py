"""Distances between vectors and between rows of tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from labelaudit.model.table_points import scaled_vectors, table_points


def distances(table: pd.DataFrame) -> np.ndarray:
    points = table_points(table)(np.arange(len(table)))
    assert points.dtype == np.float32
    return np.asarray(np.linalg.norm(points[:, None] - points, axis=2))


def test_scales_of_columns_do_not_matter() -> None:
    vectors = np.random.default_rng(0).normal(size=(500, 3)) * [1e-3, 1.0, 1e6] + [0, 7, 1e6]
    points = scaled_vectors(vectors, np.arange(500))(np.arange(500))
    assert points.std(axis=0) == pytest.approx([0.75] * 3, abs=0.1)
    assert np.abs(points.mean(axis=0)).max() < 0.1


def test_one_number_does_not_decide_alone() -> None:
    vectors = np.random.default_rng(0).normal(size=(1_000, 20))
    vectors[0, 0] = 1e6
    points = scaled_vectors(vectors, np.arange(1_000))(np.array([0]))
    assert 3 < points[0, 0] < 5


def test_only_chosen_rows_decide_and_are_numbered() -> None:
    vectors = np.array([[np.float32(1e30)], [0], [2], [4]])
    points = scaled_vectors(vectors, np.array([1, 2, 3]))
    np.testing.assert_allclose(points(np.array([0, 1, 2])).ravel(), np.arcsinh(np.sqrt(1.5) * np.array([-1, 0, 1])))


def test_constant_columns_and_huge_numbers() -> None:
    vectors = np.array([[5.0, 1e300], [5.0, -1e300], [5.0, 0.0]])
    points = scaled_vectors(vectors, np.arange(3))(np.arange(3))
    assert np.isfinite(points).all()
    assert (points[:, 0] == 0).all()


def test_categories_are_one_apart() -> None:
    table = pd.DataFrame({"colour": ["red", "red", "blue", None], "ripe": [0.0, 0.0, 0.0, 1.0]})
    found = distances(table)
    assert found[0, 1] == 0
    assert found[0, 2] == pytest.approx(1)
    # Another colour and another of two numbers.
    assert found[0, 3] == pytest.approx(np.sqrt(2))


def test_rare_categories_count_as_one() -> None:
    names = [f"frequent {number % 64}" for number in range(640)] + ["rare", "rarer"]
    found = distances(pd.DataFrame({"name": names}))
    assert found[640, 641] == 0
    assert found[0, 640] == pytest.approx(1)


def test_a_missing_number_is_apart_from_the_median() -> None:
    table = pd.DataFrame({"size": [1.0, 2.0, 3.0, np.nan, np.inf]})
    found = distances(table)
    assert found[1, 3] == pytest.approx(1)
    assert found[3, 4] == 0
