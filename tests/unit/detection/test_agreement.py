"""Agreement against the permutation null, by brute force and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from labelaudit.detection import agreement
from labelaudit.detection.agreement import chance_bound
from support.simulated import measure_agreement, simulate_probs


def test_z_is_that_of_all_permutations() -> None:
    labels = np.array([0, 0, 1, 2, 1, 0])
    probs = simulate_probs(labels, 3, signal=1.0)
    sums = [probs[np.arange(6), list(dealt)].sum() for dealt in itertools.permutations(labels)]
    expected = (probs[np.arange(6), labels].sum() - np.mean(sums)) / np.std(sums)
    assert measure_agreement(labels, probs).z == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("counts", [(50, 50), (95, 5), (40, 30, 20, 10)])
def test_perfect_and_perverse_predictions(counts: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    perfect = measure_agreement(labels, np.eye(len(counts), dtype=np.float32)[labels])
    assert perfect.share == 1
    assert perfect.mean_p_given == 1
    assert perfect.correlation == pytest.approx(1, abs=0.01)
    if len(counts) == 2:
        perverse = measure_agreement(labels, np.eye(2, dtype=np.float32)[1 - labels])
        assert perverse.correlation == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize(
    "row", [[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0.95, 0.03, 0.01, 0.01], [1 / 3, 1 / 3, 1 / 3, 0]]
)
def test_constant_probabilities_agree_no_better_than_chance(row: list[float]) -> None:
    labels = np.arange(100) % 4
    measured = measure_agreement(labels, np.tile(np.array(row, dtype=np.float32), (100, 1)))
    assert measured.z == 0
    assert measured.shift.z == 0
    assert measured.distinct == 0


def test_z_is_standard_normal_for_random_labels() -> None:
    rng = np.random.default_rng(0)
    for weights in ([0.5, 0.5], [0.95, 0.05], [0.7, 0.2, 0.1]):
        probs = rng.dirichlet(np.ones(len(weights)), 300).astype(np.float32)
        zs = [measure_agreement(rng.choice(len(weights), 300, p=weights), probs).z for _ in range(400)]
        assert abs(np.mean(zs)) < 0.2
        assert np.std(zs) == pytest.approx(1, abs=0.12)


def test_z_does_not_depend_on_the_scale_of_confidence() -> None:
    labels = np.arange(200) % 5
    probs = simulate_probs(labels, 5, signal=1.0).astype(np.float64)
    flat = 0.2 + (probs - 0.2) * 1e-4
    assert measure_agreement(labels, flat).z == pytest.approx(measure_agreement(labels, probs).z)


@pytest.mark.parametrize("offset", [1, -1, 17, -120])
def test_the_offset_is_found(offset: int) -> None:
    labels = np.random.default_rng(1).integers(0, 3, 401)
    probs = simulate_probs(labels, 3, signal=2.0)
    in_place = measure_agreement(labels, probs)
    displaced = measure_agreement(labels, np.roll(probs, offset, axis=0))
    assert displaced.shift.offset == offset
    assert displaced.shift.z == pytest.approx(in_place.z)
    assert displaced.shift.labels_are_mixed
    assert in_place.shift.z < 5


@pytest.mark.parametrize("offset", [1, -17])
def test_the_offset_is_found_by_groups_of_classes(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_SHIFT_VALUES", 4 * 800)
    labels = np.random.default_rng(1).integers(0, 30, 800)
    probs = simulate_probs(labels, 30, signal=3.0)
    in_place = measure_agreement(labels, probs).shift
    assert in_place.z < 5
    assert in_place.unshifted_z > 15
    displaced = measure_agreement(labels, np.roll(probs, offset, axis=0)).shift
    assert displaced.offset == offset
    assert displaced.z == pytest.approx(in_place.unshifted_z)
    assert displaced.labels_are_mixed


def test_an_order_by_label_is_seen() -> None:
    labels = np.sort(np.arange(300) % 5)
    assert not measure_agreement(labels, simulate_probs(labels, 5, signal=2.0)).shift.labels_are_mixed
    few = np.repeat(np.arange(20), 3)
    assert not measure_agreement(few, simulate_probs(few, 20, signal=3.0)).shift.labels_are_mixed


def test_one_row_and_one_class() -> None:
    single = measure_agreement(np.array([1]), np.array([[0.3, 0.7]], dtype=np.float32))
    assert (single.z, single.shift.z, single.share, single.correlation) == (0, 0, 1, 0)
    same = measure_agreement(np.ones(5, int), simulate_probs(np.ones(5, int), 2, signal=1.0))
    assert same.z == 0
    assert same.correlation == 0


def test_lead_by_hand() -> None:
    labels = np.array([0, 1])
    measured = measure_agreement(labels, np.array([[0.8, 0.2], [0.4, 0.6]], dtype=np.float32))
    # Centred columns are +-0.2 and -+0.2.
    np.testing.assert_allclose(measured.lead, [[0, 0.4], [0.4, 0]], atol=1e-6)
    np.testing.assert_allclose(measured.lead_squares, [[0, 0.16], [0.16, 0]], atol=1e-6)
    np.testing.assert_allclose(measured.mean_probs, [0.6, 0.4], atol=1e-6)


def test_chance_bound_is_normal_for_fine_grains_and_wider_for_coarse_ones() -> None:
    assert chance_bound(0.0, 18.0) == pytest.approx(6)
    assert chance_bound(1.0, 18.0) == pytest.approx(6 + math.sqrt(72))


def test_of_shifts_that_fit_equally_the_smallest_is_found() -> None:
    labels = np.arange(60) % 3
    measured = measure_agreement(labels, np.eye(3, dtype=np.float32)[np.roll(labels, 1)])
    assert measured.shift.offset == 1
    assert measured.columns.tolist() == [2, 0, 1]
    assert measured.columns_lead == 0
    assert measured.columns_z == pytest.approx(measured.shift.z)


def test_the_best_order_of_columns_against_the_best_shift_by_hand() -> None:
    measured = measure_agreement(np.array([0, 0, 1, 1, 1]), np.eye(2, dtype=np.float32)[[1, 1, 0, 0, 0]])
    assert measured.columns.tolist() == [1, 0]
    assert abs(measured.shift.offset) == 2
    # Exchanged columns fit all five rows and the shift four. The fifth row is ahead by 1, its own standard error.
    assert measured.columns_lead == pytest.approx(1)
