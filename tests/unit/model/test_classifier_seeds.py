"""Only data, parameters and the seed determine a result. No state of the process, a fold or a module leaks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from labelaudit.model.features import TorchFeatures
from labelaudit.model.networks import MLP
from support.toys import Normed, RowDataset, Uncopied, X, Y, own, same_weights, small


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (small(module__dropout=0.5, random_state=seed).fit(X, Y) for seed in (1, 1, 2))
    assert same_weights(first, again)
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))
    assert not same_weights(first, other)
    assert same_weights(first, small(module__dropout=0.5, random_state=np.int64(1)).fit(X, Y))


def test_without_a_seed_every_fit_is_another() -> None:
    classifier = small(random_state=None)
    assert not same_weights(classifier.fit(X, Y), clone(classifier).fit(X, Y))


def test_a_random_state_advances_with_each_fit() -> None:
    classifier = small(random_state=np.random.RandomState(3))
    first = clone(classifier).fit(X, Y)
    again = clone(classifier).fit(X, Y)
    assert same_weights(first, again)
    assert not same_weights(first, first.fit(X, Y) and clone(classifier).set_params(random_state=4).fit(X, Y))
    once = copy.deepcopy(classifier.fit(X, Y))
    assert not same_weights(once, classifier.fit(X, Y))


@pytest.mark.parametrize("seed", [-1, 2**70])
def test_seeds_out_of_range_are_refused_or_used_but_not_mixed_up(seed: int) -> None:
    try:
        first, again = (small(random_state=seed).fit(X, Y) for _ in range(2))
    except ValueError:
        return
    assert same_weights(first, again)


def test_what_ran_before_in_the_process_does_not_matter() -> None:
    first = small(module__dropout=0.5).fit(X, Y)
    torch.rand(17)
    np.random.rand(5)
    small(random_state=9).fit(X[:50], Y[:50])
    torch.manual_seed(3)
    assert same_weights(first, small(module__dropout=0.5).fit(X, Y))


def test_a_second_fit_starts_afresh() -> None:
    classifier = small().fit(X[:60, :4], Y[:60] > 0)
    assert same_weights(classifier.fit(X, Y), small().fit(X, Y))
    assert classifier.n_features_in_ == 6
    assert classifier.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("changes", [{}, {"early_stopping": True}, {"random_state": np.random.RandomState(0)}])
def test_global_random_state_is_left_alone(changes: dict[str, Any]) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()
    classifier = small(module__dropout=0.5, **changes).fit(X, Y)
    classifier.partial_fit(X, Y).predict_proba(X)
    classifier.transform(X)
    numpy_after = np.random.get_state()
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(numpy_after[1], numpy_before[1])
    assert numpy_after[2:] == numpy_before[2:]


def test_global_random_state_is_left_alone_by_a_fit_that_fails() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        small(callbacks=[lambda epoch, module: {}["no key"]]).fit(X, Y)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_change_nothing() -> None:
    classifier = small(module__dropout=0.5)
    one = cross_val_predict(classifier, X, Y, cv=4, method="predict_proba")
    before = torch.get_rng_state()
    with parallel_config("threading", n_jobs=4):
        several = cross_val_predict(classifier, X, Y, cv=4, method="predict_proba")
    np.testing.assert_array_equal(several, one)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "mode",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_modes_of_the_caller_do_not_matter(mode: Callable[[], AbstractContextManager[Any]]) -> None:
    expected = small(module__dropout=0.5).fit(X, Y).predict_proba(X)
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        found = small(module__dropout=0.5).fit(X, Y).predict_proba(X)
        assert before == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    np.testing.assert_array_equal(found, expected)


def test_features_of_a_dataset_that_draws_repeat_and_leave_the_global_state_alone() -> None:
    class Drawn(RowDataset):
        def __getitem__(self, row: int) -> tuple[Any, int]:
            return torch.rand(6), -1

    features = TorchFeatures(nn.Linear(6, 2), device="cpu")
    before = torch.get_rng_state()
    first, again = (features.fit(Drawn(X)).transform(Drawn(X)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_repeat_after_training_with_dropout() -> None:
    classifier = small(module__dropout=0.5).fit(X, Y)
    np.testing.assert_array_equal(classifier.predict_proba(X), classifier.predict_proba(X))
    assert not classifier.module_.training


def test_fit_neither_changes_nor_adds_parameters() -> None:
    classifier = small(class_weight="balanced", callbacks=[lambda epoch, module: None])
    before = classifier.get_params()
    classifier.fit(X, Y)
    assert classifier.get_params() == before
    assert all(classifier.get_params()[name] is value for name, value in before.items())


def test_a_module_instance_is_copied_by_every_fit_and_never_changed() -> None:
    torch.manual_seed(0)
    module = Normed(3, (6,))
    before = copy.deepcopy(module.state_dict())
    classifier = own(module)
    first = copy.deepcopy(classifier.fit(X[:60], Y[:60]).fit(X, Y))
    assert same_weights(first, own(module).fit(X, Y))
    assert classifier.module_ is not module
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())


def test_a_fit_of_a_module_instance_starts_from_its_weights() -> None:
    module = Normed(3, (6,))
    classifier = own(module, learning_rate=1e-30, epochs=1).fit(X, Y)
    assert torch.equal(classifier.module_.head.weight, module.head.weight)


def test_a_module_instance_in_prediction_mode_is_trained_all_the_same() -> None:
    module = Normed(3, (6,)).eval()
    classifier = own(module).fit(X, Y)
    assert not torch.equal(classifier.module_.body[1].running_mean, module.body[1].running_mean)
    assert not module.training


@pytest.mark.parametrize("module", [MLP, Normed(3, (6,))], ids=["class", "instance"])
def test_folds_are_those_made_by_hand(module: Any) -> None:
    folds = KFold(3)
    found = cross_val_predict(own(module), X, Y, cv=folds, method="predict_proba")
    for training, held_out in folds.split(X):
        by_hand = own(module).fit(X[training], Y[training]).predict_proba(X[held_out])
        np.testing.assert_array_equal(found[held_out], by_hand)


def test_candidates_of_a_search_do_not_see_each_other() -> None:
    widths = [(2,), (8,), (4,)]
    search = GridSearchCV(small(), {"module__hidden": widths}, cv=3, error_score="raise").fit(X, Y)
    for number, width in enumerate(widths):
        alone = cross_val_score(small(module__hidden=width), X, Y, cv=3)
        found = [search.cv_results_[f"split{fold}_test_score"][number] for fold in range(3)]
        np.testing.assert_array_equal(found, alone)
    assert same_weights(search.best_estimator_, small(**search.best_params_).fit(X, Y))


def test_clones_share_the_bound_dataset_and_nothing_that_was_learned() -> None:
    dataset = Uncopied(X)
    classifier = small(dataset=dataset, early_stopping=True).fit(np.arange(120), Y)
    copied = clone(classifier)
    assert copied.dataset is dataset
    assert not hasattr(copied, "module_")
    assert copied.get_params() == classifier.get_params()
    assert classifier.dataset is dataset
    inner = clone(make_pipeline(FunctionTransformer(), classifier))[-1]
    assert inner.dataset is dataset


def test_searches_and_folds_do_not_copy_the_bound_dataset() -> None:
    dataset = Uncopied(X)
    rows = np.arange(120)
    search = GridSearchCV(small(dataset=dataset), {"epochs": [1, 2]}, cv=2, error_score="raise").fit(rows, Y)
    assert search.best_estimator_.dataset is dataset
    assert cross_val_predict(small(dataset=dataset), rows, Y, cv=2).shape == (120,)


def test_copies_share_the_bound_dataset() -> None:
    dataset = Uncopied(X)
    classifier = small(dataset=dataset).fit(np.arange(120), Y)
    assert copy.copy(classifier).dataset is dataset
    assert copy.deepcopy(classifier).dataset is dataset


def test_a_clone_has_arguments_of_its_own() -> None:
    classifier = small(optimizer__betas=[0.9, 0.99])
    copied = clone(classifier).set_params(module__hidden=(3,))
    assert classifier.get_params()["module__hidden"] == (8,)
    assert copied.get_params()["optimizer__betas"] is not classifier.get_params()["optimizer__betas"]


def test_a_shallow_copy_keeps_its_arguments_when_the_other_changes_them() -> None:
    classifier = small()
    copied = copy.copy(classifier)
    copied.set_params(module__hidden=(3,))
    assert classifier.get_params()["module__hidden"] == (8,)


def test_threads_and_gradient_mode_of_the_caller_are_left_alone() -> None:
    threads = torch.get_num_threads()
    small().fit(X, Y).predict(X)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_the_module_learned_can_be_trained_further_by_hand() -> None:
    module: nn.Module = small().fit(X, Y).module_
    module(torch.tensor(X)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
