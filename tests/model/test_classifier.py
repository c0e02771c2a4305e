"""TorchClassifier as scikit-learn sees it: clones, pickles, pipelines, searches, cleanlab, bound datasets."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cleanlab.classification import CleanLearning
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.inputs import ImageInputs
from labelaudit.model.networks import MLP, Ngrams, SmallResNet

X, Y = make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)
X = X.astype(np.float32)
SMALL = TorchClassifier(MLP, module_kwargs={"hidden": (8,)}, epochs=5, batch_size=32, device="cpu")


def small(**changes: Any) -> TorchClassifier:
    return clone(SMALL).set_params(**changes)


def weights(classifier: TorchClassifier) -> list[np.ndarray]:
    return [value.numpy() for value in classifier.module_.state_dict().values()]


def same_weights(first: TorchClassifier, second: TorchClassifier) -> bool:
    return all(map(np.array_equal, weights(first), weights(second)))


def test_probabilities_are_finite_distributions_in_float32() -> None:
    probabilities = small().fit(X, Y).predict_proba(X)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (120, 3)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1, dtype=np.float64), 1, atol=1e-6)


def test_labels_of_any_type_come_back() -> None:
    names = np.array(["ant", "bee", "cat"])[Y]
    classifier = small(epochs=30).fit(X, names)
    assert classifier.classes_.tolist() == ["ant", "bee", "cat"]
    assert set(classifier.predict(X)) <= {"ant", "bee", "cat"}
    assert classifier.score(X, names) > 0.6


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    module = partial(MLP, hidden=(8,), dropout=0.5)
    first, again, other = (small(module=module, module_kwargs=None, seed=seed).fit(X, Y) for seed in (1, 1, 2))
    assert same_weights(first, again)
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))
    assert not same_weights(first, other)


def test_what_ran_before_in_the_process_does_not_matter() -> None:
    first = small().fit(X, Y)
    torch.rand(17)
    np.random.rand(5)
    small(seed=9).fit(X[:50], Y[:50])
    assert same_weights(first, small().fit(X, Y))


def test_a_second_fit_starts_afresh() -> None:
    classifier = small().fit(X[:60], Y[:60])
    assert same_weights(classifier.fit(X, Y), small().fit(X, Y))


def test_global_random_state_is_left_alone() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    small(module_kwargs={"hidden": (8,), "dropout": 0.5}).fit(X, Y).predict_proba(X)
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_arrays_of_the_caller_are_not_changed() -> None:
    values, labels = X.copy(), Y.copy()
    small().fit(values, labels).predict(values)
    np.testing.assert_array_equal(values, X)
    np.testing.assert_array_equal(labels, Y)


@pytest.mark.parametrize(
    "changes",
    [
        {"module": Ngrams, "module_kwargs": None},
        {"module_kwargs": {"hidden": (9,)}},
        {"optimizer": "sgd"},
        {"learning_rate": 0.003},
        {"weight_decay": 1.0},
        {"epochs": 6},
        {"batch_size": 16},
        {"schedule": "cosine"},
        {"label_smoothing": 0.3},
        {"average_share": 0.5},
        {"precision": "bfloat16"},
        {"seed": 1},
    ],
)
def test_every_parameter_changes_the_probabilities(changes: dict[str, Any]) -> None:
    data = sparse.csr_matrix(X)
    usual = small().fit(data, Y).predict_proba(data)
    changed = small(**changes).fit(data, Y).predict_proba(data)
    assert not np.array_equal(usual, changed)


def test_output_kinds_are_three_ways_to_say_the_same() -> None:
    linear = partial(nn.Linear, 6, 3)
    heads = {
        "logits": nn.Identity,
        "log_probabilities": lambda: nn.LogSoftmax(1),
        "probabilities": lambda: nn.Softmax(1),
    }
    results = {
        kind: small(module=lambda head=head: nn.Sequential(linear(), head()), module_kwargs=None, output_kind=kind)
        .fit(X, Y)
        .predict_proba(X)
        for kind, head in heads.items()
    }
    np.testing.assert_allclose(results["log_probabilities"], results["logits"], atol=1e-4)
    np.testing.assert_allclose(results["probabilities"], results["logits"], atol=1e-4)


def test_a_module_that_returns_probabilities_as_logits_is_refused() -> None:
    module = partial(nn.Sequential, nn.Linear(6, 3), nn.Softmax(1))
    with pytest.raises(TrainingError, match=r"output_kind is 'logits', but the network returns probabilities"):
        small(module=module, module_kwargs=None).fit(X, Y)


def test_a_module_with_too_few_outputs_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"returned 2 columns for 3 classes"):
        small(module=partial(nn.Linear, 6, 2), module_kwargs=None).fit(X, Y)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"module returned a dict; it must return a torch.nn.Module"):
        small(module=dict, module_kwargs=None).fit(X, Y)


def test_wrong_settings_and_devices_are_errors_of_fit_not_of_construction() -> None:
    with pytest.raises(ConfigError, match=r"schedule 'spiral' is unknown"):
        small(schedule="spiral").fit(X, Y)
    with pytest.raises(TrainingError, match=r"device 'cuda:99' was asked for"):
        small(device="cuda:99").fit(X, Y)


def test_the_same_data_in_every_container_gives_the_same_weights() -> None:
    reference = small().fit(X, Y)
    columns = [f"f{n}" for n in range(6)]
    for data in (torch.from_numpy(X), pd.DataFrame(X, columns=columns), X.tolist(), sparse.csr_matrix(X)):
        assert same_weights(small().fit(data, Y), reference)


def test_sparse_rows_reach_a_module_that_takes_them() -> None:
    data = sparse.csr_matrix(np.where(X > 0.5, X, 0))
    classifier = small(module=Ngrams, module_kwargs=None, epochs=30, learning_rate=0.1)
    assert classifier.fit(data, Y).score(data, Y) > 0.6


@pytest.mark.parametrize("kind", ["array", "tensor", "frame", "sparse"])
def test_row_numbers_of_a_bound_dataset_are_as_good_as_its_rows(kind: str) -> None:
    dataset = {"array": X, "tensor": torch.from_numpy(X), "frame": pd.DataFrame(X), "sparse": sparse.csr_matrix(X)}[
        kind
    ]
    rows, held_out = np.arange(0, 120, 2), np.arange(1, 120, 2)
    bound = small(dataset=dataset).fit(rows, Y[rows])
    plain = small().fit(X[rows], Y[rows])
    assert same_weights(bound, plain)
    np.testing.assert_array_equal(bound.predict_proba(held_out), plain.predict_proba(X[held_out]))
    np.testing.assert_array_equal(bound.predict_proba(held_out[:, None]), bound.predict_proba(held_out))


def images() -> tuple[ImageInputs, np.ndarray]:
    digits = load_digits()
    pixels = (digits.images * 15).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(pixels))
    return ImageInputs(pixels[order], np.argsort(order)), digits.target


def test_bound_images_are_as_good_as_an_array_of_images() -> None:
    dataset, labels = images()
    classifier = small(module=SmallResNet, module_kwargs={"widths": (4, 8, 8)}, epochs=2, crop_padding=1, flip=True)
    rows = np.arange(200, 400)
    bound = clone(classifier).set_params(dataset=dataset).fit(rows, labels[rows])
    pixels = np.ascontiguousarray(dataset.pixels[dataset.positions[rows]].transpose(0, 3, 1, 2))
    plain = classifier.fit(pixels, labels[rows])
    assert same_weights(bound, plain)
    np.testing.assert_array_equal(bound.predict_proba(rows), plain.predict_proba(pixels))


def test_cropping_and_flipping_change_training_and_prediction() -> None:
    dataset, labels = images()
    classifier = small(
        module=SmallResNet, module_kwargs={"widths": (4, 8, 8)}, epochs=1, dataset=dataset, precision="float32"
    )
    rows = np.arange(100)
    results = [
        classifier.set_params(crop_padding=padding, flip=flip).fit(rows, labels[rows]).predict_proba(rows)
        for padding, flip in ((0, False), (1, False), (0, True))
    ]
    assert not np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_cross_validation_over_row_numbers_is_that_over_rows() -> None:
    rows = np.arange(len(X))
    bound = cross_val_predict(small(dataset=X), rows, Y, cv=3, method="predict_proba")
    plain = cross_val_predict(small(), X, Y, cv=3, method="predict_proba")
    np.testing.assert_array_equal(bound, plain)


def test_clones_share_the_bound_dataset_and_nothing_that_was_learned() -> None:
    classifier = small(dataset=X).fit(np.arange(120), Y)
    twin = clone(classifier)
    assert twin.dataset is X
    assert not hasattr(twin, "module_")
    assert {**twin.get_params(), "dataset": None} == {**classifier.get_params(), "dataset": None}
    assert copy.copy(classifier).dataset is X


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.array([0, 120]), r"X asks for rows 0 to 120 of a dataset of 120: give 0 to 119"),
        (np.array([-1, 3]), r"X asks for rows -1 to 3"),
        (np.array([0.0, 1.0]), r"X holds row numbers, integers of shape \(n,\); got float64 \(2,\)"),
        (np.zeros((2, 2), int), r"got int64 \(2, 2\)"),
    ],
)
def test_wrong_row_numbers_are_refused(numbers: np.ndarray, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        small(dataset=X).fit(numbers, Y[:2])


def test_row_numbers_and_labels_must_be_as_many() -> None:
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples"):
        small(dataset=X).fit(np.arange(3), Y[:2])


def test_examples_of_another_shape_are_refused() -> None:
    stacked = X.reshape(120, 2, 3)
    with pytest.raises(TrainingError, match=r"X has examples of shape \(2, 1\); the fit saw \(2, 3\)"):
        small().fit(stacked, Y).predict(stacked[:, :, :1])


def test_pickle_keeps_what_was_learned() -> None:
    classifier = small().fit(X, Y)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


def test_pipeline_and_grid_search() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), small()),
        {"torchclassifier__module_kwargs": [{"hidden": (2,)}, {"hidden": (32,)}], "torchclassifier__epochs": [20]},
        cv=3,
        error_score="raise",
    )
    search.fit(X, Y)
    assert search.best_score_ > 0.6
    assert search.predict_proba(X).shape == (120, 3)


def test_clean_learning_finds_planted_errors() -> None:
    points, labels = make_classification(300, 6, n_informative=5, n_redundant=0, class_sep=2.5, random_state=1)
    noisy = labels.copy()
    wrong = np.random.default_rng(0).choice(300, 15, replace=False)
    noisy[wrong] = 1 - noisy[wrong]
    # An array of float32: CleanLearning hands its own copies on.
    issues = CleanLearning(small(epochs=15), cv_n_folds=3, seed=0).find_label_issues(points.astype(np.float32), noisy)
    found = set(np.flatnonzero(issues["is_label_issue"])) & set(wrong)
    assert len(found) >= 11


def test_on_epoch_and_losses_agree() -> None:
    heard: list[tuple[int, int, float]] = []
    classifier = small(on_epoch=lambda *state: heard.append(state)).fit(X, Y)
    assert heard == [(n + 1, 5, loss) for n, loss in enumerate(classifier.losses_)]


def test_a_module_is_told_sizes_only_where_it_takes_them() -> None:
    def sized(num_classes: int) -> nn.Module:
        return nn.Linear(6, num_classes)

    def any_size(**sizes: Any) -> nn.Module:
        return nn.Linear(sizes["input_shape"][0], sizes["num_classes"])

    for module in (sized, any_size, partial(nn.Linear, 6, 3)):
        assert small(module=module, module_kwargs=None).fit(X, Y).predict_proba(X).shape == (120, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_repeats_itself_and_its_pickle_predicts_on_a_cpu() -> None:
    dataset, labels = images()
    classifier = small(module=SmallResNet, module_kwargs=None, dataset=dataset, device="cuda", crop_padding=1)
    rows = np.arange(400)
    first, again = (clone(classifier).fit(rows, labels[rows]) for _ in range(2))
    assert same_weights(first, again)
    moved = pickle.loads(pickle.dumps(first)).set_params(device="cpu")
    np.testing.assert_allclose(moved.predict_proba(rows), first.predict_proba(rows), atol=0.05)
