"""The posterior distribution of the rate: known curves, no evidence, much evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, ndtri

from labelaudit.detection.noise_curves import RANK_BINS, NoisePosterior, fit_noise

QUANTILES = ndtri((np.arange(RANK_BINS) + 0.5) / RANK_BINS)
NOTHING = np.zeros(RANK_BINS, np.int64)
CLASSES = (2, 3, 10, 1000)


def model_errors(num_classes: int, height: float = -4.0) -> np.ndarray:
    """Return m(u) of a good model, as steep as usual."""
    return (num_classes - 1) / num_classes * expit(height + (1.04 - 0.33 * height) * QUANTILES)


def posterior(wrong: np.ndarray, num_classes: int, rows: int) -> NoisePosterior:
    """Return the posterior distribution if the probability of an error is (RANK_BINS,) `wrong`, without any chance."""
    m, coincidence = model_errors(num_classes), (num_classes - 1) ** -0.5
    share = wrong + m - (1 + coincidence) * wrong * m
    per_bin = np.full(RANK_BINS, rows // RANK_BINS)
    return fit_noise(np.round(share * per_bin).astype(np.int64), per_bin, num_classes)


@pytest.mark.parametrize(
    ("num_classes", "rate"),
    # With two classes and 40 % wrong labels, a good model looks like one at chance.
    [(k, rate) for k in CLASSES for rate in (0.02, 0.05, 0.1, 0.2, 0.4) if (k, rate) != (2, 0.4)],
)
def test_errors_on_any_examples_are_measured(num_classes: int, rate: float) -> None:
    found = posterior(np.full(RANK_BINS, rate), num_classes, 20_000)
    assert found.low <= rate <= found.high
    assert found.high < 2.5 * found.low
    assert found.p_hard < 0.1


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("height", [-4.0, -3.0, -2.0])
def test_errors_on_hard_examples_are_in_the_range(num_classes: int, height: float) -> None:
    """They rise 0.4 times as steeply as the model's. The model repeats some of them, which cannot be seen."""
    seen = (num_classes - 1) / num_classes * expit(height + 0.4 * (1.04 + 0.33 * 4) * QUANTILES)
    found = posterior(seen, num_classes, 20_000)
    assert found.low <= seen.mean() / (1 - 0.7 * (num_classes - 1) ** -0.5) <= found.high
    assert found.p_hard > 0.5


def test_more_rows_give_a_narrower_range() -> None:
    widths = [
        np.log(found.high / found.low)
        for found in (posterior(np.full(RANK_BINS, 0.1), 10, n) for n in (200, 2000, 20_000))
    ]
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


@pytest.mark.parametrize("num_classes", CLASSES)
def test_without_rows_the_prior_is_left(num_classes: int) -> None:
    found = fit_noise(NOTHING, NOTHING, num_classes)
    assert found.p_hard == pytest.approx(0.5, abs=0.1)
    assert found.low < 0.02
    assert found.high > 0.19


@pytest.mark.parametrize("num_classes", CLASSES)
def test_a_clean_set_has_almost_no_wrong_labels(num_classes: int) -> None:
    found = fit_noise(NOTHING, np.full(RANK_BINS, 500), num_classes)
    assert found.high < 0.003


@pytest.mark.parametrize("share", [0.0, 1e-7, 0.1, 0.9, 1.0])
def test_a_very_large_set_stays_finite(share: float) -> None:
    rows = np.full(RANK_BINS, 10**9)
    found = fit_noise((share * rows).astype(np.int64), rows, 10)
    assert sum(level.weight for level in found.levels) == pytest.approx(1)
    assert 0 < found.low <= found.median <= found.high <= 0.9


@settings(max_examples=5, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1)), min_size=RANK_BINS, max_size=RANK_BINS),
    st.sampled_from(CLASSES),
)
def test_any_counts_give_a_distribution(bins: list[tuple[int, float]], num_classes: int) -> None:
    rows = np.array([count for count, _ in bins])
    disagreements = np.array([int(count * share) for count, share in bins])
    found = fit_noise(disagreements, rows, num_classes)
    assert sum(level.weight for level in found.levels) == pytest.approx(1)
    assert sum(level.weight for level in found.levels if level.is_hard) == pytest.approx(found.p_hard)
    assert 0 < found.low <= found.median <= found.high <= (num_classes - 1) / num_classes
    assert all(0 < level.rate < 1 for level in found.levels)
    for is_hard in (False, True):
        rates = [level.rate for level in found.levels if level.is_hard == is_hard]
        assert rates == sorted(rates)
    assert fit_noise(disagreements, rows, num_classes) == found
