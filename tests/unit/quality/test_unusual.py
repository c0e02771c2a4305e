"""Fences of values, by hand."""

from __future__ import annotations

import numpy as np

from labelaudit.quality.unusual import FEWEST_VALUES, lower_fence, upper_fence


def test_fences_by_hand() -> None:
    values = np.arange(101, dtype=float)
    assert upper_fence(values) == 75 + 3 * 25
    assert lower_fence(values) == 25 - 3 * 25
    assert upper_fence(values, spreads=4) == 75 + 4 * 25


def test_each_side_has_its_own_spread() -> None:
    values = np.concatenate([np.full(50, 10.0), np.linspace(10, 30, 51)])
    assert lower_fence(values) == 10
    assert upper_fence(values) > 30


def test_unknown_values_do_not_count_and_a_few_show_nothing() -> None:
    few = np.arange(FEWEST_VALUES - 1, dtype=float)
    assert upper_fence(np.append(few, np.nan)) == np.inf
    assert lower_fence(few) == -np.inf
