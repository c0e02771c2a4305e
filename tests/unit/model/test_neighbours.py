"""The nearest neighbours of a fold: how rows vote, and calibrated probabilities."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from labelaudit.model import neighbours
from labelaudit.model.feature_fold import FeatureFold
from labelaudit.model.neighbours import fit_neighbours
from tests.support.feature_folds import clusters, fit_thirds

fit = partial(fit_thirds, fit_neighbours)


def test_weights_fall_with_the_similarity() -> None:
    """Two neighbours of class 0 and 1 that weigh 1 and 1/e, one further away that is not counted, smoothing 1."""
    nearest = neighbours._Nearest(torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[0, 1, 1]]))
    settings = neighbours._Settings(neighbours=2, width=0.1, smoothing=1.0)
    probabilities = settings.log_probabilities(nearest, torch.tensor([0.25, 0.75])).exp()
    total = 1 + np.exp(-1) + 1
    assert probabilities[0].tolist() == pytest.approx([(1 + 0.25) / total, (np.exp(-1) + 0.75) / total])


def test_clusters_get_nearly_certain_probabilities() -> None:
    features, labels = clusters(300, 20, 3, distance=3)
    pred_probs = fit(features, labels, 3).pred_probs
    assert (pred_probs[np.arange(100), labels[::3]] > 0.9).all()
    assert (pred_probs > 0).all()


def test_features_that_say_nothing_give_about_the_shares_of_the_classes() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(900, 50)).astype(np.float16)
    labels = generator.choice(3, 900, p=[0.6, 0.3, 0.1])
    pred_probs, held_out = fit(features, labels, 3).pred_probs, labels[::3]
    shares = np.bincount(labels, minlength=3) / 900
    assert -np.log(pred_probs[np.arange(300), held_out]).mean() < -np.log(shares[held_out]).mean() + 0.05


def test_rows_of_a_group_do_not_vote_for_each_other_while_settings_are_chosen() -> None:
    """Every row has a copy with the same random label. Without groups, the copies look like perfect evidence."""
    generator = np.random.default_rng(0)
    features = np.repeat(generator.normal(size=(150, 30)), 3, axis=0).astype(np.float16)
    labels, groups = np.repeat(generator.integers(0, 2, 150), 3), np.repeat(np.arange(150), 3)
    rows = np.arange(450)
    train, held_out = rows[rows < 300], rows[rows >= 300]
    fooled = fit_neighbours(FeatureFold(features, labels, 2, train, held_out), device="cpu")
    careful = fit_neighbours(FeatureFold(features, labels, 2, train, held_out, groups=groups), device="cpu")
    assert fooled.chosen["inner_loss"] < 0.3
    assert careful.chosen["inner_loss"] > 0.6
    assert careful.pred_probs.max() < 0.8


def test_many_rows_are_searched_in_blocks_and_in_a_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters(300, 20, 3, distance=1)
    complete = fit(features, labels, 3).pred_probs
    monkeypatch.setitem(neighbours._BLOCK_NUMBERS, "cpu", 1_000)
    assert fit(features, labels, 3).pred_probs == pytest.approx(complete, abs=1e-5)
    monkeypatch.setitem(neighbours._MAX_REFERENCES, "cpu", 100)
    subset = fit(features, labels, 3)
    assert subset.chosen["inner_rows"] == 100
    assert (subset.pred_probs.argmax(axis=1) == labels[::3]).mean() > 0.95
    assert not np.array_equal(subset.pred_probs, fit(features, labels, 3, seed=1).pred_probs)


def test_few_rows_and_constant_features() -> None:
    assert np.isfinite(fit(np.ones((9, 3), np.float16), np.arange(9) % 2, 2).pred_probs).all()
    data = FeatureFold(np.eye(4, dtype=np.float16), np.array([0, 1, 0, 1]), 2, np.arange(2), np.arange(2, 4))
    two = fit_neighbours(data, device="cpu")
    assert two.pred_probs == pytest.approx(np.full((2, 2), 0.5))


def test_one_group_has_usual_settings() -> None:
    """If all training rows are one group, none of them may help to choose a setting for another."""
    features, labels = clusters(60, 8, 3, distance=3.0)
    found = fit(features, labels, 3, groups=np.zeros(60, int))
    assert (found.chosen["inner_rows"], found.chosen["temperature"]) == (0, 1.0)
    assert (found.pred_probs.argmax(axis=1) == labels[::3]).mean() > 0.9
    assert found.pred_probs.max() < 1
