"""TorchFeatures: layers of a trained module as features, read from safe files, without a trace in the module."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import TensorDataset

from labelaudit.errors import ConfigError, InputError, TrainingError
from labelaudit.model.features import TorchFeatures
from labelaudit.model.networks import MLP
from support.toys import WHOLE, InPlace, RowDataset, Uncopied, X, Y, small


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))


def by_hand(module: nn.Module, layers: int) -> np.ndarray:
    with torch.no_grad():
        return copy.deepcopy(module).eval()[:layers](torch.tensor(X)).numpy()


def features(module: Any = None, **changes: Any) -> TorchFeatures:
    return TorchFeatures(network() if module is None else module, **{"device": "cpu", **changes})


@pytest.mark.parametrize(("layer", "count"), [(None, 4), ("3", 4), ("2", 3), ("0", 1)])
def test_features_are_what_the_named_layer_gives(layer: str | None, count: int) -> None:
    found = features(layer=layer).fit(X).transform(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(network(), count), atol=1e-6)


def test_outputs_are_copied_before_a_later_layer_changes_them_in_place() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    found = features(module, layer="0").fit(X).transform(X)
    np.testing.assert_allclose(found, by_hand(module, 1), atol=1e-6)
    assert (found < 0).any()


def test_more_dimensions_are_flattened() -> None:
    images = np.random.default_rng(0).random((5, 1, 4, 4)).astype(np.float32)
    extractor = features(nn.Conv2d(1, 2, 3)).fit(images)
    assert extractor.transform(images).shape == (5, 8)
    assert len(extractor.get_feature_names_out()) == 8


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_weights_come_from_files_of_tensors(suffix: str, tmp_path: Path) -> None:
    trained, path = network(seed=1), tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        safetensors.torch.save_file(trained.state_dict(), str(path))
    else:
        torch.save(trained.state_dict(), path)
    untrained = network()
    for given_path in (path, str(path)):
        found = features(untrained, weights=given_path).fit(X).transform(X)
        np.testing.assert_allclose(found, by_hand(trained, 4), atol=1e-6)
    assert torch.equal(untrained[0].weight, network()[0].weight)


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(network(), path)
    with pytest.raises(ConfigError, match=r"module\.pt' cannot be loaded \(.*Use a state dict, saved with"):
        features(weights=path).fit(X)


def test_weights_of_another_module_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(nn.Linear(6, 3).state_dict(), path)
    with pytest.raises(ConfigError, match=r"weights\.pt' belongs to another network: \d+ entries are missing"):
        features(weights=path).fit(X)
    with pytest.raises(ConfigError, match=r"nothing\.pt' cannot be loaded"):
        features(weights=tmp_path / "nothing.pt").fit(X)


@pytest.mark.parametrize("layer", ["4", "head", "0.weight"])
def test_a_layer_that_is_not_there_is_refused(layer: str) -> None:
    with pytest.raises(ConfigError, match=rf"The module has no layer '{layer}'\. Use one of its layers: 0, 1, 2, 3\."):
        features(layer=layer).fit(X)


class Twice(nn.Module):
    """Runs one layer twice and one never; a third returns a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.pair = nn.Linear(6, 6), nn.Linear(6, 6), nn.LSTM(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.pair(self.twice(self.twice(x)))[0]
        return output


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("twice", r"Layer Linear returned \[\(1, 6\), \(1, 6\)\] for a batch of 1, but features must be one tensor"),
        ("never", r"Layer Linear returned nothing for a batch of 1, but features must be one tensor \(1, \.\.\.\)"),
        ("pair", r"Layer LSTM returned \['tuple'\] for a batch of 1"),
    ],
)
def test_a_layer_without_one_tensor_per_row_is_refused(layer: str, message: str) -> None:
    extractor = features(Twice(), layer=layer)
    with pytest.raises(TrainingError, match=message):
        extractor.fit(X)


def test_modules_are_built_with_their_arguments_and_the_shape_of_an_example() -> None:
    extractor = features(MLP, module__num_classes=5, module__hidden=(7,)).fit(X)
    assert extractor.transform(X).shape == (120, 5)
    assert extractor.module_.layers[1].out_features == 7
    wider = clone(extractor).set_params(module__num_classes=2).fit(X)
    assert wider.transform(X).shape == (120, 2)


def test_the_seed_decides_on_weights_that_are_not_given() -> None:
    first, again, other = (
        features(MLP, module__num_classes=3, random_state=seed).fit_transform(X) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    features(MLP, module__num_classes=3).fit_transform(X)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_module_that_was_given_is_not_changed() -> None:
    module = network().train()
    before = copy.deepcopy(module.state_dict())
    extractor = features(module, layer="2", precision="float64").fit(X)
    extractor.transform(X)
    assert module.training
    assert extractor.module_ is not module
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype
    for layer in (*module.modules(), *extractor.module_.modules()):
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


def test_batches_are_the_rows_of_transform_in_order() -> None:
    many = np.tile(X, (200, 1)) + np.arange(24_000, dtype=np.float32)[:, None] % 7
    extractor = features(layer="0").fit(X)
    batches = list(extractor.transform_batches(many))
    assert len(batches) > 1
    np.testing.assert_array_equal(np.concatenate(batches), extractor.transform(many))


def test_batches_are_requested_one_by_one() -> None:
    many = np.tile(X, (200, 1))
    extractor = features().fit(X)
    first = next(iter(extractor.transform_batches(many)))
    np.testing.assert_allclose(first, by_hand(network(), 4)[np.arange(len(first)) % 120], atol=1e-6)
    assert not any(layer._forward_hooks for layer in extractor.module_.modules())


def test_two_passes_at_once_do_not_disturb_each_other() -> None:
    many = np.tile(X, (100, 1))
    extractor = features(layer="0").fit(X)
    expected = by_hand(network(), 1)
    passes = 0
    for first, second in zip(extractor.transform_batches(many), extractor.transform_batches(many), strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(extractor.transform(X), expected, atol=1e-6)
        passes += 1
    assert passes > 1


def test_batches_feed_partial_fits() -> None:
    model = SGDClassifier(random_state=0)
    for batch in features(layer="2").fit(X).transform_batches(X):
        model.partial_fit(batch, Y, classes=[0, 1, 2])
    assert model.coef_.shape == (3, 4)


@given(rows=st.integers(1, 120), batch_size=st.integers(1, 200))
@settings(max_examples=20)
def test_features_do_not_depend_on_batches_or_on_other_rows(rows: int, batch_size: int) -> None:
    found = features(batch_size=batch_size).fit(X).transform(X[:rows])
    np.testing.assert_allclose(found, by_hand(network(), 4)[:rows], atol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        WHOLE.tolist(),
        WHOLE.astype(np.uint16),
        WHOLE.astype(">f8"),
        torch.tensor(WHOLE).bfloat16(),
        pd.DataFrame(WHOLE, columns=list("abcdef")),
        sparse.csr_matrix(WHOLE),
        TensorDataset(torch.tensor(WHOLE).float(), torch.tensor(Y)),
        RowDataset(WHOLE),
        Uncopied(WHOLE.astype(np.float64)),
    ],
    ids=lambda data: type(data).__name__,
)
def test_containers_do_not_matter(data: Any) -> None:
    expected = features().fit(WHOLE).transform(WHOLE)
    extractor = features().fit(data)
    np.testing.assert_array_equal(extractor.transform(data), expected)
    if not isinstance(data, list):
        rows = np.array([5, 3, 3, 119])
        bound = features(dataset=data)
        np.testing.assert_allclose(bound.fit(rows).transform(rows), expected[rows], atol=1e-5)
        np.testing.assert_allclose(next(bound.transform_batches(rows[:, None])), expected[rows], atol=1e-5)


def test_data_is_not_changed_and_results_are_the_callers_own() -> None:
    data = X.copy()
    extractor = features(InPlace, module__num_classes=2).fit(data)
    result = extractor.transform(data)
    expected = result.copy()
    result[:] = 0
    np.testing.assert_array_equal(extractor.transform(data), expected)
    np.testing.assert_array_equal(data, X)
    identity = features(nn.Identity()).fit(data)
    identity.transform(data)[:] = 0
    np.testing.assert_array_equal(data, X)


def test_examples_of_another_shape_are_refused() -> None:
    extractor = features().fit(X)
    with pytest.raises(ValueError, match=r"X has 5 features, but TorchFeatures is expecting 6"):
        extractor.transform(X[:, :5])
    with pytest.raises(InputError, match=r"X has examples of shape \(5,\), but fit was called with \(6,\)"):
        extractor.transform(RowDataset(X[:, :5]))
    with pytest.raises(InputError, match=r"X contains the row numbers 0 to 200, but the bound dataset has 120 rows"):
        features(dataset=X).fit([0, 200])


def test_features_that_were_not_fitted_say_so() -> None:
    with pytest.raises(NotFittedError, match=r"not fitted yet"):
        features().transform(X)
    with pytest.raises(NotFittedError, match=r"not fitted yet"):
        next(features().transform_batches(X))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"device": "cuda:99"}, TrainingError, r"Device 'cuda:99' was requested"),
        ({"device": "tpu"}, ConfigError, r"Device 'tpu' is unknown"),
        ({"precision": "half"}, ConfigError, r"Precision 'half' is unknown"),
        ({"module__bias": False}, ConfigError, r"module is already a Sequential, so module__bias would have no effect"),
        (
            {"module": "resnet"},
            ConfigError,
            r"module 'resnet' is a str\. Pass a torch.nn.Module, or a class or function",
        ),
        ({"module": dict}, TrainingError, r"module returned a dict, not a torch\.nn\.Module"),
    ],
)
def test_wrong_settings_are_errors_of_fit(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        features().set_params(**changes).fit(X)


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"TorchFeatures has no parameter 'optimizer__lr'\. .* or a name that starts with module__"
    ):
        features(optimizer__lr=0.1)


def test_precision_is_that_of_the_computation() -> None:
    rough, usual, fine = (
        features(precision=precision).fit_transform(X) for precision in ("bfloat16", "float32", "float64")
    )
    assert rough.dtype == usual.dtype == fine.dtype == np.float32
    assert not np.array_equal(rough, usual)
    np.testing.assert_allclose(rough, usual, atol=0.05)
    np.testing.assert_allclose(fine, usual, atol=1e-6)


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_copies_give_the_same_features(copied: Any) -> None:
    extractor = features(layer="2").fit(X)
    np.testing.assert_array_equal(copied(extractor).transform(X), extractor.transform(X))


def test_clones_share_the_bound_dataset_and_are_not_fitted() -> None:
    dataset = Uncopied(X)
    copied = clone(features(dataset=dataset, layer="2").fit([0]))
    assert copied.dataset is dataset
    assert copied.layer == "2"
    assert not hasattr(copied, "module_")


def test_features_of_a_classifier_feed_another_estimator_in_a_pipeline() -> None:
    trained = small(epochs=20).fit(X, Y).module_
    model = make_pipeline(features(trained, layer="layers.2"), LogisticRegression()).fit(X, Y)
    assert model.score(X, Y) > 0.6


def test_names_of_features_are_columns_of_a_frame() -> None:
    frame = features(layer="2").set_output(transform="pandas").fit(X).transform(X)
    assert list(frame.columns) == [f"torchfeatures{number}" for number in range(4)]
