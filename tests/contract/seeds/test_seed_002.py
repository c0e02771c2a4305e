"""Seed document 002: arrays and tensors that share memory, a hand-made classifier, pipelines, searches, PCA.

Its classifier is not an estimator (no clone, no tags, mistyped names become new parameters), fails on a last batch of
one row, and is not repeatable with a NumPy seed. Its PCA drops the features that the labels depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, PolynomialFeatures, StandardScaler
from torch import nn

from labelaudit import TorchClassifier, TorchFeatures
from labelaudit.errors import ConfigError
from labelaudit.model.networks import MLP, Ngrams

RNG = np.random.default_rng(2)
X = RNG.normal(size=(300, 5)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


def small(**params: Any) -> TorchClassifier:
    return TorchClassifier(**{"module__hidden": (16,), "epochs": 15, "batch_size": 32, "device": "cpu", **params})


class Naive:
    """The document's class, with its get_params and set_params."""

    def __init__(self, hidden_size: int = 8, normalise: bool = False) -> None:
        self.hidden_size = hidden_size
        self.normalise = normalise

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"hidden_size": self.hidden_size}

    def set_params(self, **params: Any) -> Naive:
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(self, X: np.ndarray, y: np.ndarray) -> Naive:
        middle = nn.BatchNorm1d(self.hidden_size) if self.normalise else nn.ReLU()
        self.model_ = nn.Sequential(nn.Linear(X.shape[1], self.hidden_size), middle, nn.Linear(self.hidden_size, 2))
        optimizer = torch.optim.Adam(self.model_.parameters())
        order = torch.randperm(len(X))
        for start in range(0, len(X), 32):
            rows = order[start : start + 32]
            loss = nn.functional.cross_entropy(self.model_(torch.from_numpy(X)[rows]), torch.from_numpy(y)[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            probabilities: np.ndarray = self.model_(torch.from_numpy(X)).softmax(1).numpy()
        return probabilities

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X).argmax(axis=1)


class WithoutParams:
    """The document's first class: only a constructor and `fit`."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> WithoutParams:
        return self


class InPlace(nn.Module):
    """A module that changes its input batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.linear(x.mul_(0.5).relu_())
        return scores


class Embedded(nn.Module):
    """A module with a vector for each category of each column."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(4, 8)
        self.head = nn.Linear(16, num_classes)

    def forward(self, categories: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.vectors(categories).flatten(1))
        return scores


def test_a_module_that_works_in_place_changes_shared_memory_and_not_our_x() -> None:
    array, module = X.copy(), InPlace()
    with torch.no_grad():
        module(torch.from_numpy(array))
    assert not np.array_equal(array, X)
    array = X.copy()
    classifier = TorchClassifier(module, epochs=2, device="cpu").fit(array, Y)
    classifier.predict_proba(array)
    classifier.transform(array)
    TorchFeatures(module, device="cpu").fit_transform(array)
    np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize("module", [nn.Identity(), nn.Flatten(), nn.ReLU()])
def test_features_are_arrays_of_their_own(module: nn.Module) -> None:
    array, tensor = np.abs(X), torch.from_numpy(np.abs(X))
    assert np.shares_memory(tensor, nn.Identity()(tensor).numpy())
    features = TorchFeatures(module, device="cpu").fit(array)
    for given in (array, tensor):
        result = features.transform(given)
        np.testing.assert_array_equal(result, np.abs(X))
        result[:] = -1
    np.testing.assert_array_equal(array, np.abs(X))
    np.testing.assert_array_equal(tensor.numpy(), np.abs(X))


def test_changing_x_and_results_after_fit_changes_no_prediction() -> None:
    array = X.copy()
    classifier = small().fit(array, Y)
    before = classifier.predict_proba(X)
    kept = before.copy()
    array[:] = 7
    classifier.predict_proba(X)[:] = -1
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(classifier.predict_proba(X), kept)


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: torch.from_numpy(x).requires_grad_(),
        lambda x: torch.from_numpy(x.T.copy()).T,
        lambda x: x.tolist(),
    ],
    ids=["columns", "strided", "reversed", "float64", "big-endian", "gradient", "transposed", "lists"],
)
def test_each_way_of_holding_the_same_numbers_gives_the_same_probabilities(form: Callable[[np.ndarray], Any]) -> None:
    expected = small(epochs=2).fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(small(epochs=2).fit(form(X), Y).predict_proba(form(X)), expected)


def test_integers_made_floats_are_float32_where_the_document_prints_float64() -> None:
    whole = torch.from_numpy((X * 10).round()).int()
    assert whole.float().numpy().dtype == np.float32
    classifier = small(epochs=2).fit(whole, Y)
    assert classifier.predict_proba(whole).dtype == np.float32
    assert classifier.predict_proba(whole.double()).dtype == np.float32
    np.testing.assert_array_equal(classifier.predict_proba(whole), classifier.predict_proba(whole.float()))


def test_numpy_refuses_a_tensor_with_gradients_and_ours_takes_it() -> None:
    leaf = torch.from_numpy(X.copy()).requires_grad_()
    with pytest.raises(RuntimeError, match="requires grad"):
        nn.Linear(5, 3)(leaf).numpy()
    computed = leaf * 1.0
    classifier = small(epochs=2).fit(computed, torch.from_numpy(Y))
    np.testing.assert_array_equal(classifier.predict_proba(computed), classifier.predict_proba(X))
    assert type(TorchFeatures(nn.Linear(5, 3), device="cpu").fit_transform(computed)) is np.ndarray
    assert leaf.grad is None


def test_the_demonstration_is_learned_on_rows_that_were_not_seen() -> None:
    classifier = small().fit(X[:240], Y[:240])
    assert classifier.score(X[240:], Y[240:]) > 0.9
    probabilities = classifier.predict_proba(X[240:])
    assert probabilities.shape == (60, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_labels_between_others_are_mapped_and_come_back() -> None:
    labels = np.where(Y == 1, 40, -3)
    classifier = small().fit(X, labels)
    assert classifier.classes_.tolist() == [-3, 40]
    assert set(classifier.predict(X)) == {-3, 40}


def test_what_is_no_estimator_cannot_be_cloned_or_searched_and_ours_can() -> None:
    with pytest.raises(TypeError, match="get_params"):
        clone(WithoutParams())
    with pytest.raises((AttributeError, TypeError), match="__sklearn_tags__"):
        GridSearchCV(Naive(), {"hidden_size": [4]}, cv=2, scoring="accuracy").fit(X, Y)
    assert cross_val_score(small(), X, Y, cv=3).mean() > 0.85


def test_parameters_listed_by_hand_are_lost_in_a_clone_and_ours_are_not() -> None:
    assert not clone(Naive(normalise=True)).normalise
    ours = small(module__dropout=0.25, optimizer__weight_decay=0.5, label_smoothing=0.1)
    assert clone(ours).get_params() == ours.get_params()


def test_a_mistyped_parameter_is_refused_where_the_document_takes_it() -> None:
    assert Naive().set_params(hiden_size=99).hidden_size == 8
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        GridSearchCV(small(), {"epoch": [1]}, cv=2).fit(X, Y)
    with pytest.raises(ConfigError, match="hiden"):
        small(module__hiden=(4,)).fit(X, Y)


def test_a_last_batch_of_one_row_does_not_break_normalisation() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Naive(normalise=True).fit(X[:33], Y[:33])
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    ours = TorchClassifier(module, batch_size=32, epochs=1, device="cpu").fit(X[:33], Y[:33])
    assert np.isfinite(ours.predict_proba(X[:1])).all()


def test_a_seed_of_numpy_does_not_repeat_torch_and_random_state_does() -> None:
    naive, ours = [], []
    for seed in (42, 42):
        np.random.seed(seed)
        naive.append(Naive().fit(X, Y).predict_proba(X))
        ours.append(small(epochs=2, random_state=seed).fit(X, Y).predict_proba(X))
    assert not np.array_equal(*naive)
    np.testing.assert_array_equal(*ours)
    other = small(epochs=2, random_state=43).fit(X, Y).predict_proba(X)
    assert not np.array_equal(other, ours[0])


def test_a_score_can_be_weighted() -> None:
    classifier = small(epochs=2).fit(X, Y)
    right = classifier.predict(X) == Y
    assert classifier.score(X, Y) == pytest.approx(right.mean())
    assert classifier.score(X, Y, sample_weight=right + 1.0) == pytest.approx((2 * right).sum() / (right + 1).sum())


def test_predicting_before_fit_says_so_and_other_columns_are_refused() -> None:
    with pytest.raises(NotFittedError):
        small().predict(X)
    with pytest.raises(ValueError, match="4 features"):
        small(epochs=1).fit(X, Y).predict(X[:, :4])


def test_a_circle_is_linear_after_polynomial_features() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(400, 3))
    inside = (data[:, 0] ** 2 + data[:, 1] ** 2 < 1.5).astype(int)
    linear = small(module__hidden=(), epochs=60, learning_rate=0.03)
    pipeline = Pipeline(
        [("scaler", StandardScaler()), ("poly", PolynomialFeatures(degree=2, include_bias=False)), ("model", linear)]
    ).fit(data[:320], inside[:320])
    assert pipeline.named_steps["poly"].n_output_features_ == 9
    assert pipeline.named_steps["model"].n_features_in_ == 9
    assert pipeline.score(data[320:], inside[320:]) > 0.9
    assert make_pipeline(StandardScaler(), linear).fit(data[:320], inside[:320]).score(data[320:], inside[320:]) < 0.75
    np.testing.assert_allclose(pipeline.named_steps["scaler"].mean_, data[:320].mean(axis=0))


@pytest.mark.slow  # two interpreters import torch and scikit-learn
def test_a_grid_search_in_two_processes_finds_what_one_finds() -> None:
    grid = {"module__hidden": [(8,), (16,)], "learning_rate": [1e-5, 1e-2]}
    one, two = (
        GridSearchCV(small(module=MLP, epochs=5), grid, cv=3, scoring="accuracy", n_jobs=jobs).fit(X, Y)
        for jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert one.best_params_ == two.best_params_
    assert one.best_params_["learning_rate"] == 1e-2
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_pca_of_even_noise_drops_what_the_labels_depend_on() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(500, 50))
    labels = (data[:, 0] + data[:, 1] > 0).astype(int)
    reduced = make_pipeline(StandardScaler(), PCA(n_components=10, random_state=0), small(module__hidden=()))
    whole = make_pipeline(StandardScaler(), small(module__hidden=()))
    with_pca, without = (p.fit(data[:400], labels[:400]).score(data[400:], labels[400:]) for p in (reduced, whole))
    assert reduced[1].n_components_ == 10
    assert with_pca < without - 0.1
    assert without > 0.8


def test_pca_keeps_labels_that_depend_on_the_widest_directions() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(500, 50)) * np.geomspace(10, 0.1, 50)
    labels = (data[:, 0] / 10 + data[:, 1] / 9 > 0).astype(int)
    pipeline = make_pipeline(PCA(n_components=10, random_state=0), StandardScaler(), small())
    assert pipeline.fit(data[:400], labels[:400]).score(data[400:], labels[400:]) > 0.9


@pytest.mark.parametrize("module", [MLP, Ngrams])
def test_texts_come_through_tfidf_as_sparse_rows(module: type[nn.Module]) -> None:
    rng = np.random.default_rng(0)
    words = {"sea": ["wave", "ship", "salt"], "farm": ["cow", "barn", "hay"]}
    labels = np.array(["sea", "farm"] * 40)
    texts = [" ".join(rng.choice([*words[label], "the", "old"], 6)) for label in labels]
    pipeline = make_pipeline(TfidfVectorizer(), TorchClassifier(module, epochs=15, batch_size=16, device="cpu"))
    assert pipeline.fit(texts[:60], labels[:60]).score(texts[60:], labels[60:]) > 0.9


def test_ordinal_categories_reach_an_embedding_as_integers() -> None:
    rng = np.random.default_rng(0)
    categories = rng.choice(["a", "b", "c", "d"], size=(200, 2))
    encoder = OrdinalEncoder(dtype=np.int64)
    network = TorchClassifier(Embedded, epochs=40, batch_size=16, learning_rate=0.05, device="cpu")
    odd = (categories[:, 0] > "b").astype(int)
    pipeline = make_pipeline(encoder, network).fit(categories[:150], odd[:150])
    assert pipeline.score(categories[150:], odd[150:]) == 1


def test_a_forest_and_a_network_vote_together() -> None:
    forest = RandomForestClassifier(20, random_state=0)
    voting = VotingClassifier([("forest", forest), ("network", small())], voting="soft").fit(X[:240], Y[:240])
    parts = [clone(part).fit(X[:240], Y[:240]).predict_proba(X[240:]) for part in (forest, small())]
    np.testing.assert_allclose(voting.predict_proba(X[240:]), np.mean(parts, axis=0), atol=1e-6)
