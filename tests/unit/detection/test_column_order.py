"""Exchanged columns, by the labels alone and against other folds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labelaudit.detection.column_order import (
    find_permuted,
    find_permuted_against,
    find_swapped_means,
    is_standard,
    means_are_shares,
)
from support.simulated import measure_agreement, simulate_probs

LABELS = np.random.default_rng(0).integers(0, 6, 300)
PROBS = simulate_probs(LABELS, 6, signal=1.5)
OTHERS = [measure_agreement(LABELS, simulate_probs(LABELS, 6, signal=1.5, seed=s)) for s in (1, 2, 3)]
ODDS = math.log(1e6)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([0, 1, 2, 3, 4, 5], []),
        ([0, 4, 2, 3, 1, 5], [1, 4]),
        ([2, 0, 1, 3, 4, 5], [0, 1, 2]),
        ([2, 0, 1, 3, 5, 4], [0, 1, 2, 4, 5]),
        ([5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_classes_concerned_are_named(columns: list[int], expected: list[int]) -> None:
    measured = measure_agreement(LABELS, PROBS[:, columns])
    assert find_permuted([measured], ODDS) == expected
    assert find_permuted_against(measured, OTHERS, ODDS) == expected


def test_other_folds_see_what_labels_alone_do_not() -> None:
    """A fold of 60 rows: ten per class."""
    found_alone = found_against = 0
    for seed in range(20):
        labels = np.random.default_rng(seed).permutation(np.arange(60) % 6)
        probs = simulate_probs(labels, 6, signal=1.8, seed=seed)
        healthy = measure_agreement(labels, probs)
        assert find_permuted_against(healthy, OTHERS, ODDS) == []
        measured = measure_agreement(labels, probs[:, [1, 0, 2, 3, 4, 5]])
        found_alone += find_permuted([measured], ODDS) == [0, 1]
        found_against += find_permuted_against(measured, OTHERS, ODDS) == [0, 1]
    assert found_against > 10 > found_alone


def test_random_columns_are_not_called_permuted() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        measured = measure_agreement(LABELS, rng.dirichlet(np.ones(6), 300).astype(np.float32))
        assert find_permuted([measured], ODDS) == []


def test_weak_folds_are_no_standard() -> None:
    weak = [measure_agreement(LABELS, simulate_probs(LABELS, 6, signal=0.2, seed=s)) for s in (1, 2, 3)]
    assert is_standard(OTHERS)
    assert not is_standard(weak)
    assert not is_standard([])
    assert find_permuted_against(measure_agreement(LABELS, PROBS[:, ::-1]), weak, ODDS) == []


def test_means_are_shares_of_labels_after_training() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], [180, 20]))
    trained = measure_agreement(labels, np.tile([0.9, 0.1], (200, 1)))
    collapsed = measure_agreement(labels, np.tile([0.3, 0.7], (200, 1)))
    assert means_are_shares([trained, trained, collapsed])
    assert not means_are_shares([collapsed, trained, collapsed])
    assert not means_are_shares([collapsed])


def test_large_and_small_class_exchanged_by_their_means() -> None:
    """95 to 5, and a model that hardly separates them."""
    rng = np.random.default_rng(2)
    folds = []
    for _ in range(3):
        labels = rng.permutation(np.repeat([0, 1], [95, 5]))
        p_small = np.clip(0.05 + 0.02 * rng.normal(size=100) + 0.01 * labels, 0.001, 1)
        folds.append((labels, np.column_stack([1 - p_small, p_small])))
    measured = [measure_agreement(labels, probs) for labels, probs in folds]
    swapped = measure_agreement(folds[0][0], folds[0][1][:, ::-1])
    assert find_swapped_means(measured[0], measured[1:]) == []
    assert find_swapped_means(swapped, measured[1:]) == [0, 1]
    assert find_swapped_means(swapped, measured[1:2]) == [0, 1]
    assert find_swapped_means(swapped, []) == []
