"""Frozen parameters and learning rates per layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from support.toys import Normed, X, Y, own, small, weights


def moved(start: dict[str, Any], classifier: Any) -> set[str]:
    return {name for name, value in weights(classifier).items() if (value != start[name]).any()}


@pytest.fixture
def start() -> nn.Module:
    torch.manual_seed(0)
    return Normed(3, (6,))


def state(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


STATISTICS = {"body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"}
BODY = {"body.0.weight", "body.1.weight", "body.1.bias", *STATISTICS}
HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("frozen", "expected"),
    [
        ((), BODY | HEAD),
        (("body.*",), HEAD),
        (["head.*"], BODY),
        (("body.0.weight", "head.bias"), (BODY | HEAD) - {"body.0.weight", "head.bias"}),
        (("body.1.*",), HEAD | {"body.0.weight"}),
        # A layer with a trainable parameter updates its statistics.
        (("body.1.weight",), (BODY | HEAD) - {"body.1.weight"}),
    ],
)
def test_only_parameters_that_are_not_frozen_change(
    start: nn.Module, optimizer: str, frozen: Any, expected: set[str]
) -> None:
    classifier = own(start, frozen=frozen, optimizer=optimizer, optimizer__weight_decay=0.1).fit(X, Y)
    assert moved(state(start), classifier) == expected


def test_frozen_statistics_stay_in_partial_fits_too(start: nn.Module) -> None:
    classifier = own(start, frozen=("body.*",)).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    assert moved(state(start), classifier) == HEAD


def test_frozen_weights_are_neither_averaged_nor_lost_in_early_stopping(start: nn.Module) -> None:
    for changes in ({"average_share": 0.5}, {"early_stopping": True}):
        classifier = own(start, frozen=("body.*",), epochs=10, **changes).fit(X, Y)
        assert moved(state(start), classifier) == HEAD


def test_thawing_trains_what_was_frozen(start: nn.Module) -> None:
    classifier = own(start, frozen=("body.*",), warm_start=True).fit(X, Y)
    first = weights(classifier)
    assert moved(first, classifier.set_params(frozen=()).fit(X, Y)) == BODY | HEAD
    second = weights(classifier)
    assert moved(second, classifier.set_params(frozen=("head.*",)).fit(X, Y)) == BODY


def test_what_the_module_itself_does_not_train_stays_frozen(start: nn.Module) -> None:
    start.head.bias.requires_grad_(False)
    classifier = own(start, warm_start=True).fit(X, Y)
    assert moved(state(start), classifier) == (BODY | HEAD) - {"head.bias"}
    classifier.set_params(frozen=("body.*",)).fit(X, Y).set_params(frozen=()).fit(X, Y)
    assert (weights(classifier)["head.bias"] == state(start)["head.bias"]).all()


def test_a_factor_of_0_keeps_weights(start: nn.Module) -> None:
    classifier = own(start, learning_rate_factors={"body.0.*": 0.0, "body.1.*": 0}).fit(X, Y)
    assert moved(state(start), classifier) == HEAD | STATISTICS


def test_the_first_pattern_that_matches_applies(start: nn.Module) -> None:
    classifier = own(start, learning_rate_factors={"body.1.bias": 1.0, "body.*": 0.0}).fit(X, Y)
    assert moved(state(start), classifier) == HEAD | STATISTICS | {"body.1.bias"}


def test_a_factor_is_a_share_of_the_learning_rate() -> None:
    torch.manual_seed(0)
    start = nn.Linear(6, 3)
    settings: dict[str, Any] = {
        "optimizer": torch.optim.SGD,
        "batch_size": 1000,
        "epochs": 1,
        "schedule": "constant",
        "learning_rate": 0.1,
    }
    whole = weights(own(start, **settings).fit(X, Y))["weight"] - state(start)["weight"]
    half = weights(own(start, learning_rate_factors={"weight": 0.5}, **settings).fit(X, Y))["weight"]
    np.testing.assert_allclose(half - state(start)["weight"], whole / 2, atol=1e-7)


def test_frozen_layers_learn_nothing_and_the_head_learns_all() -> None:
    classifier = small(frozen=("layers.1.*",), epochs=40).fit(X, Y)
    other = small(frozen=("layers.1.*",), epochs=1).fit(X, Y)
    first, second = weights(classifier), weights(other)
    np.testing.assert_array_equal(first["layers.1.weight"], second["layers.1.weight"])
    assert classifier.score(X, Y) > other.score(X, Y)
