"""Seed document 000: what a torch classifier must do for scikit-learn and cleanlab, with X as row numbers of a dataset.

It overlooks that labels are not always 0..K-1, that folds are stratified only for classifiers, and that the
dataset should not depend on labels, order and held-out rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, check_cv, cross_val_predict, cross_val_score
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, TensorDataset
from torchvision import transforms

from labelaudit import TorchClassifier
from labelaudit.errors import InputError, TrainingError

RNG = np.random.default_rng(0)
CODES = np.arange(120) % 3
X = (np.eye(3)[CODES] * 6 + RNG.normal(size=(120, 3))).astype(np.float32)
NAMES = np.array(["ant", "bee", "cat"])[CODES]
ROWS = np.arange(120)


def small(**params: Any) -> TorchClassifier:
    return TorchClassifier(**{"module__hidden": (8,), "epochs": 8, "batch_size": 16, "device": "cpu", **params})


def own(module: Any, **params: Any) -> TorchClassifier:
    return TorchClassifier(module, **{"epochs": 8, "batch_size": 16, "device": "cpu", **params})


class Scores(nn.Module):
    """A linear layer that returns logits, or the output of `last` for them."""

    def __init__(self, num_classes: int, last: str) -> None:
        super().__init__()
        self.linear = nn.Linear(3, num_classes)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(x)
        if self.last == "log_softmax":
            return functional.log_softmax(logits, 1)
        return functional.softmax(logits, 1) if self.last == "softmax" else logits


class Recording(Dataset[torch.Tensor]):
    """A dataset that records which rows were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> torch.Tensor:
        self.read.append(int(row))
        return torch.from_numpy(X[row])


class Transformed(Dataset[tuple[torch.Tensor, int]]):
    """Grey images with transforms in the dataset and a label that is always 0."""

    images = (np.kron(np.eye(2)[ROWS % 2][:, None], np.ones((1, 8, 4))) * 255).astype(np.uint8)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[row]), 0


class ArgmaxOnly(BaseEstimator):
    """The document's class: without ClassifierMixin, and `predict` returns the column of the maximum."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> ArgmaxOnly:
        self.inner_ = LogisticRegression().fit(X, y)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.inner_.predict_proba(X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X).argmax(axis=1)


def spoiled_labels() -> tuple[np.ndarray, np.ndarray]:
    """Return codes with a few errors, and the positions of the errors."""
    given, planted = CODES.copy(), np.array([4, 17, 50, 77, 101])
    given[planted] = (given[planted] + 1) % 3
    return given, planted


def test_fit_returns_the_estimator_itself() -> None:
    classifier = small(epochs=1)
    assert classifier.fit(X, NAMES) is classifier


def test_probabilities_are_rows_of_a_distribution_over_the_classes() -> None:
    probabilities = small().fit(X, NAMES).predict_proba(X)
    assert type(probabilities) is np.ndarray
    assert probabilities.shape == (120, 3)
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_predictions_are_labels_and_not_columns() -> None:
    classifier = small().fit(X, NAMES)
    assert ArgmaxOnly().fit(X, NAMES).predict(X[:3]).tolist() == [0, 1, 2]
    assert classifier.predict(X[:3]).tolist() == ["ant", "bee", "cat"]
    np.testing.assert_array_equal(classifier.classes_[classifier.predict_proba(X).argmax(1)], classifier.predict(X))


def test_parameters_can_be_read_set_and_cloned() -> None:
    classifier = small(learning_rate=0.1, module__dropout=0.2).fit(X, NAMES)
    twin = clone(classifier)
    assert twin.get_params() == classifier.get_params()
    assert not hasattr(twin, "module_")
    assert twin.set_params(module__dropout=0.0, learning_rate=0.2).get_params()["module__dropout"] == 0.0
    assert (classifier.learning_rate, classifier.get_params()["module__dropout"]) == (0.1, 0.2)


def test_folds_are_stratified_because_it_is_a_classifier() -> None:
    order = np.argsort(NAMES, kind="stable")

    def smallest_class_of_a_fold(estimator: BaseEstimator) -> int:
        folds = check_cv(3, NAMES[order], classifier=is_classifier(estimator))
        held_out = [test for _, test in folds.split(X[order], NAMES[order])]
        return min(int((NAMES[order][test] == name).sum()) for test in held_out for name in ("ant", "bee", "cat"))

    assert isinstance(small(), ClassifierMixin)
    assert smallest_class_of_a_fold(ArgmaxOnly()) == 0
    assert smallest_class_of_a_fold(small()) >= 13
    assert cross_val_score(small(), X[order], NAMES[order], cv=3).min() > 0.9


@pytest.mark.parametrize(
    ("last", "output_kind"),
    [("log_softmax", "log_probabilities"), ("log_softmax", "logits"), ("softmax", "probabilities"), ("", "logits")],
)
def test_each_kind_of_output_becomes_probabilities(last: str, output_kind: str) -> None:
    classifier = own(Scores, module__last=last, output_kind=output_kind).fit(X, NAMES)
    layer = classifier.module_.linear
    odds = np.exp(X @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    np.testing.assert_allclose(classifier.predict_proba(X), odds / odds.sum(axis=1, keepdims=True), atol=1e-5)


def test_the_exponential_is_right_for_log_softmax_alone_and_other_outputs_are_refused() -> None:
    logits = Scores(3, "")(torch.from_numpy(X))
    assert not np.allclose(logits.exp().sum(1).detach(), 1)
    with pytest.raises(TrainingError, match="returns logits"):
        own(Scores, module__last="", output_kind="log_probabilities").fit(X, NAMES)
    with pytest.raises(TrainingError, match="returns probabilities"):
        own(Scores, module__last="softmax", output_kind="logits").fit(X, NAMES)


def test_two_softmaxes_flatten_the_probabilities_and_ours_is_not_flat() -> None:
    sure = torch.tensor([[20.0, 0.0, 0.0]])
    assert float(sure.softmax(1).softmax(1).max()) == pytest.approx(np.e / (np.e + 2), abs=1e-4)
    assert small(epochs=30).fit(X, NAMES).predict_proba(X).max() > 0.9


def test_dropout_and_normalisation_rest_while_it_predicts() -> None:
    module = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))
    naive, rows = copy.deepcopy(module).train(), torch.from_numpy(X)
    assert not torch.equal(naive(rows), naive(rows))
    classifier = own(module).fit(X, NAMES)
    together = classifier.predict_proba(X)
    before = {name: value.clone() for name, value in classifier.module_.state_dict().items()}
    np.testing.assert_array_equal(classifier.predict_proba(X), together)
    np.testing.assert_allclose(np.concatenate([classifier.predict_proba(row[None]) for row in X]), together, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in classifier.module_.state_dict().items())


def test_cross_val_predict_gives_what_folds_by_hand_give() -> None:
    predicted = cross_val_predict(small(), X, NAMES, cv=3, method="predict_proba")
    expected = np.empty_like(predicted)
    for train, test in check_cv(3, NAMES, classifier=True).split(X, NAMES):
        expected[test] = small().fit(X[train], NAMES[train]).predict_proba(X[test])
    np.testing.assert_array_equal(predicted, expected)


def test_a_grid_search_takes_it_as_it_is() -> None:
    search = GridSearchCV(small(), {"learning_rate": [1e-6, 1e-2], "module__hidden": [(), (8,)]}, cv=3).fit(X, NAMES)
    assert search.best_params_["learning_rate"] == 1e-2
    assert search.score(X, NAMES) > 0.9


def test_cleanlab_finds_planted_label_errors_from_row_numbers() -> None:
    given, planted = spoiled_labels()
    classifier = small(dataset=torch.from_numpy(X), epochs=20)
    probabilities = cross_val_predict(classifier, ROWS, given, cv=4, method="predict_proba")
    least_sure = probabilities[ROWS, given].argsort()[: len(planted)]
    assert set(least_sure) == set(planted)
    found = find_label_issues(given, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    assert set(found[:4]) <= set(planted)


def test_cleanlab_drives_it_by_itself() -> None:
    given, planted = spoiled_labels()
    learning = CleanLearning(small(epochs=20), cv_n_folds=4, seed=0, find_label_issues_kwargs={"n_jobs": 1})
    found = learning.find_label_issues(X, given)["is_label_issue"].to_numpy()
    assert found[planted].sum() >= 4
    assert found.sum() <= 8


def test_row_numbers_of_a_dataset_are_the_rows_themselves() -> None:
    rng = np.random.default_rng(0)
    picked = rng.permutation(120)[:70]
    by_number = small(dataset=X).fit(picked, NAMES[picked])
    by_value = small().fit(X[picked], NAMES[picked])
    np.testing.assert_array_equal(by_number.predict_proba(ROWS), by_value.predict_proba(X))


@pytest.mark.parametrize("as_dataset", [torch.from_numpy, lambda x: TensorDataset(torch.from_numpy(x)), pd.DataFrame])
def test_every_form_of_dataset_gives_the_same_probabilities(as_dataset: Callable[[np.ndarray], Any]) -> None:
    expected = small(dataset=X).fit(ROWS[:90], NAMES[:90]).predict_proba(ROWS)
    found = small(dataset=as_dataset(X)).fit(ROWS[:90], NAMES[:90]).predict_proba(ROWS)
    np.testing.assert_array_equal(found, expected)


def test_an_epoch_reads_each_row_that_was_named_once_and_no_other() -> None:
    data, epochs = Recording(), []

    def note(epoch: object, module: nn.Module) -> None:
        epochs.append(sorted(data.read))
        data.read.clear()

    named = np.array([3, 5, 8, 13, 21, 34, 55, 89])
    small(dataset=data, epochs=3, batch_size=3, callbacks=[note]).fit(named, NAMES[named])
    assert set(epochs[0]) == set(named)
    assert epochs[1:] == [named.tolist()] * 2


def test_the_order_of_rows_in_training_is_random() -> None:
    data = Recording()
    small(dataset=data, epochs=2).fit(ROWS, NAMES)
    first, second = data.read[-240:-120], data.read[-120:]
    assert first != second != sorted(second)
    assert sorted(first) == sorted(second) == ROWS.tolist()


def test_predictions_come_in_the_order_of_the_row_numbers() -> None:
    classifier = small(dataset=X).fit(ROWS, NAMES)
    asked = np.array([40, 2, 2, 119, 0])
    torch.manual_seed(0)
    sampled = DataLoader(TensorDataset(torch.from_numpy(asked)), sampler=SubsetRandomSampler(range(5)), batch_size=5)
    assert next(iter(sampled))[0].tolist() != asked.tolist()
    # Not bit by bit: the size of a batch and its place in memory decide the order in which products are added.
    np.testing.assert_allclose(classifier.predict_proba(asked), classifier.predict_proba(ROWS)[asked], rtol=1e-5)


def test_transforms_of_the_dataset_are_applied_and_its_own_labels_are_not_used() -> None:
    data = Transformed()
    pixels = (data.images[:, None].astype(np.float32) / 255 - 0.5) / 0.5
    labels = NAMES[ROWS % 2]
    by_number = small(dataset=data).fit(ROWS[:60], labels[:60])
    np.testing.assert_allclose(
        by_number.predict_proba(ROWS), small().fit(pixels[:60], labels[:60]).predict_proba(pixels), atol=1e-5
    )
    assert by_number.score(ROWS[60:], labels[60:]) == 1


def test_folds_share_the_dataset_instead_of_copying_it() -> None:
    data = Recording()
    classifier = small(dataset=data)
    assert clone(classifier).dataset is data
    cross_val_score(classifier.set_params(epochs=1), ROWS, NAMES, cv=2)
    assert set(data.read) == set(ROWS.tolist())


def test_held_out_rows_of_the_dataset_have_no_say_in_the_fit() -> None:
    spoiled = X.copy()
    spoiled[90:] = 1e6
    whole = small(dataset=X).fit(ROWS[:90], NAMES[:90])
    other = small(dataset=spoiled).fit(ROWS[:90], NAMES[:90])
    np.testing.assert_array_equal(whole.predict_proba(ROWS[:90]), other.predict_proba(ROWS[:90]))


@pytest.mark.parametrize("wrong", [np.array([0, 120]), np.array([-1, 0]), np.array([0.5, 1.0])])
def test_numbers_that_name_no_row_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"dataset"):
        small(dataset=X).fit(wrong, NAMES[:2])


def test_results_are_arrays_on_the_cpu_wherever_the_tensors_were() -> None:
    leaf = torch.from_numpy(X).requires_grad_()
    classifier = small(device="auto").fit(leaf, torch.from_numpy(CODES))
    for result in (classifier.predict(leaf), classifier.predict_proba(leaf), classifier.transform(leaf)):
        assert type(result) is np.ndarray
    assert leaf.grad is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_missing_is_an_error_and_not_a_slow_fit_on_the_cpu() -> None:
    with pytest.raises(TrainingError, match="finds 0 CUDA devices"):
        small(device="cuda").fit(X, NAMES)
    assert small(device="auto", epochs=1).fit(X, NAMES).device_ == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_takes_arrays_and_gives_arrays() -> None:
    classifier = small(device="cuda", epochs=20).fit(X, NAMES)
    assert next(classifier.module_.parameters()).is_cuda
    probabilities = classifier.predict_proba(torch.from_numpy(X).cuda())
    np.testing.assert_array_equal(probabilities, classifier.predict_proba(X))
    assert classifier.score(X, NAMES) > 0.9
