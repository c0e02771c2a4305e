"""What verdicts on a random sample change in p_wrong."""

from __future__ import annotations

import numpy as np
import pytest

from labelaudit.detection.p_wrong_strata import allocation, strata_by_p_wrong
from labelaudit.detection.recalibration import LEAST_VERDICTS, recalibrated_p_wrong

ROWS = 5_000
REVIEWS = 25
# The log odds of p_wrong: times a slope, plus a shift.
DISTORTIONS = {"over-confident": (2, 0), "under-confident": (0.5, 0), "too high": (1, 1.2), "too low": (1, -1.2)}


def truth(rng: np.random.Generator, rate: float = 0.1) -> np.ndarray:
    return np.clip(rng.beta(rate * 0.6, (1 - rate) * 0.6, ROWS), 1e-4, 1 - 1e-4)


def distorted(p: np.ndarray, slope: float, shift: float) -> np.ndarray:
    return (1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + shift)))).astype(np.float32)


def calibration_error(true: np.ndarray, stated: np.ndarray) -> float:
    """Return the expected calibration error over 20 groups of rows with similar stated probabilities."""
    groups = np.array_split(np.argsort(stated, kind="stable"), 20)
    return float(np.mean([abs(true[group].mean() - stated[group].mean()) for group in groups]))


def errors(slope: float, shift: float, verdicts: int) -> tuple[float, float]:
    """Return the mean calibration error before and after reviews of random samples."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(REVIEWS):
        true = truth(rng)
        p_wrong = distorted(true, slope, shift)
        strata, numbers = strata_by_p_wrong(p_wrong)
        drawn = [
            rng.permutation(np.flatnonzero(numbers == number))[:count]
            for number, count in enumerate(allocation(strata, verdicts))
        ]
        positions = np.concatenate(drawn)
        after = recalibrated_p_wrong(p_wrong, positions, rng.random(len(positions)) < true[positions])
        found.append((calibration_error(true, p_wrong), calibration_error(true, after)))
    before, after_reviews = np.mean(found, axis=0)
    return float(before), float(after_reviews)


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_verdicts_decrease_the_calibration_error(distortion: str) -> None:
    before, with_few = errors(*DISTORTIONS[distortion], verdicts=60)
    assert with_few < before
    _, with_many = errors(*DISTORTIONS[distortion], verdicts=400)
    assert with_many < 0.6 * before


@pytest.mark.parametrize("verdicts", [60, 200])
def test_what_is_calibrated_stays_calibrated(verdicts: int) -> None:
    before, after = errors(1, 0, verdicts)
    # Verdicts differ from probabilities by chance. Isotonic regression alone has an error of .022 after 60 verdicts.
    assert after < before + 0.005


@pytest.mark.parametrize("is_wrong", [True, False])
def test_the_order_stays_and_no_row_is_certain(is_wrong: bool) -> None:
    rng = np.random.default_rng(0)
    p_wrong = np.sort(np.append(truth(rng), [0, 1]).astype(np.float32))
    positions = rng.permutation(ROWS)[:200]
    found = recalibrated_p_wrong(p_wrong, positions, np.full(200, is_wrong))
    assert (np.diff(found) >= 0).all()
    assert 0 < found.min() < found.max() < 1
    assert (found.mean() > p_wrong.mean()) == is_wrong


def test_too_few_verdicts_change_nothing() -> None:
    p_wrong = np.linspace(0.1, 0.9, 200).astype(np.float32)
    few = np.arange(LEAST_VERDICTS - 1)
    assert (recalibrated_p_wrong(p_wrong, few, np.ones(len(few), bool)) == p_wrong).all()


def test_weights_count() -> None:
    """Half of the judged rows are wrong; those that stand for more rows are right."""
    p_wrong = np.full(1_000, 0.5, np.float32)
    positions, is_wrong = np.arange(200), np.arange(200) < 100
    weights = np.where(is_wrong, 1.0, 9.0)
    assert recalibrated_p_wrong(p_wrong, positions, is_wrong)[0] == pytest.approx(0.5, abs=1e-3)
    assert recalibrated_p_wrong(p_wrong, positions, is_wrong, weights)[0] < 0.35
