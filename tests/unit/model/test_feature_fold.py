"""What must hold for every view that learns from features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.errors import InputError, TrainingError
from labelaudit.model.feature_fold import FeatureFold, some_rows
from labelaudit.model.neighbours import fit_neighbours
from labelaudit.model.probe import fit_probe
from tests.support.feature_folds import FeatureView, clusters, fit_thirds

each_view = pytest.mark.parametrize("fit", [fit_probe, fit_neighbours])


@each_view
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 60), classes=st.integers(2, 6))
def test_held_out_rows_are_never_used(fit: FeatureView, seed: int, width: int, classes: int) -> None:
    features, labels = clusters(90, width, classes, distance=0.5, seed=seed)
    before = fit_thirds(fit, features, labels, classes, seed=seed)
    changed, features = labels.copy(), features.copy()
    changed[::3] = -1
    features[3::3] = 1_000
    after = fit_thirds(fit, features, changed, classes, seed=seed)
    assert after.pred_probs[0] == pytest.approx(before.pred_probs[0], abs=1e-5)
    assert after.chosen == before.chosen
    assert np.allclose(before.pred_probs.sum(axis=1), 1, atol=1e-6)


@each_view
def test_same_seed_same_bytes_in_any_order_of_training_rows(fit: FeatureView) -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    train, held_out = np.arange(60), np.arange(60, 90)
    first = fit(FeatureFold(features, labels, 3, train, held_out), device="cpu", seed=5)
    second = fit(FeatureFold(features, labels, 3, train[::-1].copy(), held_out), device="cpu", seed=5)
    assert first.pred_probs.tobytes() == second.pred_probs.tobytes()
    assert first.losses == second.losses


@each_view
def test_a_memory_map_is_only_read(fit: FeatureView, tmp_path: Path) -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    found, expected = (fit_thirds(fit, each, labels, 3).pred_probs for each in (mapped, features))
    assert np.array_equal(found, expected)


@each_view
def test_a_class_without_training_rows_is_an_error(fit: FeatureView) -> None:
    features, labels = clusters(30, 4, 3, distance=1)
    with pytest.raises(TrainingError, match="1 of 4 classes have no training row"):
        fit_thirds(fit, features, labels, 4)


@each_view
@pytest.mark.parametrize(("row", "value"), [(1, np.nan), (3, np.inf)])
def test_features_that_are_not_finite_are_an_error(fit: FeatureView, row: int, value: float) -> None:
    features, labels = clusters(30, 4, 3, distance=1)
    features[row, 2] = value
    with pytest.raises(InputError, match=f"The features of row {row} contain missing or infinite values"):
        fit_thirds(fit, features, labels, 3)


@each_view
def test_the_last_report_is_the_total(fit: FeatureView) -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    reports: list[tuple[int, int, float]] = []
    fitted = fit_thirds(fit, features, labels, 3, on_epoch=lambda *report: reports.append(report))
    assert [report[0] for report in reports] == list(range(1, len(reports) + 1))
    assert all(done < total for done, total, _ in reports[:-1])
    assert reports[-1] == (len(reports), len(reports), fitted.training_loss)
    assert fitted.dynamics is None
    assert fitted.epochs == len(fitted.losses)
    assert not torch.is_inference_mode_enabled()


def test_training_rows_are_sorted_and_their_groups_numbered() -> None:
    features, labels = np.zeros((4, 1), np.float16), np.array([0, 1, 1, -1])
    data = FeatureFold(features, labels, 2, np.array([2, 0, 1]), np.array([3]), np.array(["b", "a", "b", "c"]))
    assert data.train_rows.tolist() == [0, 1, 2]
    assert data.targets().tolist() == [0, 1, 1]
    first, second, third = data.training_groups()
    assert first == third != second
    alone = FeatureFold(features, labels, 2, np.array([2, 0, 1]), np.array([3]))
    assert len(set(alone.training_groups().tolist())) == 3


@given(count=st.integers(0, 50), limit=st.integers(0, 60), seed=st.integers(0, 9))
def test_some_rows_are_distinct_and_ascending(count: int, limit: int, seed: int) -> None:
    rows = some_rows(count, limit, np.random.default_rng(seed))
    assert len(rows) == min(count, limit)
    assert (np.diff(rows) > 0).all()
    assert set(rows) <= set(range(count))
