"""Neighbours of rows among copies and other contents."""

from __future__ import annotations

import numpy as np
import pytest

from labelaudit.detection.outliers import FarRows
from labelaudit.nearest import find_nearest
from labelaudit.pipeline.feature_space import SHOWN_NEIGHBOURS, FeatureSpace

PLANE = np.zeros((0, 2), np.float32)


def space_of(contents: list[int]) -> FeatureSpace:
    """Return the space of rows whose contents are on a line, at these numbers."""
    numbers, first, content_of = np.unique(contents, return_index=True, return_inverse=True)
    nearest = find_nearest(numbers[:, None].astype(np.float32), min(20, len(numbers) - 1))
    labels = np.zeros(len(numbers), np.int64)
    return FeatureSpace(first, content_of, nearest, nearest, FarRows.of(nearest, labels), labels, PLANE)


def test_nearest_rows_on_a_line() -> None:
    positions, distances = space_of(list(range(0, 100, 10))).neighbours(np.array([0, 9]))
    assert positions.tolist() == [[1, 2, 3, 4, 5, 6], [8, 7, 6, 5, 4, 3]]
    assert distances[0].tolist() == pytest.approx([10, 20, 30, 40, 50, 60])


def test_copies_come_first_and_a_row_is_never_its_own_neighbour() -> None:
    positions, distances = space_of([5, 7, 5, 100, 7, 5]).neighbours(np.array([0, 3]))
    assert positions.tolist() == [[2, 5, 1, 4, 3, -1], [1, 4, 0, 2, 5, -1]]
    assert distances[0].tolist() == pytest.approx([0, 0, 2, 2, 95, 0])


def test_many_copies() -> None:
    positions, distances = space_of([1] * 20 + [2, 3]).neighbours(np.array([4]))
    assert positions.tolist() == [[0, 1, 2, 3, 5, 6]]
    assert (distances == 0).all()
    assert positions.shape == (1, SHOWN_NEIGHBOURS)


def test_copies_have_one_score() -> None:
    points = np.random.default_rng(0).normal(size=(150, 2)).astype(np.float32)
    nearest = find_nearest(points, 20)
    content_of = np.concatenate([np.arange(150), [3]])
    labels = np.zeros(150, np.int64)
    far = FarRows.of(nearest, labels)
    found = FeatureSpace(np.arange(150), content_of, nearest, nearest, far, labels, points).outliers()
    assert len(found.score) == 151
    assert found.score[150] == found.score[3]
