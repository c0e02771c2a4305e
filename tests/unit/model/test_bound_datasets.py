"""Row numbers of a bound dataset in place of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict

from labelaudit.errors import InputError
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.networks import SmallResNet
from support.toys import X, Y, own, same_weights, small

ROWS, HELD_OUT = np.arange(0, 120, 2), np.arange(1, 120, 2)


@pytest.mark.parametrize(
    "numbers",
    [
        ROWS,
        ROWS[:, None],
        ROWS.tolist(),
        ROWS.astype(np.uint8),
        ROWS.astype(">i4"),
        torch.tensor(ROWS),
        torch.tensor(ROWS)[:, None],
        pd.Series(ROWS),
        pd.DataFrame({"row": ROWS}),
        np.arange(120)[::-1][::-2],
    ],
)
def test_row_numbers_may_have_any_container(numbers: Any) -> None:
    bound = small(dataset=X).fit(numbers, Y[ROWS])
    plain = small().fit(X[ROWS], Y[ROWS])
    assert same_weights(bound, plain)
    np.testing.assert_array_equal(bound.predict_proba(numbers), plain.predict_proba(X[ROWS]))


def test_rows_may_be_named_twice_and_in_any_order() -> None:
    numbers = np.array([7, 3, 3, 119, 0, 7])
    bound, plain = small(dataset=X).fit(numbers, Y[numbers]), small().fit(X[numbers], Y[numbers])
    assert same_weights(bound, plain)


def test_every_method_takes_row_numbers() -> None:
    bound, plain = small(dataset=X).fit(ROWS, Y[ROWS]), small().fit(X[ROWS], Y[ROWS])
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform"):
        np.testing.assert_array_equal(getattr(bound, method)(HELD_OUT), getattr(plain, method)(X[HELD_OUT]))
    assert bound.score(HELD_OUT, Y[HELD_OUT]) == plain.score(X[HELD_OUT], Y[HELD_OUT])
    assert same_weights(bound.partial_fit(HELD_OUT, Y[HELD_OUT]), plain.partial_fit(X[HELD_OUT], Y[HELD_OUT]))


def test_early_stopping_and_weights_go_by_the_rows_that_are_named() -> None:
    settings: dict[str, Any] = {"early_stopping": True, "epochs": 8}
    row_weights, groups = np.linspace(1, 3, 60), ROWS // 8
    bound = small(dataset=X, **settings).fit(ROWS, Y[ROWS], sample_weight=row_weights, groups=groups)
    plain = small(**settings).fit(X[ROWS], Y[ROWS], sample_weight=row_weights, groups=groups)
    assert same_weights(bound, plain)
    assert [e["validation_loss"] for e in bound.history_] == [e["validation_loss"] for e in plain.history_]


def test_a_dataset_can_be_bound_and_taken_away_after_the_fit() -> None:
    classifier = small().fit(X, Y)
    expected = classifier.predict_proba(X)
    bound = classifier.set_params(dataset=X).predict_proba(HELD_OUT)
    np.testing.assert_allclose(bound, expected[HELD_OUT], atol=1e-6)
    np.testing.assert_array_equal(classifier.set_params(dataset=None).predict_proba(X), expected)


def test_cross_validation_over_row_numbers_is_that_over_rows() -> None:
    bound = cross_val_predict(small(dataset=X), np.arange(120), Y, cv=3, method="predict_proba")
    plain = cross_val_predict(small(), X, Y, cv=3, method="predict_proba")
    np.testing.assert_array_equal(bound, plain)


def images() -> tuple[ImageInputs, np.ndarray]:
    digits = load_digits()
    pixels = (digits.images * 15).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(pixels))
    return ImageInputs(pixels[order], np.argsort(order)), digits.target


def test_bound_images_are_as_good_as_an_array_of_images() -> None:
    dataset, labels = images()
    classifier = own(SmallResNet, module__widths=(4, 8), epochs=2, crop_padding=1, flip=True)
    rows = np.arange(200, 400)
    pixels = np.ascontiguousarray(dataset.pixels[dataset.positions[rows]].transpose(0, 3, 1, 2))
    plain = own(SmallResNet, module__widths=(4, 8), epochs=2, crop_padding=1, flip=True).fit(pixels, labels[rows])
    bound = classifier.set_params(dataset=dataset).fit(rows, labels[rows])
    assert same_weights(bound, plain)
    np.testing.assert_array_equal(bound.predict_proba(rows), plain.predict_proba(pixels))
    assert bound.input_shape_ == (1, 8, 8)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            np.array([0, 120]),
            r"X contains the row numbers 0 to 120, but the bound dataset has 120 rows\. Pass numbers from 0 to 119",
        ),
        (np.array([-1, 3]), r"X contains the row numbers -1 to 3"),
        (
            np.array([0.0, 1.0]),
            r"X has dtype float64 and shape \(2,\), but .* it contains row numbers\. Pass integers of shape \(n,\)",
        ),
        (
            np.array([True, False]),
            r"X has dtype bool and shape \(2,\), but .* it contains row numbers\. Pass integers of shape \(n,\)",
        ),
        (np.array(["0", "1"]), r"X has dtype <U1 and shape \(2,\)"),
        (np.zeros((2, 2), int), r"X has dtype int64 and shape \(2, 2\)"),
        (np.array(3), r"X has dtype int64 and shape \(\)"),
        (np.array([], int), r"X is empty\. Pass row numbers of the bound dataset, 0 to 119"),
        (np.array([2**64 - 1, 1], np.uint64), r"X contains the row numbers 1 to 18446744073709551615"),
    ],
)
def test_wrong_row_numbers_are_refused(numbers: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(dataset=X).fit(numbers, Y[:2])
    fitted = small(dataset=X).fit(ROWS, Y[ROWS])
    with pytest.raises(InputError, match=message):
        fitted.predict(numbers)


def test_row_numbers_and_labels_must_be_as_many() -> None:
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[3, 2\]"):
        small(dataset=X).fit(np.arange(3), Y[:2])
