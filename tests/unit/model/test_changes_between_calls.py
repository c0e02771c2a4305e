"""Changes between calls (devices, precision, names of columns), and what must not be stored or read."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from labelaudit.errors import InputError
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.features import TorchFeatures
from labelaudit.model.networks import SmallResNet

X = np.random.default_rng(0).standard_normal((60, 4), np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def small(**changes: Any) -> TorchClassifier:
    return TorchClassifier(**{"module__hidden": (8,), "epochs": 3, "device": "cpu", **changes})


class Shaped(Dataset[torch.Tensor]):
    """Its attribute `shape` is that of one item."""

    shape = (4,)

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> torch.Tensor:
        if row == 0:
            raise OSError("row 0 cannot be read")
        return torch.from_numpy(X[row])


def test_rows_of_a_dataset_are_counted_by_its_length() -> None:
    features = TorchFeatures(nn.Identity(), device="cpu").fit(TensorDataset(torch.from_numpy(X)))
    assert features.transform(TensorDataset(torch.from_numpy(X))).shape == (60, 4)


def test_rows_outside_x_are_never_read() -> None:
    named = np.arange(1, 60)
    classifier = small(dataset=Shaped()).fit(named, Y[named])
    np.testing.assert_array_equal(classifier.predict_proba(named), small().fit(X[1:], Y[1:]).predict_proba(X[1:]))
    features = TorchFeatures(nn.Identity(), dataset=Shaped(), device="cpu").fit(named)
    np.testing.assert_array_equal(features.transform(named), X[1:])


def test_integers_out_of_range_are_refused_for_a_module_that_takes_bytes() -> None:
    images = np.full((20, 1, 8, 8), 300)
    with pytest.raises(InputError, match=r"integers from 300 to 300, but the module takes uint8 \(0 to 255\)"):
        TorchClassifier(SmallResNet, epochs=1, device="cpu").fit(images, Y[:20])


def test_another_precision_after_the_fit_is_for_the_next_fit() -> None:
    classifier = small().fit(X, Y)
    before = classifier.predict_proba(X)
    classifier.set_params(precision="float64")
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
    assert classifier.set_params(warm_start=True).fit(X, Y).predict_proba(X).dtype == np.float64


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_partial_fit_in_another_precision_uses_a_new_optimizer(optimizer: str) -> None:
    classifier = small(optimizer=optimizer).partial_fit(X, Y, classes=[0, 1]).set_params(precision="float64")
    assert classifier.partial_fit(X, Y).predict_proba(X).dtype == np.float64


def test_names_of_columns_do_not_outlive_a_fit_without_columns() -> None:
    classifier = small().fit(pd.DataFrame(X, columns=list("abcd")), Y)
    assert classifier.feature_names_in_.tolist() == list("abcd")
    classifier.set_params(dataset=X).fit(np.arange(60), Y)
    assert not hasattr(classifier, "feature_names_in_")
    assert not hasattr(classifier, "n_features_in_")


class Noisy(Dataset[torch.Tensor]):
    """Adds noise from the global generator to each row that is read."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(X[row]) + torch.randn(4)


def test_prediction_from_a_random_dataset_repeats_itself_and_leaves_the_global_generator() -> None:
    classifier = small(dataset=Noisy()).fit(np.arange(60), Y)
    state = torch.get_rng_state()
    first = classifier.predict_proba(np.arange(60))
    np.testing.assert_array_equal(first, classifier.predict_proba(np.arange(60)))
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_are_not_kept() -> None:
    assert all(parameter.grad is None for parameter in small().fit(X, Y).module_.parameters())


def test_a_frozen_layer_without_statistics_stays_in_training_mode() -> None:
    modes = []
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    small_params = {
        "frozen": ["0.*", "1.*"],
        "callbacks": [lambda epoch, live: modes.append((live[0].training, live[1].training))],
    }
    TorchClassifier(module, epochs=1, device="cpu", **small_params).fit(X, Y)
    assert modes == [(True, False)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_partial_fit_can_change_the_device_and_pickles_open_without_a_gpu() -> None:
    classifier = small().partial_fit(X, Y, classes=[0, 1]).set_params(device="cuda").partial_fit(X, Y)
    state = pickle.loads(pickle.dumps(classifier)).__dict__
    assert state["_optimizer"] is None
    assert {parameter.device.type for parameter in state["module_"].parameters()} == {"cpu"}
