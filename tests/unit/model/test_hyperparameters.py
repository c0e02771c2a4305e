"""Hyper-parameters reach the estimator and its training loop under one name, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch

from labelaudit.errors import ConfigError
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.hyperparameters import Hyperparameters
from labelaudit.model.networks import MLP
from labelaudit.model.schedules import cosine

# Every value differs from the default of the estimator.
VALUES: dict[str, Any] = {
    "epochs": 7,
    "batch_size": 17,
    "learning_rate": 0.5,
    "optimizer": torch.optim.Adam,
    "optimizer_kwargs": {"weight_decay": 0.25, "eps": 1e-3},
    "schedule": cosine,
    "label_smoothing": 0.125,
    "crop_padding": 3,
    "flip": True,
    "average_share": 0.75,
}


def test_every_hyperparameter_reaches_the_training_loop() -> None:
    classifier = TorchClassifier.from_hyperparameters(MLP, Hyperparameters(**VALUES), device="cpu")
    training = classifier._training(3, "float32", one_more=False)
    defaults = TorchClassifier(MLP)._training(3, "float32", one_more=False)
    assert VALUES.keys() == {field.name for field in fields(Hyperparameters)}
    assert {name: getattr(training, name) for name in VALUES} == VALUES
    assert not [name for name in VALUES if getattr(defaults, name) == VALUES[name]]
    assert (classifier.module, classifier.device) == (MLP, "cpu")
    assert classifier.get_params()["optimizer__eps"] == 1e-3


@dataclass(frozen=True, kw_only=True)
class _Wider(Hyperparameters):
    mixup: float


def test_a_hyperparameter_that_the_estimator_does_not_know_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelaudit.model.classifier.Hyperparameters", _Wider)
    with pytest.raises(TypeError, match=r"TorchClassifier has no parameter 'mixup'\. Use one of .*epochs"):
        TorchClassifier.from_hyperparameters(MLP, _Wider(**VALUES, mixup=0.5))


def test_a_hyperparameter_that_is_not_set_is_an_error() -> None:
    for name in VALUES:
        with pytest.raises(TypeError, match=rf"missing 1 required keyword-only argument: '{name}'"):
            Hyperparameters(**{other: value for other, value in VALUES.items() if other != name})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": -1}, r"The setting batch_size is -1\. Set it to a positive number\."),
        ({"average_share": 1.5}, r"The setting average_share is 1\.5\. Set it to a value from 0 to less than 1\."),
        ({"schedule": "spiral"}, r"Schedule 'spiral' is unknown\. Use one_cycle, "),
    ],
)
def test_values_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Hyperparameters(**{**VALUES, **changes})
