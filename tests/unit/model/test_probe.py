"""The linear probe: what is chosen by inner splits, and calibrated probabilities."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from labelaudit.model import probe
from labelaudit.model.feature_fold import FeatureFold
from labelaudit.model.probe import fit_probe
from tests.support.feature_folds import clusters, fit_thirds

fit = partial(fit_thirds, fit_probe)


def test_separable_classes_get_nearly_certain_probabilities() -> None:
    features, labels = clusters(300, 20, 3, distance=3)
    pred_probs = fit(features, labels, 3).pred_probs
    held_out = labels[np.arange(300) % 3 == 0]
    assert (pred_probs[np.arange(100), held_out] > 0.98).all()


def test_features_that_say_nothing_give_the_shares_of_the_classes() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(450, 600)).astype(np.float16)
    labels = generator.choice(3, 450, p=[0.6, 0.3, 0.1])
    fitted = fit(features, labels, 3)
    held_out = labels[np.arange(450) % 3 == 0]
    shares = np.bincount(labels[np.arange(450) % 3 != 0], minlength=3) / 300
    assert np.abs(fitted.pred_probs.mean(axis=0) - shares).max() < 0.05
    loss = -np.log(fitted.pred_probs[np.arange(150), held_out]).mean()
    assert loss < -np.log(shares[held_out]).mean() + 0.03


def test_wrong_labels_do_not_make_it_certain() -> None:
    features, labels = clusters(1_500, 300, 3, distance=0.5)
    generator = np.random.default_rng(1)
    flipped = np.where(generator.random(1_500) < 0.3, (labels + generator.integers(1, 3, 1_500)) % 3, labels)
    pred_probs = fit(features, flipped, 3).pred_probs
    right = pred_probs.argmax(axis=1) == flipped[np.arange(1_500) % 3 == 0]
    assert pred_probs.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.06)


def test_the_seed_and_the_groups_decide_the_inner_splits() -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    groups = np.array([f"group {row // 6}" for row in range(90)])
    losses = {fit(features, labels, 3).chosen["inner_loss"]}
    losses |= {fit(features, labels, 3, seed=1).chosen["inner_loss"]}
    losses |= {fit(features, labels, 3, groups=groups).chosen["inner_loss"]}
    assert len(losses) == 3


def test_more_features_than_rows_and_many_small_classes() -> None:
    features, labels = clusters(120, 400, 40, distance=2)
    order = np.argsort(labels, kind="stable")
    features, labels = features[order], labels[order]
    pred_probs = fit(features, labels, 40).pred_probs
    assert (pred_probs.argmax(axis=1) == labels[::3]).mean() > 0.9


def test_one_row_per_class_needs_no_inner_split() -> None:
    features, labels = (
        np.repeat(np.eye(2, dtype=np.float16), 3, axis=0)[[0, 3, 1, 2, 4, 5]],
        np.array([0, 1, 0, 0, 1, 1]),
    )
    fitted = fit_probe(FeatureFold(features, labels, 2, np.array([0, 1]), np.arange(2, 6)), device="cpu")
    assert fitted.chosen["inner_rows"] == 0
    assert np.array_equal(fitted.pred_probs.argmax(axis=1), labels[2:])


@pytest.mark.parametrize(("noise", "standardised"), [(50, 1), (0.02, 0)])
def test_the_scale_that_helps_is_chosen(noise: float, standardised: int) -> None:
    """Features of other units would drown the useful ones; small features of an encoder should stay small."""
    useful, labels = clusters(240, 5, 3, distance=2)
    useless = np.random.default_rng(1).normal(size=(240, 200)) * noise
    fitted = fit(np.concatenate([useful, useless], axis=1).astype(np.float16), labels, 3)
    assert fitted.chosen["standardised"] == standardised
    assert (fitted.pred_probs.argmax(axis=1) == labels[::3]).mean() > 0.8


def test_many_rows_are_chosen_by_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters(600, 20, 3, distance=1)
    complete = fit(features, labels, 3)
    monkeypatch.setattr(probe, "_MAX_ROWS_TO_CHOOSE_BY", 200)
    part = fit(features, labels, 3)
    assert (complete.chosen["inner_rows"], part.chosen["inner_rows"]) == (400, 80)
    assert np.abs(part.pred_probs - complete.pred_probs).mean() < 0.05


def test_directions_of_a_part_with_fewer_rows_than_features_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters(300, 60, 3, distance=1)
    complete = fit(features, labels, 3).pred_probs
    monkeypatch.setattr(probe, "_MAX_ROWS_TO_CHOOSE_BY", 45)
    assert np.abs(fit(features, labels, 3).pred_probs - complete).mean() < 0.05


def test_constant_features_change_nothing() -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    widened = np.concatenate([features, np.full((90, 3), 7, np.float16)], axis=1)
    widened[0, -1] = 1_000  # a held-out row
    assert np.isfinite(fit(widened, labels, 3).pred_probs).all()
    assert np.abs(fit(widened, labels, 3).pred_probs - fit(features, labels, 3).pred_probs).max() < 0.1
    nothing = fit(np.ones((90, 3), np.float16), labels, 3).pred_probs
    shares = np.bincount(labels[np.arange(90) % 3 > 0], minlength=3) / 60
    assert nothing == pytest.approx(np.tile(shares, (30, 1)), abs=0.02)


def test_classes_of_one_group_leave_nothing_to_choose_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_MAX_ROWS_TO_CHOOSE_BY", 30)
    features, labels = clusters(90, 8, 3, distance=3.0)
    found = fit(features, labels, 3, groups=labels)
    assert (found.chosen["inner_rows"], found.chosen["temperature"]) == (0, 1.0)
    assert (found.pred_probs.argmax(axis=1) == labels[::3]).mean() > 0.9


def test_directions_that_cannot_be_computed_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPACK gives up on some singular matrices. The solution does not depend on the directions."""
    features, labels = clusters(90, 8, 3, distance=2.0)
    expected = fit(features, labels, 3).pred_probs

    def fail(_: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError("failed to converge")  # type: ignore[attr-defined]

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    assert fit(features, labels, 3).pred_probs == pytest.approx(expected, abs=0.02)
