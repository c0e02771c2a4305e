"""Which measures predict a label: only large effects that are not chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from labelaudit.quality.label_relations import LEAST_PAIRS, label_relations

CLASSES = ("cat", "dog", "owl")


def shifted(by: float, rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    return rng.normal(size=rows) + by * (labels == 1), labels


def test_a_class_with_lower_values_is_found() -> None:
    values, labels = shifted(-4)
    (found,) = label_relations({"brightness": values}, labels, CLASSES)
    assert (found.measure, found.class_name, found.is_low) == ("brightness", "dog", True)
    assert found.pairs == pytest.approx(1 - roc_auc_score(labels == 1, values))
    assert found.low < found.pairs < found.high
    assert found.tail == pytest.approx(0.1, abs=0.01)
    assert found.share == pytest.approx((values[labels == 1] <= np.quantile(values, 0.1)).mean(), abs=0.01)
    assert found.share_of_others < 0.02


@pytest.mark.parametrize("by", [0.0, 0.5, 1.5])
def test_small_effects_are_not_reported(by: float) -> None:
    values, labels = shifted(by)
    assert label_relations({"brightness": values}, labels, CLASSES) == ()


def test_few_rows_of_a_class_are_not_compared() -> None:
    values, labels = shifted(-4, rows=54)
    assert label_relations({"brightness": values}, labels, CLASSES) == ()


def test_of_two_classes_one_is_named() -> None:
    values, labels = shifted(-4)
    assert len(label_relations({"brightness": values}, (labels == 1).astype(np.int64), ("cat", "dog"))) == 1


def test_a_measure_without_values_predicts_nothing() -> None:
    _, labels = shifted(0)
    assert label_relations({"one": np.zeros(600), "none": np.full(600, np.nan)}, labels, CLASSES) == ()


def test_many_equal_values() -> None:
    _, labels = shifted(0)
    (found,) = label_relations({"missing": (labels == 1).astype(float)}, labels, CLASSES)
    assert (found.pairs, found.share, found.share_of_others) == (1, 1, 0)
    assert found.tail == pytest.approx(1 / 3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), by=st.floats(-5, 5), copies=st.integers(1, 3))
def test_shares_of_pairs_do_not_depend_on_copies_or_order(seed: int, by: float, copies: int) -> None:
    values, labels = shifted(by, 150, seed)
    order = np.random.default_rng(seed).permutation(150 * copies)
    one = label_relations({"brightness": values}, labels, CLASSES)
    several = label_relations({"brightness": np.tile(values, copies)[order]}, np.tile(labels, copies)[order], CLASSES)
    assert [found.pairs for found in one] == pytest.approx([found.pairs for found in several])
    assert all(LEAST_PAIRS <= found.pairs <= 1 for found in one)


def test_of_three_classes_the_lowest_and_the_highest_are_named() -> None:
    _, labels = shifted(0)
    found = label_relations({"brightness": labels + np.linspace(0, 0.1, 600)}, labels, CLASSES)
    assert {(one.class_name, one.is_low) for one in found} == {("cat", True), ("owl", False)}
