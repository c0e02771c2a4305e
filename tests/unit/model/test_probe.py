"""The linear probe: nothing is fitted on held-out rows, and its probabilities are calibrated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.errors import InputError, TrainingError
from labelaudit.model import probe
from labelaudit.model.fold import FoldFit
from labelaudit.model.probe import fit_probe


def clusters(rows: int, width: int, classes: int, *, distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (rows, width) float16 around one centre per class, and the classes."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(rows) % classes)
    centres = generator.normal(size=(classes, width)) * distance
    return (centres[labels] + generator.normal(size=(rows, width))).astype(np.float16), labels


def fit(features: np.ndarray, labels: np.ndarray, classes: int, **options: object) -> FoldFit:
    rows = np.arange(len(labels))
    held_out = rows[rows % 3 == 0]
    return fit_probe(features, labels, classes, np.setdiff1d(rows, held_out), held_out, device="cpu", **options)  # type: ignore[arg-type]


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


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 60), classes=st.integers(2, 6))
def test_held_out_rows_are_never_used(seed: int, width: int, classes: int) -> None:
    features, labels = clusters(90, width, classes, distance=0.5, seed=seed)
    before = fit(features, labels, classes, seed=seed)
    changed, features = labels.copy(), features.copy()
    changed[::3] = -1
    features[3::3] = 1_000
    after = fit(features, changed, classes, seed=seed)
    assert after.pred_probs[0] == pytest.approx(before.pred_probs[0], abs=1e-5)
    assert after.chosen == before.chosen
    assert np.allclose(before.pred_probs.sum(axis=1), 1, atol=1e-6)


def test_same_seed_same_bytes_in_any_order_of_training_rows() -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    train, held_out = np.arange(60), np.arange(60, 90)
    first = fit_probe(features, labels, 3, train, held_out, device="cpu", seed=5)
    second = fit_probe(features, labels, 3, train[::-1].copy(), held_out, device="cpu", seed=5)
    assert first.pred_probs.tobytes() == second.pred_probs.tobytes()
    assert first.losses == second.losses


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
    fitted = fit_probe(features, labels, 2, np.array([0, 1]), np.arange(2, 6), device="cpu")
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


def test_constant_features_change_nothing() -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    widened = np.concatenate([features, np.full((90, 3), 7, np.float16)], axis=1)
    widened[0, -1] = 1_000  # a held-out row
    assert np.isfinite(fit(widened, labels, 3).pred_probs).all()
    assert np.abs(fit(widened, labels, 3).pred_probs - fit(features, labels, 3).pred_probs).max() < 0.1
    nothing = fit(np.ones((90, 3), np.float16), labels, 3).pred_probs
    shares = np.bincount(labels[np.arange(90) % 3 > 0], minlength=3) / 60
    assert nothing == pytest.approx(np.tile(shares, (30, 1)), abs=0.02)


def test_a_memory_map_is_only_read(tmp_path: Path) -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert np.array_equal(fit(mapped, labels, 3).pred_probs, fit(features, labels, 3).pred_probs)


def test_a_class_without_training_rows_is_an_error() -> None:
    features, labels = clusters(30, 4, 3, distance=1)
    with pytest.raises(TrainingError, match="1 of 4 classes have no training row"):
        fit(features, labels, 4)


@pytest.mark.parametrize("row", [1, 3])
def test_features_that_are_not_finite_are_an_error(row: int) -> None:
    features, labels = clusters(30, 4, 3, distance=1)
    features[row, 2] = np.nan
    with pytest.raises(InputError, match=f"The features of row {row} contain missing or infinite values"):
        fit(features, labels, 3)


def test_iterations_are_reported_and_the_last_report_is_the_total() -> None:
    features, labels = clusters(90, 10, 3, distance=0.5)
    reports: list[tuple[int, int, float]] = []
    fitted = fit(features, labels, 3, on_epoch=lambda *report: reports.append(report))
    assert [report[0] for report in reports] == list(range(1, len(reports) + 1))
    assert all(done < total for done, total, _ in reports[:-1])
    assert reports[-1] == (len(reports), len(reports), fitted.training_loss)
    assert fitted.dynamics is None
    assert fitted.epochs == len(fitted.losses)
    assert not torch.is_inference_mode_enabled()


def test_classes_of_one_group_leave_nothing_to_choose_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_MAX_ROWS_TO_CHOOSE_BY", 30)
    features, labels = clusters(90, 8, 3, distance=3.0)
    rows = np.arange(90)
    found = fit_probe(features, labels, 3, rows[rows % 3 > 0], rows[::3], groups=labels, device="cpu")
    assert (found.chosen["inner_rows"], found.chosen["temperature"]) == (0, 1.0)
    assert (found.pred_probs.argmax(axis=1) == labels[::3]).mean() > 0.9


def test_directions_that_cannot_be_computed_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPACK gives up on some singular matrices. The solution does not depend on the directions."""
    features, labels = clusters(90, 8, 3, distance=2.0)
    rows = np.arange(90)

    def fit() -> np.ndarray:
        return fit_probe(features, labels, 3, rows[rows % 3 > 0], rows[::3], device="cpu").pred_probs

    expected = fit()

    def fail(_: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError("failed to converge")  # type: ignore[attr-defined]

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    assert fit() == pytest.approx(expected, abs=0.02)
