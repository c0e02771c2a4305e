"""Seed document 004: train_test_split, a wrapper around one module instance, and a grid search over it.

Its wrapper trains the given instance, so that fits and clones start from what earlier ones learned.
It has no classes, no probabilities, no seed and no batches, and accepts only labels 0..K-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.feature_selection import SelectKBest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import Dataset

from labelaudit import TorchClassifier
from labelaudit.errors import ConfigError

RNG = np.random.default_rng(4)
X = RNG.random((200, 10))
Y = (X[:, 0] + X[:, 1] > 1).astype(int)
COIN = RNG.permutation(np.arange(60) % 2)
NOISE = RNG.normal(size=(60, 500)).astype(np.float32)


class SimpleNet(nn.Module):
    def __init__(self, features: int = 10, hidden: int = 5) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc2(torch.relu(self.fc1(x)))
        return scores


class Wrapper(BaseEstimator, ClassifierMixin):
    """The document's class: it trains the given module itself."""

    def __init__(self, model: nn.Module, epochs: int = 20, lr: float = 0.01) -> None:
        self.model = model
        self.epochs = epochs
        self.lr = lr

    def fit(self, X: np.ndarray, y: np.ndarray) -> Wrapper:
        inputs, targets = torch.tensor(X, dtype=torch.float32), torch.tensor(y, dtype=torch.long)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.lr)
        for _ in range(self.epochs):
            optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(inputs), targets).backward()
            optimizer.step()
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            columns: np.ndarray = self.model(torch.tensor(X, dtype=torch.float32)).argmax(1).numpy()
        return columns


class Recording(Dataset[torch.Tensor]):
    """A dataset that records which rows were read."""

    def __init__(self) -> None:
        self.read: set[int] = set()

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> torch.Tensor:
        self.read.add(int(row))
        return torch.from_numpy(X[row])


def ours(module: Any = SimpleNet, **params: Any) -> TorchClassifier:
    return TorchClassifier(module, **{"epochs": 20, "batch_size": 32, "device": "cpu", **params})


def linear_of_size(num_classes: int) -> nn.Module:
    return nn.Linear(10, num_classes)


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_a_split_of_tensors_is_the_split_of_arrays_so_that_its_time_does_not_matter() -> None:
    of_arrays = train_test_split(X, Y, test_size=0.2, random_state=42)
    of_tensors = train_test_split(torch.from_numpy(X), torch.from_numpy(Y), test_size=0.2, random_state=42)
    for array, tensor in zip(of_arrays, of_tensors, strict=True):
        np.testing.assert_array_equal(array, np.asarray(tensor))
    first, second = ours().fit(of_arrays[0], of_arrays[2]), ours().fit(of_tensors[0], of_tensors[2])
    np.testing.assert_array_equal(first.predict_proba(of_arrays[1]), second.predict_proba(of_tensors[1]))


def test_a_split_is_trained_on_and_scored() -> None:
    X_train, X_test, y_train, y_test = train_test_split(X, Y, test_size=0.2, random_state=42, stratify=Y)
    classifier = ours(epochs=60).fit(X_train, y_train)
    assert classifier.score(X_test, y_test) > 0.85
    assert classifier.score(X_test, y_test) == (classifier.predict(X_test) == y_test).mean()


def test_a_second_fit_goes_on_where_the_document_was_and_ours_starts_anew() -> None:
    naive = Wrapper(SimpleNet()).fit(X, Y)
    once = weights(naive.model)
    assert not np.array_equal(weights(naive.fit(X, Y).model)["fc1.weight"], once["fc1.weight"])
    classifier = ours(SimpleNet()).fit(X, Y)
    once = weights(classifier.module_)
    assert_same(weights(classifier.fit(X, Y).module_), once)


def test_the_instance_that_was_given_is_never_trained() -> None:
    module = SimpleNet()
    before = weights(module)
    ours(module).fit(X, Y)
    assert_same(weights(module), before)
    Wrapper(module).fit(X, Y)
    assert not np.array_equal(weights(module)["fc1.weight"], before["fc1.weight"])


def test_two_classifiers_around_one_instance_do_not_change_each_other() -> None:
    module = SimpleNet()
    naive, naive_other = Wrapper(module).fit(X, Y), Wrapper(module)
    predicted = naive.predict(X)
    naive_other.fit(X, 1 - Y).fit(X, 1 - Y)
    assert not np.array_equal(naive.predict(X), predicted)
    first = ours(module).fit(X, Y)
    probabilities = first.predict_proba(X)
    ours(module).fit(X, 1 - Y)
    np.testing.assert_array_equal(first.predict_proba(X), probabilities)


def test_a_clone_of_a_fitted_wrapper_remembers_and_cross_validation_is_fooled() -> None:
    torch.manual_seed(0)
    naive = Wrapper(SimpleNet(500, 16), epochs=100).fit(NOISE, COIN)
    fitted = ours(SimpleNet(500, 16)).fit(NOISE, COIN)
    assert naive.score(NOISE, COIN) == fitted.score(NOISE, COIN) == 1
    assert cross_val_score(naive.set_params(epochs=1), NOISE, COIN, cv=5).mean() > 0.95
    leaked = cross_val_score(fitted, NOISE, COIN, cv=5)
    assert leaked.mean() < 0.75
    np.testing.assert_array_equal(leaked, cross_val_score(clone(fitted), NOISE, COIN, cv=5))


def test_folds_by_hand_over_one_classifier_leak_nothing() -> None:
    torch.manual_seed(0)
    naive, classifier = Wrapper(SimpleNet(500, 16), epochs=50), ours(SimpleNet(500, 16))
    scores: dict[str, list[float]] = {"naive": [], "ours": []}
    for train, test in KFold(5).split(NOISE):
        scores["naive"].append(naive.fit(NOISE[train], COIN[train]).score(NOISE[test], COIN[test]))
        scores["ours"].append(classifier.fit(NOISE[train], COIN[train]).score(NOISE[test], COIN[test]))
    assert np.mean(scores["naive"][1:]) > 0.9
    assert np.mean(scores["ours"]) < 0.75


def test_labels_come_back_as_they_were_given() -> None:
    answers = np.where(Y == 1, "yes", "no")
    with pytest.raises((TypeError, ValueError)):
        Wrapper(SimpleNet()).fit(X, answers)
    with pytest.raises(IndexError, match="out of bounds"):
        Wrapper(SimpleNet()).fit(X, Y + 1)
    classifier = ours().fit(X, answers)
    assert classifier.classes_.tolist() == ["no", "yes"]
    assert set(classifier.predict(X)) == {"no", "yes"}


def test_metrics_of_probabilities_can_be_searched_for() -> None:
    naive = Wrapper(SimpleNet()).fit(X, Y)
    assert not hasattr(naive, "classes_")
    assert not hasattr(naive, "predict_proba")
    grid = {"learning_rate": [1e-5, 1e-2]}
    for scoring in ("neg_log_loss", "roc_auc"):
        search = GridSearchCV(ours(), grid, cv=3, scoring=scoring).fit(X, Y)
        assert search.best_params_ == {"learning_rate": 1e-2}
    assert roc_auc_score(Y, search.predict_proba(X)[:, 1]) == pytest.approx(
        roc_auc_score(Y, search.decision_function(X))
    )


def test_a_class_that_a_fold_never_saw_keeps_its_column() -> None:
    labels = np.array(["a", "b", "c"])[np.where(np.arange(200) == 199, 2, Y)]
    with pytest.warns(RuntimeWarning, match=r"Number of classes in .*fold"):
        found = cross_val_predict(ours(linear_of_size), X, labels, cv=KFold(4), method="predict_proba")
    assert found.shape == (200, 3)
    assert (found[150:, 2] == 0).all()
    assert (found[:150, 2] > 0).all()


def test_the_grid_of_the_document_is_searched_and_the_best_is_refitted() -> None:
    X_train, X_test, y_train, y_test = train_test_split(X, Y, test_size=0.2, random_state=42)
    grid = {"learning_rate": [1e-5, 1e-2], "epochs": [2, 40]}
    search = GridSearchCV(ours(), grid, cv=5, scoring="accuracy").fit(X_train, y_train)
    assert search.best_params_ == {"learning_rate": 1e-2, "epochs": 40}
    assert search.best_score_ > 0.8
    assert search.best_estimator_.n_iter_ == 40
    again = ours(**search.best_params_).fit(X_train, y_train)
    np.testing.assert_array_equal(search.predict_proba(X_test), again.predict_proba(X_test))
    assert search.score(X_test, y_test) > 0.8


@pytest.mark.parametrize("module", [SimpleNet, SimpleNet()], ids=["class", "instance"])
def test_the_score_of_a_candidate_does_not_depend_on_the_others(module: Any) -> None:
    def scores(rates: list[float]) -> dict[float, float]:
        search = GridSearchCV(ours(module, epochs=5), {"learning_rate": rates}, cv=3, refit=False).fit(X, Y)
        return dict(zip(rates, search.cv_results_["mean_test_score"], strict=True))

    together = scores([0.1, 0.003, 0.03])
    assert len(set(together.values())) > 1
    assert scores([0.03])[0.03] == together[0.03]


def test_a_search_repeats_itself_and_leaves_the_global_states() -> None:
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    grid = {"module__hidden": [2, 5], "optimizer__weight_decay": [0.0, 0.1]}
    first, second = (GridSearchCV(ours(epochs=5), grid, cv=3).fit(X, Y) for _ in range(2))
    np.testing.assert_array_equal(first.cv_results_["mean_test_score"], second.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)
    fresh = [Wrapper(SimpleNet()).fit(X, Y).model.fc1.weight.detach() for _ in range(2)]
    assert not torch.equal(*fresh)


def test_the_width_of_a_module_is_searched_by_its_class_and_refused_for_an_instance() -> None:
    search = GridSearchCV(ours(epochs=2), {"module__hidden": [3, 7]}, cv=2).fit(X, Y)
    assert search.best_estimator_.module_.fc1.out_features == search.best_params_["module__hidden"]
    with pytest.raises(ConfigError, match="is already a SimpleNet"):
        ours(SimpleNet(), module__hidden=3).fit(X, Y)


def test_a_search_over_row_numbers_reads_no_row_of_the_test_set() -> None:
    data = Recording()
    train, test = train_test_split(np.arange(1, 200), test_size=0.2, random_state=42)
    GridSearchCV(ours(dataset=data, epochs=1), {"learning_rate": [0.01, 0.1]}, cv=2).fit(train, Y[train])
    assert data.read == set(train.tolist())
    assert not data.read & set(test.tolist())


def test_a_choice_of_features_before_the_folds_leaks_the_labels_and_one_in_the_pipeline_does_not() -> None:
    linear = ours(nn.Linear(10, 2))
    leaking = cross_val_score(linear, SelectKBest(k=10).fit_transform(NOISE, COIN), COIN, cv=5).mean()
    honest = cross_val_score(make_pipeline(SelectKBest(k=10), linear), NOISE, COIN, cv=5).mean()
    assert leaking > 0.75
    assert honest < 0.7
    assert honest < leaking - 0.1


def test_each_fold_of_a_search_scales_with_its_own_training_rows() -> None:
    means = []

    class Noted(StandardScaler):
        def fit(self, X: np.ndarray, y: Any = None, sample_weight: Any = None) -> StandardScaler:
            fitted = super().fit(X, y, sample_weight)
            means.append(fitted.mean_)
            return fitted

    pipeline = make_pipeline(Noted(), ours(epochs=1))
    GridSearchCV(pipeline, {"torchclassifier__learning_rate": [0.1]}, cv=KFold(3), refit=False).fit(X, Y)
    expected = [X[train].mean(axis=0) for train, _ in KFold(3).split(X)]
    np.testing.assert_allclose(means, expected)


def test_a_nested_search_on_random_labels_stays_at_chance() -> None:
    search = GridSearchCV(ours(nn.Linear(500, 2), epochs=5), {"learning_rate": [0.003, 0.03]}, cv=3)
    assert 0.25 < cross_val_score(search, NOISE, COIN, cv=5).mean() < 0.75


def test_one_batch_of_all_rows_is_a_choice_and_small_ones_learn_more_in_as_many_epochs() -> None:
    full = ours(batch_size=len(X), epochs=3).fit(X, Y)
    small = ours(batch_size=8, epochs=3).fit(X, Y)
    assert small.history_[-1]["loss"] < full.history_[-1]["loss"]
