"""p_wrong: what holds for any rows, calibration and flags with planted noise, and inputs at the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection.noise_curves import NoisePosterior
from labelaudit.detection.row_scores import RowScores, score_rows
from labelaudit.detection.wrong_labels import (
    FEWEST_ROWS,
    WEAK_DISAGREEMENT,
    WIDEST_RANGE,
    WrongLabels,
    estimate_wrong,
    narrowing_in_words,
)
from labelaudit.findings import ErrorRange, NoiseKind, RateBasis
from labelaudit.row_dynamics import Dynamics
from support.simulated import NOISE_KINDS, Planted, plant_noise, simulate_probs


def scored(labels: np.ndarray, pred_probs: np.ndarray) -> RowScores:
    return score_rows([(labels, pred_probs.astype(np.float32))], pred_probs.shape[1])


def is_flagged(found: WrongLabels) -> np.ndarray:
    return np.asarray(found.p_wrong >= found.best_cut)


def f1(flags: np.ndarray, is_wrong: np.ndarray) -> float:
    return float(2 * (flags & is_wrong).sum() / max(1, flags.sum() + is_wrong.sum()))


def calibration_error(p_wrong: np.ndarray, is_wrong: np.ndarray) -> float:
    """Return the expected calibration error over 20 groups of equally many rows."""
    groups = np.array_split(np.argsort(p_wrong, kind="stable"), 20)
    return sum(abs(float(p_wrong[g].mean()) - is_wrong[g].mean()) * len(g) for g in groups) / len(p_wrong)


# What holds for any rows.


@st.composite
def any_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and distinct probabilities of a few rows."""
    num_classes, rows = draw(st.integers(2, 5)), draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(0, num_classes, rows)
    concentration = np.full(num_classes, 0.3) + draw(st.sampled_from([0, 3])) * np.eye(num_classes)[labels]
    return labels, np.stack([rng.dirichlet(row) for row in concentration])


@settings(max_examples=6, deadline=None)
@given(any_rows(), st.randoms(use_true_random=False))
def test_p_wrong_of_any_rows(rows: tuple[np.ndarray, np.ndarray], random: object) -> None:
    labels, pred_probs = rows
    found = estimate_wrong(scored(labels, pred_probs))
    low, estimate, high = found.error_range.low, found.error_range.estimate, found.error_range.high
    assert 0 <= low <= estimate <= high <= 1
    assert found.error_range.basis == RateBasis.PROBABILITIES
    assert found.p_wrong.dtype == np.float32
    assert ((found.p_wrong >= 0) & (found.p_wrong <= 1)).all()
    assert found.model.weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(estimate_wrong(scored(labels, pred_probs)).p_wrong, found.p_wrong)
    order, classes = list(range(len(labels))), list(range(pred_probs.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    random.shuffle(classes)  # type: ignore[attr-defined]
    permuted = estimate_wrong(scored(labels[order], pred_probs[order]))
    np.testing.assert_allclose(permuted.p_wrong, found.p_wrong[order], atol=1e-5)
    # Class k becomes class `renamed[k]`.
    renamed = np.argsort(classes)
    other_names = estimate_wrong(scored(renamed[labels], pred_probs[:, classes]))
    np.testing.assert_allclose(other_names.p_wrong, found.p_wrong, atol=1e-5)


@cache
def noisy() -> tuple[Planted, WrongLabels]:
    planted = plant_noise("pair", 0.1, rows=3000, num_classes=4)
    return planted, estimate_wrong(planted.scores)


@given(st.integers(0, 3), st.integers(1, 3), st.lists(st.floats(0, 1, width=32), min_size=2, max_size=10))
def test_p_wrong_rises_with_the_other_class_and_falls_with_the_given_one(
    label: int, step: int, values: list[float]
) -> None:
    _, found = noisy()
    p = np.sort(np.array(values, np.float32))
    same = np.full(len(p), label, np.int32)
    constant, other = np.full(len(p), 0.3, np.float32), ((same + step) % 4).astype(np.int32)
    rising = RowScores(same, other, other, constant, p, p, 4)
    falling = replace(rising, p_given=p, p_other=constant)
    assert (np.diff(found.model.p_wrong(rising)) >= 0).all()
    assert (np.diff(found.model.p_wrong(falling)) <= 0).all()


def test_the_mean_of_each_level_is_its_rate() -> None:
    planted, found = noisy()
    evidence = found.model.evidence.of(planted.scores)
    means = []
    for slope, offset in zip(found.model.slopes, found.model.offsets, strict=True):
        level = replace(found.model, slopes=np.array([slope]), offsets=np.array([offset]), weights=np.array([1.0]))
        means.append(float(level.at(evidence).mean()))
    assert (np.array(means) > 0.01).all()
    assert means[:12] == sorted(means[:12])
    # The mean over all levels is the estimate, and the best guess of the rate.
    assert found.model.weights @ means == pytest.approx(found.error_range.estimate, rel=1e-3)
    assert found.p_wrong.mean() == pytest.approx(found.error_range.estimate, rel=1e-3)
    assert found.error_range.estimate == pytest.approx(planted.rate, rel=0.15)


def test_the_cut_separates_flags_exactly() -> None:
    _, found = noisy()
    assert is_flagged(found).sum() > 100
    assert found.p_wrong[~is_flagged(found)].max() < found.best_cut <= found.p_wrong[is_flagged(found)].min()


def test_the_flags_have_the_highest_expected_f1() -> None:
    """One level is the result of a certain rate. Then the best list can be found by trying all."""
    planted, found = noisy()
    evidence = found.model.evidence.of(planted.scores)
    order = np.argsort(-evidence)
    expected = np.zeros(len(order))
    sizes = np.arange(1, len(order) + 1)
    for slope, offset, weight in zip(found.model.slopes, found.model.offsets, found.model.weights, strict=True):
        level = replace(found.model, slopes=np.array([slope]), offsets=np.array([offset]), weights=np.ones(1))
        wrong = level.at(evidence[order])
        expected += weight * 2 * np.cumsum(wrong) / (sizes + wrong.sum())
    assert expected[is_flagged(found).sum() - 1] == pytest.approx(expected.max(), abs=1e-4)


def test_the_same_rows_twice_change_little() -> None:
    planted, found = noisy()
    twice = estimate_wrong(scored(np.tile(planted.labels, 2), np.tile(planted.pred_probs, (2, 1))))
    assert np.abs(twice.p_wrong[: len(planted.labels)] - found.p_wrong).mean() < 0.01
    assert twice.error_range.estimate == pytest.approx(found.error_range.estimate, rel=0.05)


def test_other_labels_of_the_same_rows_get_their_own_p_wrong() -> None:
    """A canary is a wrong label that is planted later. The model stays as it was fitted."""
    planted, found = noisy()
    wrong_now = scored((planted.labels + 2) % 4, planted.pred_probs)
    assert np.median(found.model.p_wrong(wrong_now)[~planted.is_wrong]) > 0.9
    np.testing.assert_array_equal(found.model.p_wrong(planted.scores), found.p_wrong)


# Calibration and flags with planted noise.


@dataclass(frozen=True)
class Cell:
    """One planted noise, what was found, and what cleanlab flags."""

    kind: str
    planted: Planted
    found: WrongLabels
    cleanlab_f1: float

    @property
    def is_covered(self) -> bool:
        return self.found.error_range.low <= self.planted.rate <= self.found.error_range.high

    @property
    def f1(self) -> float:
        return f1(is_flagged(self.found), self.planted.is_wrong)

    @property
    def calibration_error(self) -> float:
        return calibration_error(self.found.p_wrong, self.planted.is_wrong)


@cache
def cells() -> list[Cell]:
    models = [(10, 4.0), (4, 3.5)]
    noises = list(product(NOISE_KINDS, (0.02, 0.05, 0.1, 0.2, 0.4)))
    # If 40 % are wrong, the hard examples do not suffice, and errors are on any.
    noises.remove(("hard", 0.4))
    found = []
    for (num_classes, signal), (kind, rate) in product(models, noises):
        planted = plant_noise(kind, rate, num_classes=num_classes, signal=signal, rows=3000, seed=1)
        by_cleanlab = find_label_issues(planted.labels, planted.pred_probs, n_jobs=1)
        found.append(Cell(kind, planted, estimate_wrong(planted.scores), f1(by_cleanlab, planted.is_wrong)))
    return found


def mean(value: Callable[[Cell], float], *, hard: bool) -> float:
    return float(np.mean([value(cell) for cell in cells() if (cell.kind == "hard") == hard]))


def test_the_range_contains_the_planted_rate() -> None:
    assert np.mean([cell.is_covered for cell in cells()]) >= 0.9


def test_p_wrong_is_calibrated() -> None:
    assert mean(lambda cell: cell.calibration_error, hard=False) < 0.03
    assert mean(lambda cell: cell.calibration_error, hard=True) < 0.08


def test_flags_are_not_worse_than_those_of_cleanlab() -> None:
    assert np.mean([cell.f1 - cell.cleanlab_f1 for cell in cells()]) > 0.01
    assert mean(lambda cell: cell.f1 - cell.cleanlab_f1, hard=False) > 0.02
    assert min(cell.f1 - cell.cleanlab_f1 for cell in cells() if cell.kind != "hard") > -0.03


def test_a_certain_kind_is_the_right_one() -> None:
    certain = [cell for cell in cells() if cell.found.noise.certainty > 0.95]
    assert len(certain) > 15
    assert {cell.found.noise.kind for cell in certain if cell.kind != "hard"} == {NoiseKind.ANY_EXAMPLES}
    assert all(cell.kind != "hard" for cell in certain if cell.found.noise.kind == NoiseKind.ANY_EXAMPLES)


# Inputs at the limits. Warnings are errors.


def clean(rows: int, num_classes: int, *, signal: float) -> RowScores:
    labels = np.arange(rows) % num_classes
    return scored(labels, simulate_probs(labels, num_classes, signal=signal))


@pytest.mark.parametrize("num_classes", [2, 10])
def test_a_clean_set_has_a_low_range_and_next_to_no_flags(num_classes: int) -> None:
    found = estimate_wrong(clean(10_000, num_classes, signal=7.0))
    assert found.error_range.low == 0
    assert found.error_range.high < 0.003
    assert is_flagged(found).sum() <= 6
    assert found.noise.kind == NoiseKind.UNKNOWN
    assert found.noise.sentence == "There are too few wrong labels to see what kind they are."


@pytest.mark.parametrize("rows", [40, 5000])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_a_perfect_model_flags_nothing(rows: int, num_classes: int) -> None:
    """All rows have the same evidence. The cut is just above it, so that a canary is caught."""
    labels = np.arange(rows) % num_classes
    found = estimate_wrong(scored(labels, np.eye(num_classes)[labels]))
    assert not is_flagged(found).any()
    assert found.error_range.low == 0
    planted = scored((labels[:1] + 1) % num_classes, np.eye(num_classes)[labels[:1]])
    assert (found.model.p_wrong(planted) >= found.best_cut).all()


def test_one_sure_error_of_a_perfect_model_is_flagged() -> None:
    labels = np.arange(500) % 5
    probs = np.eye(5)[labels]
    labels[7] = (labels[7] + 1) % 5
    assert np.flatnonzero(is_flagged(estimate_wrong(scored(labels, probs)))).tolist() == [7]


@pytest.mark.parametrize("probs", [[0.25] * 4, [0.4, 0.3, 0.2, 0.1]])
def test_equal_probabilities_say_next_to_nothing(probs: list[float]) -> None:
    found = estimate_wrong(scored(np.arange(100) % 4, np.tile(probs, (100, 1))))
    assert found.error_range.low == 0
    assert found.error_range.high > 0.1
    assert found.noise.kind == NoiseKind.UNKNOWN
    # Only rows with the least probable label can be flagged. Without any difference, none are.
    assert set(np.flatnonzero(is_flagged(found)) % 4) <= {3}


@pytest.mark.parametrize("num_classes", [2, 10])
def test_a_model_at_chance_flags_nothing(num_classes: int) -> None:
    """Integrity checks refuse such a model before. Nothing may break if one comes close to it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, 2000)
    smooth = rng.dirichlet(np.full(num_classes, 100.0), 2000)
    found = estimate_wrong(scored(labels, smooth))
    assert found.error_range.high >= 2.9 * found.error_range.low
    assert not is_flagged(found).any()
    assert found.noise.kind == NoiseKind.UNKNOWN
    assert found.noise.sentence.startswith("The probabilities say next to nothing")


def test_flags_of_most_rows_are_possible() -> None:
    """A good model, and three in five labels are wrong."""
    planted = plant_noise("uniform", 0.6)
    assert f1(is_flagged(estimate_wrong(planted.scores)), planted.is_wrong) > 0.9


def test_a_range_from_weak_models_is_at_most_three_times_wide() -> None:
    weak = clean(3000, 10, signal=2.0)
    assert weak.disagrees.mean() > WEAK_DISAGREEMENT
    error_range = estimate_wrong(weak).error_range
    assert error_range.low > 0
    assert error_range.high == pytest.approx(WIDEST_RANGE * error_range.low)


def test_many_classes_with_few_rows() -> None:
    labels = np.repeat(np.arange(1000), 3)
    rng = np.random.default_rng(0)
    wrong = rng.choice(3000, 150, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + rng.integers(1, 1000, 150)) % 1000
    is_wrong = np.isin(np.arange(3000), wrong)
    found = estimate_wrong(scored(given, simulate_probs(labels, 1000, signal=10.0)))
    assert found.error_range.low <= 0.05 <= found.error_range.high
    assert f1(is_flagged(found), is_wrong) > 0.9


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_smallest_sets(num_classes: int) -> None:
    """Fewer than ten labels can be wrong without a rate that is far too high."""
    for rows in range(1, 21):
        labels = np.arange(rows) % num_classes
        found = estimate_wrong(scored(labels, simulate_probs(labels, num_classes, signal=3.0, seed=rows)))
        assert np.isfinite(found.p_wrong).all()
        assert found.error_range.low == 0 or found.error_range.low * rows >= FEWEST_ROWS
        assert is_flagged(found).sum() <= rows / 4
        assert found.noise.kind == NoiseKind.UNKNOWN


def test_a_class_that_is_never_predicted() -> None:
    labels = np.arange(3000) % 10
    probs = simulate_probs(labels, 10, signal=5.0).astype(float)
    probs[:, 3] = 1e-4
    found = estimate_wrong(scored(labels, probs / probs.sum(axis=1, keepdims=True)))
    assert np.isfinite(found.p_wrong).all()
    assert found.p_wrong[labels == 3].mean() > 5 * found.p_wrong[labels != 3].mean()


@pytest.mark.parametrize("digits", [1, 2])
def test_rounded_probabilities_with_many_ties(digits: int) -> None:
    planted = plant_noise("uniform", 0.1)
    found = estimate_wrong(scored(planted.labels, np.round(planted.pred_probs, digits)))
    assert found.error_range.low <= planted.rate <= found.error_range.high
    assert f1(is_flagged(found), planted.is_wrong) > 0.8


def test_half_precision_changes_next_to_nothing() -> None:
    planted = plant_noise("uniform", 0.1)
    half = estimate_wrong(scored(planted.labels, planted.pred_probs.astype(np.float16)))
    full = estimate_wrong(planted.scores)
    assert half.error_range.estimate == pytest.approx(full.error_range.estimate, rel=0.05)
    assert (is_flagged(half) != is_flagged(full)).mean() < 0.01


def test_given_labels_with_a_probability_of_zero() -> None:
    labels = np.arange(1000) % 4
    probs = np.eye(4)[labels]
    given = np.where(np.arange(1000) % 10 == 0, (labels + 1) % 4, labels)
    found = estimate_wrong(scored(given, probs))
    assert is_flagged(found).tolist() == (given != labels).tolist()
    assert found.error_range.low <= 0.1 <= found.error_range.high


def learned(p_given: np.ndarray) -> Dynamics:
    values = p_given.astype(np.float32)
    return Dynamics(values * 0, values, values * 0, values * 0)


def test_dynamics_change_the_ranking_and_not_the_rate() -> None:
    planted, found = noisy()
    rng = np.random.default_rng(0)
    p_given = np.where(planted.is_wrong, 0.2, 0.8) + rng.uniform(-0.2, 0.2, len(planted.labels))
    with_dynamics = estimate_wrong(planted.scores, learned(p_given))
    assert with_dynamics.error_range.low == found.error_range.low
    assert with_dynamics.error_range.high == found.error_range.high
    assert f1(is_flagged(with_dynamics), planted.is_wrong) > f1(is_flagged(found), planted.is_wrong)


def test_unknown_dynamics_change_nothing() -> None:
    planted, found = noisy()
    unknown = learned(np.full(len(planted.labels), np.nan))
    np.testing.assert_array_equal(estimate_wrong(planted.scores, unknown).p_wrong, found.p_wrong)


def test_dynamics_of_some_rows_only() -> None:
    planted, found = noisy()
    p_given = np.where(np.arange(len(planted.labels)) % 2 == 0, np.nan, 1 - planted.is_wrong * 0.9)
    partly = estimate_wrong(planted.scores, learned(p_given))
    assert np.isfinite(partly.p_wrong).all()
    assert f1(is_flagged(partly), planted.is_wrong) > f1(is_flagged(found), planted.is_wrong)


def test_dynamics_of_other_rows_are_refused() -> None:
    planted, _ = noisy()
    with pytest.raises(ValueError, match=r"training dynamics are of 2 rows, but there are probabilities of 3,000 rows"):
        estimate_wrong(planted.scores, learned(np.zeros(2)))


@pytest.mark.parametrize("p_wrong_of_hard", [True, False])
def test_the_kind_is_explained(p_wrong_of_hard: bool) -> None:
    kind = "hard" if p_wrong_of_hard else "uniform"
    (cell,) = (
        c for c in cells() if c.kind == kind and 0.08 < c.planted.rate < 0.11 and c.planted.pred_probs.shape[1] == 10
    )
    expected = "people mistake what looks alike" if p_wrong_of_hard else "exchanged regardless of the example"
    assert expected in cell.found.noise.sentence


@pytest.mark.parametrize(("low", "high", "is_said"), [(0.05, 0.15, True), (0.0291, 0.3704, False)])
def test_what_is_possible_is_said_if_the_range_reads_differently(low: float, high: float, is_said: bool) -> None:
    posterior = NoisePosterior(p_hard=0.9, low=0.029, median=0.1, high=0.371, levels=())
    sentences = narrowing_in_words(posterior, ErrorRange(0.1, low, high, RateBasis.PROBABILITIES), 5000)
    assert (
        "any share from 2.9\N{NO-BREAK SPACE}% to 38\N{NO-BREAK SPACE}% is possible" in " ".join(sentences)
    ) == is_said
