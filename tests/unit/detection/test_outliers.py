"""Outliers: far from all others, whatever their label; about none in clean data of 2 to 300 dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from labelaudit import nearest
from labelaudit.detection import outliers
from labelaudit.detection.outliers import FEWEST_CONTENTS, OUTLIER_NEIGHBOURS, FarRows, FoundOutliers, find_outliers
from labelaudit.nearest import find_nearest, with_all_compared


def normal(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def found_in(points: np.ndarray, labels: np.ndarray | None = None) -> FoundOutliers:
    labels = np.zeros(len(points), np.int64) if labels is None else labels
    found = find_nearest(points, OUTLIER_NEIGHBOURS)
    return find_outliers(found, labels, FarRows.of(found, labels))


def as_if_many(monkeypatch: pytest.MonkeyPatch, fitted: int) -> None:
    """Lower the limits, so that some thousand rows are treated like hundreds of thousands."""
    monkeypatch.setattr(nearest, "_MAX_COMPARED", 1_000)
    monkeypatch.setattr(nearest, "_POINTS_PER_CELL", 200)
    monkeypatch.setattr(outliers, "_FITTED_ROWS", 100)
    monkeypatch.setattr(outliers, "_FITTED_AT_MOST", fitted)
    monkeypatch.setattr(outliers, "_OUTLIERS_AT_MOST", 500)


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 5, 10, 30, 100, 300])
def test_clean_data_has_about_none(dimensions: int) -> None:
    listed = [int(found_in(normal(1_000, dimensions, seed)).is_outlier.sum()) for seed in range(6)]
    assert np.mean(listed) <= 2


@pytest.mark.parametrize("dimensions", [2, 10, 100])
def test_far_rows_are_found_and_do_not_hide_each_other(dimensions: int) -> None:
    points = normal(1_000, dimensions)
    # Five rows in directions of their own.
    points[:5] = 12 * np.sqrt(dimensions) * normal(5, dimensions, seed=1)
    found = found_in(points)
    assert found.is_outlier[:5].all()
    assert found.is_outlier[5:].sum() <= 2
    assert found.score[:5].min() > 3
    assert np.median(found.score) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("dimensions", [10, 100])
def test_one_and_a_half_percent_are_found(dimensions: int) -> None:
    points = normal(2_000, dimensions)
    points[:30] = 12 * np.sqrt(dimensions) * normal(30, dimensions, seed=1)
    found = found_in(points)
    assert found.is_outlier[:30].all()
    assert found.is_outlier[30:].sum() <= 3


def test_an_approximate_search_with_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut is fitted to random ones of the rows that seem to be the farthest, after a comparison with all."""
    points = normal(8_000, 8)
    points[:40] = 12 * np.sqrt(8) * normal(40, 8, seed=1)
    labels = np.zeros(len(points), np.int64)
    as_if_many(monkeypatch, fitted=1_200)
    searched = find_nearest(points, OUTLIER_NEIGHBOURS)
    far = FarRows.of(searched, labels)
    assert (len(far.may_be_outliers), len(far.fitted), far.stands_for) == (500, 1_200, pytest.approx(4 / 3))
    found = find_outliers(with_all_compared(points, searched, far.all), labels, far)
    assert found.is_outlier[:40].all()
    assert found.is_outlier[40:].sum() <= 3
    # Of rows that were not compared, nothing is known.
    assert set(np.flatnonzero(find_outliers(searched, labels, far).is_outlier)) <= set(far.all)


def test_an_approximate_search_with_a_wide_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """The far rows of a wide class are no farther than usual in it, so rows far from a narrow class come first."""
    points = normal(20_000, 6)
    labels = np.arange(20_000) % 4
    points[labels == 0] *= 6
    points[:, 0] += 150 * labels
    planted = np.flatnonzero(labels == 1)[:20]
    directions = normal(20, 6, seed=1)
    points[planted] = 9 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points[planted, 0] += 150
    as_if_many(monkeypatch, fitted=3_000)
    searched = find_nearest(points, OUTLIER_NEIGHBOURS)
    far = FarRows.of(searched, labels)
    assert set(planted) <= set(far.may_be_outliers)
    found = find_outliers(with_all_compared(points, searched, far.all), labels, far)
    assert found.is_outlier[planted].all()
    assert found.is_outlier.sum() <= 23


def test_a_wrong_label_is_no_outlier() -> None:
    points = normal(600, 8)
    labels = np.repeat([0, 1], 300)
    points[labels == 1] += 20
    labels[:5] = 1
    found = found_in(points, labels)
    assert not found.is_outlier[:5].any()
    assert (found.near_class[:300] == 0).all()
    assert (found.near_class[300:] == 1).all()


def test_a_class_that_is_spread_out_is_no_list_of_outliers() -> None:
    points = normal(1_000, 6)
    labels = (np.arange(1_000) >= 900).astype(np.int64)
    points[labels == 1] = 100 + 8 * points[labels == 1]
    assert found_in(points, labels).is_outlier.sum() <= 3
    # One that has a label for it, but is small, gives no other measure of what is usual.
    labels = (np.arange(1_000) >= 990).astype(np.int64)
    points = normal(1_000, 6)
    points[990:] = 100 * normal(10, 6, seed=1)
    assert found_in(points, labels).is_outlier[990:].all()


def test_labels_of_neighbours_decide_the_nearest_class() -> None:
    points = np.arange(120, dtype=np.float32)[:, None]
    labels = np.repeat([0, 1], 60)
    found = found_in(points, labels)
    # Of the ten neighbours of row 60, five are of each class.
    assert found.near_class.tolist() == [0] * 61 + [1] * 59


def test_too_few_rows_have_no_cut() -> None:
    points = normal(FEWEST_CONTENTS - 1, 3)
    points[0] = 1_000
    found = found_in(points)
    assert found.cut == np.inf
    assert found.score[0] == found.score.max() > 100
    assert not found.is_outlier.any()
    assert found_in(np.concatenate([points, normal(1, 3, seed=1)])).is_outlier[0]


@pytest.mark.parametrize("points", [np.zeros((200, 3), np.float32), np.arange(200, dtype=np.float32)[:, None] % 2])
def test_rows_without_differences_have_no_score(points: np.ndarray) -> None:
    found = found_in(points)
    assert found.cut == np.inf
    assert np.isnan(found.score).all()
    assert not found.is_outlier.any()


def test_the_scale_does_not_matter() -> None:
    points = normal(400, 5)
    one, other = found_in(points), found_in(1_000 * points)
    np.testing.assert_allclose(one.score, other.score, rtol=1e-4)
    assert one.cut == pytest.approx(other.cut, rel=1e-4)
