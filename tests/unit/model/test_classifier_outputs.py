"""Outputs of modules and results of the classifier: kinds, probabilities, logarithms, scores and features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.classifier import TorchClassifier
from support.toys import X, Y, own, small

HEADS: dict[str, Callable[[], nn.Module]] = {
    "logits": nn.Identity,
    "log_probabilities": partial(nn.LogSoftmax, 1),
    "probabilities": partial(nn.Softmax, 1),
}


class Switching(nn.Module):
    """One head while training, another one otherwise."""

    def __init__(self, training_head: nn.Module, other_head: nn.Module) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.heads = nn.ModuleList([training_head, other_head])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.heads[0 if self.training else 1](self.layer(x))
        return output


class Fixed(nn.Module):
    """Hands its input on as logits, times a weight that is 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def fixed(columns: int, **changes: Any) -> TorchClassifier:
    """Predicts its inputs as logits: trained, but at a rate that is lost in rounding."""
    data = np.random.default_rng(0).normal(size=(20, columns)).astype(np.float32)
    return own(Fixed, learning_rate=1e-30, epochs=1, **changes).fit(data, np.arange(20) % columns)


def linear_with(head: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3), head)


def test_output_kinds_are_equivalent() -> None:
    results = {
        kind: own(lambda head=head: linear_with(head()), output_kind=kind).fit(X, Y).predict_proba(X)
        for kind, head in HEADS.items()
    }
    np.testing.assert_allclose(results["log_probabilities"], results["logits"], atol=1e-4)
    np.testing.assert_allclose(results["probabilities"], results["logits"], atol=1e-4)


@pytest.mark.parametrize("declared", HEADS)
@pytest.mark.parametrize("returned", HEADS)
@pytest.mark.parametrize("where", ["always", "in training", "in prediction"])
def test_a_wrong_output_kind_is_refused_in_training_and_prediction(declared: str, returned: str, where: str) -> None:
    training, other = (HEADS[declared if where == place else returned]() for place in ("in prediction", "in training"))
    classifier = own(partial(Switching, training, other), output_kind=declared)
    # Log-probabilities are valid logits: their softmax is the distribution itself.
    if declared == returned or (declared, returned) == ("logits", "log_probabilities"):
        assert classifier.fit(X, Y).predict_proba(X).shape == (120, 3)
    else:
        with pytest.raises(
            TrainingError, match=rf"The output_kind is '{declared}', but the network returns {returned}"
        ):
            classifier.fit(X, Y)


def test_a_module_that_changes_its_kind_after_training_is_refused() -> None:
    classifier = own(linear_with(nn.Identity())).fit(X, Y)
    classifier.module_[1] = nn.Softmax(1)
    with pytest.raises(TrainingError, match=r"The output_kind is 'logits', but the network returns probabilities"):
        classifier.predict_proba(X)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", HEADS)
def test_probabilities_are_distributions_in_float32(precision: str, kind: str) -> None:
    classifier = own(linear_with(HEADS[kind]()), output_kind=kind, precision=precision).fit(X, Y)
    probabilities = classifier.predict_proba(X)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (120, 3)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1, dtype=np.float64), 1, atol=1e-6)


def test_results_of_float64_precision_keep_their_digits() -> None:
    classifier = small(precision="float64").fit(X, Y)
    probabilities = classifier.predict_proba(X)
    assert probabilities.dtype == classifier.predict_log_proba(X).dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-14)
    assert classifier.transform(X).dtype == np.float32


def test_logarithms_are_finite_if_probabilities_round_to_0() -> None:
    extreme = np.array([[0, 300.0, -300], [500, 0, 0]], np.float32)
    classifier = fixed(3)
    probabilities, logs = classifier.predict_proba(extreme), classifier.predict_log_proba(extreme)
    assert (probabilities == 0).sum() == 4
    assert logs.dtype == np.float32
    np.testing.assert_allclose(logs, [[-300, 0, -600], [0, -500, -500]], rtol=1e-6)


def test_logarithms_are_finite_if_a_module_returns_probabilities_of_0() -> None:
    classifier = own(nn.Sequential(Fixed(), nn.Softmax(1)), output_kind="probabilities", learning_rate=1e-30)
    data = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    logs = classifier.fit(data, np.arange(20) % 3).predict_log_proba(np.array([[0, 300.0, -300]], np.float32))
    assert np.isfinite(logs).all()
    assert logs.argmax() == 1


@given(values=st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3))
@settings(max_examples=30)
def test_probabilities_logarithms_and_predictions_agree(values: list[float]) -> None:
    row = np.array([values], np.float32)
    probabilities, logs = FIXED.predict_proba(row), FIXED.predict_log_proba(row)
    expected = np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(np.exp(logs), probabilities, atol=1e-6)
    assert FIXED.predict(row)[0] == logs.argmax()


FIXED = fixed(3)


def test_the_decision_of_two_classes_is_the_log_odds_of_the_second() -> None:
    rows = np.array([[1, 3], [500, -500], [0, 0]], np.float32)
    classifier = fixed(2)
    np.testing.assert_allclose(classifier.decision_function(rows), [2, -1000, 0], rtol=1e-6)
    assert ((classifier.decision_function(rows) > 0) == (classifier.predict(rows) == 1)).all()


def test_the_decision_of_more_classes_is_their_log_probability() -> None:
    np.testing.assert_array_equal(FIXED.decision_function(X[:, :3]), FIXED.predict_log_proba(X[:, :3]))


def test_score_is_accuracy_with_weights() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert FIXED.score(rows, [0, 1, 1]) == pytest.approx(2 / 3)
    assert FIXED.score(rows, torch.tensor([0, 1, 1]), sample_weight=[1, 1, 8]) == pytest.approx(0.2)


@given(rows=st.integers(1, 120), batch_size=st.integers(1, 7))
@settings(max_examples=20)
def test_predictions_do_not_depend_on_batches_or_on_other_rows(rows: int, batch_size: int) -> None:
    TRAINED.set_params(batch_size=batch_size)
    np.testing.assert_allclose(TRAINED.predict_proba(X[:rows]), EXPECTED[:rows], atol=1e-6)


TRAINED = small().fit(X, Y)
EXPECTED = TRAINED.predict_proba(X)


def test_features_are_what_goes_into_the_last_linear_layer() -> None:
    features = TRAINED.transform(X)
    assert features.shape == (120, 8)
    assert features.dtype == np.float32
    last = TRAINED.module_.layers[-1]
    logits = features @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), EXPECTED, atol=1e-5)


def test_features_have_names_in_a_frame() -> None:
    frame = small().set_output(transform="pandas").fit(X, Y).transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == [f"torchclassifier{number}" for number in range(8)]


class ConvolutionHead(nn.Module):
    """A 1x1 convolution that returns the scores of each pixel, and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 5, 3, padding=1)
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)).mean((2, 3))


def test_features_before_a_convolution_are_as_many_as_their_names() -> None:
    images = np.random.default_rng(0).random((20, 1, 4, 4)).astype(np.float32)
    classifier = own(ConvolutionHead).fit(images, np.arange(20) % 2)
    assert classifier.transform(images).shape[1] == len(classifier.get_feature_names_out())


def test_a_module_without_a_linear_layer_has_no_features() -> None:
    with pytest.raises(ConfigError, match=r"Fixed has no last linear layer or 1x1 convolution"):
        FIXED.transform(X[:, :3])


def test_transforming_leaves_no_hook_and_changes_no_prediction() -> None:
    before = TRAINED.predict_proba(X)
    TRAINED.transform(X)
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in TRAINED.module_.modules())
    np.testing.assert_array_equal(TRAINED.predict_proba(X), before)


def test_features_of_a_head_that_is_called_by_keyword() -> None:
    class ByKeyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.head(input=x)
            return output

    np.testing.assert_array_equal(own(ByKeyword).fit(X, Y).transform(X), X)
