"""Seed document 001: torch as a transformer in a pipeline, pre-trained from a file, trained, and behind a scaler.

Its classes cannot be cloned, unpickle anything in the file, accept only labels 0..K-1, train on all rows at
once without a seed, leave dropout on, end pipelines without `predict`, and share one scaler among instances.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

from labelaudit import TorchClassifier, TorchFeatures
from labelaudit.errors import ConfigError, TrainingError

RNG = np.random.default_rng(1)
CODES = np.arange(120) % 3
X = np.eye(4)[CODES] * 4 + RNG.normal(size=(120, 4))
NAMES = np.array(["low", "mid", "top"])[CODES]


def small(**params: Any) -> TorchClassifier:
    return TorchClassifier(**{"module__hidden": (8,), "epochs": 8, "batch_size": 16, "device": "cpu", **params})


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))


class SmallCNN(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveMaxPool2d(2))
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.body(images).flatten(1))
        return scores


class Attack:
    """An object whose pickle writes a file when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.trace, "code ran")


class FromPath(BaseEstimator, TransformerMixin):
    """The document's class: the constructor loads and does not store the path."""

    def __init__(self, model_path: Path) -> None:
        self.model = torch.load(model_path, weights_only=False)


class Trainer(BaseEstimator, TransformerMixin):
    """The document's class: every step takes all rows, and the outputs are the "predictions"."""

    def __init__(self, model_class: Callable[[], nn.Module], epochs: int = 5) -> None:
        self.model_class = model_class
        self.epochs = epochs

    def fit(self, X: np.ndarray, y: np.ndarray) -> Trainer:
        self.model_ = self.model_class()
        optimizer = torch.optim.Adam(self.model_.parameters(), lr=0.01)
        for _ in range(self.epochs):
            loss = nn.functional.cross_entropy(self.model_(torch.from_numpy(X).float()), torch.from_numpy(y).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            outputs: np.ndarray = self.model_(torch.from_numpy(X).float()).numpy()
        return outputs


class SharedScaler(BaseEstimator):
    """The document's class: one scaler, created with the class, is the default of every instance."""

    def __init__(self, scaler: StandardScaler = StandardScaler()) -> None:  # noqa: B008
        self.scaler = scaler

    def fit(self, X: np.ndarray) -> SharedScaler:
        self.scaler.fit(X)
        return self


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_pretrained_module_from_a_file_transforms_in_a_pipeline(tmp_path: Path, suffix: str) -> None:
    trained, path = network(), tmp_path / f"model{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(trained.state_dict(), path)
    pipeline = make_pipeline(TorchFeatures(network, weights=path, device="cpu")).fit(X)
    expected = trained.eval()(torch.from_numpy(X).float()).detach().numpy()
    np.testing.assert_allclose(pipeline.transform(X), expected, rtol=1e-5, atol=1e-6)


def test_a_constructor_that_loads_cannot_be_cloned_and_ours_can(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(network(), path)
    with pytest.raises(AttributeError, match="model_path"):
        clone(FromPath(path))
    torch.save(network().state_dict(), path)
    ours = TorchFeatures(network, weights=path, device="cpu")
    np.testing.assert_array_equal(clone(ours).fit(X).transform(X), ours.fit(X).transform(X))


def test_a_whole_pickled_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(network(), path)
    with pytest.raises(ConfigError, match=r"cannot be loaded.*Use a state dict"):
        TorchFeatures(network, weights=path, device="cpu").fit(X)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_file_of_weights_runs_no_code(tmp_path: Path, save: Callable[[Any, Path], Any]) -> None:
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    save(Attack(trace), path)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        TorchFeatures(network, weights=path, device="cpu").fit(X)
    assert not trace.exists()
    torch.save(Attack(trace), path)
    torch.load(path, weights_only=False)
    assert trace.read_text() == "code ran"


def test_weights_that_are_missing_or_of_another_module_are_errors_of_fit(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    absent = TorchFeatures(network, weights=path, device="cpu")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        absent.fit(X)
    torch.save(nn.Linear(4, 3).state_dict(), path)
    with pytest.raises(ConfigError, match="another network"):
        absent.fit(X)


def test_features_before_fit_say_so() -> None:
    with pytest.raises(NotFittedError):
        TorchFeatures(network).transform(X)


def test_fit_of_a_pretrained_module_trains_nothing_and_leaves_it_in_its_mode() -> None:
    module = network().train()
    before = copy.deepcopy(module.state_dict())
    TorchFeatures(module, device="cpu").fit_transform(X, CODES)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_labels_of_any_kind_train_where_the_document_wants_0_to_k() -> None:
    with pytest.raises(TypeError):
        Trainer(network).fit(X, NAMES)
    with pytest.raises(IndexError, match="out of bounds"):
        Trainer(network).fit(X, CODES + 1)
    assert small().fit(X, NAMES).score(X, NAMES) > 0.9
    np.testing.assert_array_equal(small().fit(X, CODES * 10 - 7).classes_, [-7, 3, 13])


def test_a_pipeline_of_a_transformer_has_no_predictions_and_ours_has() -> None:
    assert not hasattr(make_pipeline(Trainer(network)), "predict")
    pipeline = make_pipeline(StandardScaler(), small()).fit(X[:90], NAMES[:90])
    assert set(pipeline.predict(X[90:])) == {"low", "mid", "top"}
    np.testing.assert_allclose(pipeline.predict_proba(X[90:]).sum(axis=1), 1, atol=1e-6)
    assert cross_val_score(pipeline, X, NAMES, cv=3).min() > 0.8


def test_transform_gives_what_was_learned_for_the_next_step_and_not_the_scores() -> None:
    outputs = Trainer(network).fit(X, CODES).transform(X)
    assert outputs.shape == (120, 3)
    assert not np.allclose(outputs.sum(axis=1), 1)
    first = small().fit(X, NAMES)
    features = first.transform(X)
    head = [layer for layer in first.module_.modules() if isinstance(layer, nn.Linear)][-1]
    scores = features @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    assert features.shape == (120, 8)
    np.testing.assert_array_equal(first.classes_[scores.argmax(axis=1)], first.predict(X))
    assert make_pipeline(small(), LogisticRegression()).fit(X, NAMES).score(X, NAMES) > 0.9


def test_an_epoch_takes_many_steps_where_the_document_takes_one() -> None:
    class Counted(nn.Linear):
        sizes: list[int] = []  # noqa: RUF012

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.sizes.append(len(x))
            return super().forward(x)

    Trainer(lambda: Counted(4, 3), epochs=2).fit(X, CODES)
    assert Counted.sizes == [120] * 2
    Counted.sizes.clear()
    TorchClassifier(Counted(4, 3), epochs=2, batch_size=40, device="cpu").fit(X, CODES)
    assert Counted.sizes == [40] * 6


def test_the_same_seed_gives_the_same_weights_and_the_global_state_stays() -> None:
    assert not np.array_equal(*(Trainer(network).fit(X, CODES).transform(X) for _ in range(2)))
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (small(module__dropout=0.3).fit(X, NAMES).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_dropout_is_off_after_training_where_the_document_leaves_it_on() -> None:
    naive = Trainer(network).fit(X, CODES)
    assert not np.array_equal(naive.transform(X), naive.transform(X))
    ours = TorchClassifier(network, epochs=2, device="cpu").fit(X, CODES)
    np.testing.assert_array_equal(ours.transform(X), ours.transform(X))
    np.testing.assert_array_equal(ours.predict_proba(X), ours.predict_proba(X))


def test_a_grid_search_reaches_the_optimizer_and_its_arguments() -> None:
    pipeline = make_pipeline(StandardScaler(), small(optimizer=torch.optim.SGD, batch_size=32, schedule="constant"))
    grid = {
        "torchclassifier__optimizer__momentum": [0.0, 0.9],
        "torchclassifier__learning_rate": [1e-4, 3e-2],
    }
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, NAMES)
    scores = dict(zip(map(str, search.cv_results_["params"]), search.cv_results_["mean_test_score"], strict=True))
    best = search.best_params_
    assert best == {"torchclassifier__learning_rate": 3e-2, "torchclassifier__optimizer__momentum": 0.9}
    assert len(set(scores.values())) > 1
    options = {"torchclassifier__optimizer": ["adamw", "sgd", torch.optim.RMSprop]}
    assert len(GridSearchCV(pipeline, options, cv=2).fit(X, NAMES).cv_results_["params"]) == 3


def test_a_convolutional_network_stands_between_preparation_and_another_classifier() -> None:
    rng = np.random.default_rng(0)
    bars = np.zeros((90, 8, 8))
    vertical = np.arange(90) % 2
    for row, position in enumerate(rng.integers(1, 7, 90)):
        bars[row][(slice(None), position) if vertical[row] else (position, slice(None))] = 1
    flat = (bars + rng.normal(0, 0.1, bars.shape)).reshape(90, 64)
    reshape = FunctionTransformer(np.reshape, kw_args={"shape": (-1, 1, 8, 8)})
    network = TorchClassifier(SmallCNN, epochs=15, batch_size=16, device="cpu", precision="float32")
    assert make_pipeline(reshape, network).fit(flat[:60], vertical[:60]).score(flat[60:], vertical[60:]) > 0.9
    after = make_pipeline(reshape, network, StandardScaler(), LogisticRegression())
    assert after.fit(flat[:60], vertical[:60]).score(flat[60:], vertical[60:]) > 0.9


def test_instances_share_a_default_scaler_and_ours_share_nothing() -> None:
    first, second = SharedScaler().fit(X), SharedScaler().fit(X + 100)
    assert first.scaler is second.scaler
    assert first.scaler.mean_.min() > 90
    ours, other = (make_pipeline(StandardScaler(), small()) for _ in range(2))
    before = ours.fit(X, NAMES).predict_proba(X)
    other.fit(X + 100, NAMES[::-1])
    np.testing.assert_array_equal(ours.predict_proba(X), before)


def test_the_scaler_of_a_pipeline_learns_from_the_rows_of_fit_alone() -> None:
    pipeline = make_pipeline(StandardScaler(), small()).fit(X[:80], NAMES[:80])
    pipeline.predict_proba(X[80:] + 1000)
    np.testing.assert_allclose(pipeline[0].mean_, X[:80].mean(axis=0))


@pytest.mark.parametrize("sparse_output", [False, True])
def test_categories_and_numbers_of_a_table_are_prepared_in_the_pipeline(sparse_output: bool) -> None:
    table = pd.DataFrame({"colour": np.array(["red", "green", "blue"])[CODES], "size": X[:, 3]})
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=sparse_output), ["colour"]),
        (StandardScaler(), ["size"]),
        sparse_threshold=1.0,
    )
    pipeline = make_pipeline(columns, small(epochs=40)).fit(table[:90], NAMES[:90])
    assert pipeline.score(table[90:], NAMES[90:]) == 1
    unseen = pipeline.predict_proba(pd.DataFrame({"colour": ["violet"], "size": [0.0]}))
    assert np.isfinite(unseen).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, bool])
def test_numbers_of_every_type_become_what_the_module_takes(dtype: type) -> None:
    whole = np.abs(X.round()).astype(dtype)
    expected = small(epochs=2).fit(whole.astype(np.float32), NAMES).predict_proba(whole.astype(np.float32))
    np.testing.assert_array_equal(small(epochs=2).fit(whole, NAMES).predict_proba(whole), expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(wrong: float) -> None:
    spoiled = X.copy()
    spoiled[5, 1] = wrong
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        small().fit(spoiled, NAMES)


def test_an_error_while_it_trains_leaves_the_fit_before_as_it_was() -> None:
    classifier = small().fit(X, NAMES)
    before = classifier.predict_proba(X)
    classifier.set_params(learning_rate=1e30, optimizer="sgd")
    with pytest.raises(TrainingError, match="not finite"):
        classifier.fit(X * 1e6, NAMES)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)


def test_other_columns_than_in_fit_are_named() -> None:
    with pytest.raises(ValueError, match="3 features, but TorchClassifier is expecting 4"):
        small(epochs=1).fit(X, NAMES).predict(X[:, :3])
