"""Labels of any type, and weights of rows and classes, which act like repeated rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from labelaudit.errors import ConfigError, InputError
from labelaudit.model.classifier import TorchClassifier
from support.toys import X, Y, same_weights, small, weights

NAMES = np.array(["ant", "bee", "cat"])
# Each maps 0, 1, 2 to labels that sort in the same order.
LABELS: dict[str, tuple[Callable[[np.ndarray], Any], list[Any]]] = {
    "str": (lambda y: NAMES[y], ["ant", "bee", "cat"]),
    "object": (lambda y: NAMES[y].astype(object), ["ant", "bee", "cat"]),
    "list of str": (lambda y: NAMES[y].tolist(), ["ant", "bee", "cat"]),
    "negative": (lambda y: y - 2, [-2, -1, 0]),
    "far apart": (lambda y: y * 10**12, [0, 10**12, 2 * 10**12]),
    "int8": (lambda y: y.astype(np.int8), [0, 1, 2]),
    "uint8": (lambda y: y.astype(np.uint8), [0, 1, 2]),
    "big-endian": (lambda y: y.astype(">i4"), [0, 1, 2]),
    "whole floats": (lambda y: y.astype(float), [0.0, 1.0, 2.0]),
    "Series": (lambda y: pd.Series(NAMES[y], index=range(1000, 1120)), ["ant", "bee", "cat"]),
    "Categorical": (lambda y: pd.Categorical(NAMES[y], categories=["cat", "bee", "ant"]), ["ant", "bee", "cat"]),
    "Series of categories": (lambda y: pd.Series(pd.Categorical(NAMES[y])), ["ant", "bee", "cat"]),
    "tensor": (torch.tensor, [0, 1, 2]),
    "tensor int8": (lambda y: torch.tensor(y).to(torch.int8), [0, 1, 2]),
    "tensor of floats": (lambda y: torch.tensor(y).float(), [0.0, 1.0, 2.0]),
    "tensor with gradients": (lambda y: torch.tensor(y).float().requires_grad_(), [0.0, 1.0, 2.0]),
    "not writeable": (lambda y: np.broadcast_to(y, y.shape), [0, 1, 2]),
    "reversed view": (lambda y: y[::-1].copy()[::-1], [0, 1, 2]),
}


@pytest.fixture(scope="module")
def reference() -> TorchClassifier:
    return small().fit(X, Y)


@pytest.mark.parametrize("name", LABELS)
def test_predictions_have_the_type_of_the_labels(name: str, reference: TorchClassifier) -> None:
    convert, classes = LABELS[name]
    labels = convert(Y)
    classifier = small().fit(X, labels)
    assert classifier.classes_.tolist() == classes
    assert same_weights(classifier, reference)
    predicted = classifier.predict(X)
    assert predicted.tolist() == [classes[code] for code in reference.predict(X)]
    assert predicted.dtype == classifier.classes_.dtype
    assert classifier.score(X, labels) == reference.score(X, Y)


def test_truth_values_are_labels() -> None:
    for labels in (Y > 0, torch.tensor(Y > 0), pd.Series(Y > 0)):
        classifier = small().fit(X, labels)
        assert classifier.classes_.tolist() == [False, True]
        assert classifier.predict(X).dtype == bool
    assert same_weights(classifier, small().fit(X, (Y > 0).astype(int)))


def test_a_single_class_is_predicted_for_certain() -> None:
    classifier = small().fit(X, np.full(120, "only"))
    assert classifier.predict(X).tolist() == ["only"] * 120
    np.testing.assert_array_equal(classifier.predict_proba(X), np.ones((120, 1)))


def test_a_column_of_labels_is_taken_with_scikit_learns_warning(reference: TorchClassifier) -> None:
    with pytest.warns(DataConversionWarning, match=r"A column-vector y was passed"):
        classifier = small().fit(X, Y[:, None])
    assert same_weights(classifier, reference)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"TorchClassifier requires y to be passed, but the target y is None"),
        (np.stack([Y, Y], axis=1), r"y should be a 1d array, got an array of shape \(120, 2\)"),
        (torch.zeros(120, 3), r"y should be a 1d array, got an array of shape \(120, 3\)"),
        (X[:, 0], r"Unknown label type: continuous"),
        (np.where(np.arange(120) == 3, np.nan, Y), r"Input y contains NaN"),
        (np.where(np.arange(120) == 3, np.inf, Y), r"Input y contains infinity"),
        (Y[:-1], r"inconsistent numbers of samples: \[120, 119\]"),
    ],
)
def test_wrong_labels_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().fit(X, labels)
    with pytest.raises(ValueError, match=message):
        small().partial_fit(X, labels, classes=[0, 1, 2])


@pytest.mark.parametrize("value", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("contain", [np.asarray, list, pd.Series, pd.Categorical])
def test_missing_names_among_labels_are_refused(contain: Callable[[Any], Any], value: Any) -> None:
    missing = NAMES[Y].astype(object)
    missing[[3, 5]] = value
    with pytest.raises(InputError, match=r"Input y contains NaN or None in 2 of 120 rows \(first: row 3\)\. Leave"):
        small().fit(X, contain(missing))


@pytest.mark.parametrize("contain", [lambda labels: np.array(labels, object), list])
def test_texts_and_numbers_are_not_merged(contain: Callable[[Any], Any]) -> None:
    labels = [1, "1", "2"] * 40
    with pytest.raises(InputError, match=r"Input y contains labels of the types int, str\. Convert all of them to one"):
        small().fit(X, contain(labels))


def test_whole_numbers_and_fractions_are_one_type() -> None:
    assert small().fit(X, [0, 1.0, 2] * 40).classes_.tolist() == [0, 1, 2]


def whole_batch(**changes: Any) -> TorchClassifier:
    """All rows are one batch, and rounding is far below the tolerance."""
    return small(batch_size=10_000, precision="float64", **changes)


def assert_close(first: TorchClassifier, second: TorchClassifier) -> None:
    ours, theirs = weights(first), weights(second)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-9, rtol=1e-7)


@given(counts=st.lists(st.integers(0, 3), min_size=20, max_size=20).filter(lambda counts: len(set(counts)) > 1))
@settings(max_examples=15)
def test_whole_weights_are_repeated_rows(counts: list[int]) -> None:
    rows = np.arange(20)[np.argsort(Y[:20], kind="stable")]
    # A row of each class is always there, so that both fits know the same classes.
    kept = [np.flatnonzero(Y[rows] == label)[0] for label in range(3)]
    repeats = np.array(counts)
    repeats[kept] += 1
    repeated = np.repeat(rows, repeats)
    weighted = whole_batch().fit(X[rows], Y[rows], sample_weight=repeats)
    assert_close(weighted, whole_batch().fit(X[repeated], Y[repeated]))


def test_weights_count_in_early_stopping_and_in_its_validation_loss() -> None:
    row_weights = np.where(Y == 0, 1.0, 5.0)
    plain = small(early_stopping=True).fit(X, Y)
    weighted = small(early_stopping=True).fit(X, Y, sample_weight=row_weights)
    assert plain.history_[0]["validation_loss"] != weighted.history_[0]["validation_loss"]


def test_only_ratios_of_weights_count() -> None:
    row_weights = np.random.default_rng(0).random(120)
    assert same_weights(small().fit(X, Y, sample_weight=row_weights), small().fit(X, Y, sample_weight=row_weights * 4))


def test_weights_change_what_is_learned_and_equal_ones_do_not(reference: TorchClassifier) -> None:
    assert not same_weights(small().fit(X, Y, sample_weight=Y + 1.0), reference)
    assert_close(whole_batch().fit(X, Y, sample_weight=np.full(120, 0.3)), whole_batch().fit(X, Y))


def test_weights_may_have_any_container() -> None:
    row_weights = np.arange(1.0, 121)
    expected = small().fit(X, Y, sample_weight=row_weights)
    for given_marks in (
        row_weights.tolist(),
        pd.Series(row_weights),
        torch.tensor(row_weights),
        row_weights.astype(np.int64),
    ):
        assert same_weights(small().fit(X, Y, sample_weight=given_marks), expected)


@pytest.mark.parametrize(
    ("row_weights", "message"),
    [
        (
            np.ones(119),
            r"Sample weights have shape \(119,\), but must be 1D\. Pass one weight for each of the 120 rows",
        ),
        (np.ones((120, 1)), r"Sample weights have shape \(120, 1\), but must be 1D"),
        (2.0, r"Sample weights have shape \(\), but must be 1D"),
        (
            np.where(np.arange(120) == 5, -1.0, 1.0),
            r"Sample weights are negative or not finite\. Pass weights that are finite",
        ),
        (
            np.where(np.arange(120) == 5, np.nan, 1.0),
            r"Sample weights are negative or not finite\. Pass weights that are finite",
        ),
        (
            np.where(np.arange(120) == 5, np.inf, 1.0),
            r"Sample weights are negative or not finite\. Pass weights that are finite",
        ),
        (np.zeros(120), r"All weights are zero, so there is nothing to train on"),
    ],
)
def test_wrong_weights_are_refused(row_weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small().fit(X, Y, sample_weight=row_weights)
    with pytest.raises(InputError, match=message):
        small().partial_fit(X, Y, classes=[0, 1, 2], sample_weight=row_weights)


UNEVEN = np.r_[np.flatnonzero(Y == 0)[:5], np.flatnonzero(Y > 0)]


def test_balanced_classes_are_those_of_scikit_learn() -> None:
    data, labels = X[UNEVEN], NAMES[Y[UNEVEN]]
    balanced = whole_batch(class_weight="balanced").fit(data, labels)
    row_weights = compute_sample_weight("balanced", labels)
    assert_close(balanced, whole_batch().fit(data, labels, sample_weight=row_weights))
    classes = np.unique(labels)
    by_class = compute_class_weight("balanced", classes=classes, y=labels)
    given_weights = dict(zip(classes.tolist(), by_class.tolist(), strict=True))
    assert_close(balanced, whole_batch(class_weight=given_weights).fit(data, labels))
    assert not same_weights(balanced, whole_batch().fit(data, labels))


def test_class_weights_left_out_are_1_and_multiply_those_of_rows() -> None:
    row_weights = np.linspace(1, 3, 120)
    by_class = whole_batch(class_weight={"bee": 2.5}).fit(X, NAMES[Y], sample_weight=row_weights)
    assert_close(by_class, whole_batch().fit(X, NAMES[Y], sample_weight=row_weights * np.where(Y == 1, 2.5, 1)))


def test_balancing_counts_rows_by_their_weights() -> None:
    repeats = np.arange(120) % 3 + 1
    rows = np.repeat(np.arange(120), repeats)
    weighted = whole_batch(class_weight="balanced").fit(X, Y, sample_weight=repeats)
    assert_close(weighted, whole_batch(class_weight="balanced").fit(X[rows], Y[rows]))


def test_class_weights_of_truth_values_and_numbers() -> None:
    flags = Y > 0
    expected = small(class_weight={1: 3.0}).fit(X, flags.astype(int))
    assert same_weights(small(class_weight={True: 3.0}).fit(X, flags), expected)
    assert same_weights(small(class_weight={np.int64(1): 3.0}).fit(X, flags.astype(int)), expected)


def test_classes_without_rows_keep_balanced_weights_finite() -> None:
    classifier = small(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2, 3])
    assert np.isfinite(classifier.predict_proba(X)).all()


def test_class_weights_of_zero_for_all_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"All weights are zero"):
        small(class_weight={0: 0.0, 1: 0.0, 2: 0.0}).fit(X, Y)


@pytest.mark.parametrize("rare", [{2: 5.0}, {2: 5.0, 3: 1.0}])
def test_weights_of_classes_that_a_fold_lacks_are_ignored(rare: dict[int, float]) -> None:
    rows = Y < 2
    expected = small(class_weight={0: 1.0, 1: 2.0}).fit(X[rows], Y[rows])
    assert same_weights(small(class_weight={0: 1.0, 1: 2.0, **rare}).fit(X[rows], Y[rows]), expected)


def test_folds_may_lack_a_class_that_has_a_weight() -> None:
    labels = np.minimum(Y, 1)
    labels[:3] = 2
    for weight in ({0: 1.0, 1: 2.0, 2: 5.0}, "balanced"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scikit-learn's, about folds with fewer classes
            found = cross_val_predict(small(class_weight=weight), X, labels, cv=KFold(3), method="predict_proba")
        assert found.shape == (120, 3)
        assert (found[:3, 2] == 0).all()


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({0: 1, 1: 1, 7: 2}, r"has 7, which is not among the classes \[0, 1, 2\]\. Correct it, or give class 2 a"),
        ({"0": 1, "1": 1, "2": 1}, r"has '0', which is not among .*Labels here are of type int\. Use this type"),
        ({0: 1, 1: 1, 2: 1, "3": 1}, r"has '3', which is not among .*Labels here are of type int\. Use this type"),
        ({0: 1, 1: 1, 2: 1, None: 1}, r"has None, which is not among .*Labels here are of type int"),
        ({1: -1.0}, r"class_weight of 1 is -1\.0\. Use a finite number that is at least 0"),
        ({1: math.nan}, r"class_weight of 1 is nan\. Use a finite"),
        ({1: math.inf}, r"class_weight of 1 is inf\. Use a finite"),
        ({1: "2"}, r"class_weight of 1 is '2'\. Use a finite"),
    ],
)
def test_class_weights_that_cannot_be_meant_are_refused(class_weight: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(class_weight=class_weight).fit(X, Y)
