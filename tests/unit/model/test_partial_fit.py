"""Training that continues: partial_fit, warm starts, and failed fits that must not change the model."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from labelaudit.errors import InputError, TrainingError
from labelaudit.model.classifier import TorchClassifier
from support.toys import Normed, X, Y, own, same_weights, small, weights

ALL = [0, 1, 2]


def parts(count: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(X[n::count], Y[n::count]) for n in range(count)]


def streamed(classifier: TorchClassifier, count: int = 4) -> TorchClassifier:
    for data, labels in parts(count):
        classifier.partial_fit(data, labels, classes=ALL)
    return classifier


def test_the_first_call_needs_all_classes() -> None:
    with pytest.raises(
        InputError, match=r"The first call of partial_fit does not have the classes\. Pass all labels that may occur"
    ):
        small().partial_fit(X, Y)


@pytest.mark.parametrize("classes", [[2, 1, 0, 1], np.array(ALL), torch.tensor(ALL)])
def test_classes_may_have_any_order_and_container(classes: Any) -> None:
    assert small().partial_fit(X[:5], Y[:5], classes=classes).classes_.tolist() == ALL


def test_classes_that_never_occur_have_probabilities_too() -> None:
    classifier = small().partial_fit(X, Y, classes=[-1, *ALL])
    assert classifier.predict_proba(X).shape == (120, 4)
    assert classifier.classes_.tolist() == [-1, 0, 1, 2]


def test_other_classes_later_are_refused_and_the_same_ones_are_not() -> None:
    classifier = small().partial_fit(X, Y, classes=ALL)
    with pytest.raises(InputError, match=r"Classes \[0, 1\] differ from those of earlier calls, \[0 1 2\]"):
        classifier.partial_fit(X, Y, classes=[0, 1])
    assert classifier.partial_fit(X, Y, classes=[2, 0, 1]).n_iter_ == 2


def test_unknown_labels_are_refused() -> None:
    message = r"y contains 2 labels that are not among the classes of the first call \(such as .*7.*\)"
    with pytest.raises(InputError, match=message):
        small().partial_fit(X[:3], [0, 7, 9], classes=ALL)
    classifier = small().partial_fit(X, Y, classes=ALL)
    with pytest.raises(InputError, match=message):
        classifier.partial_fit(X[:3], [0, 7, 9])
    with pytest.raises(InputError, match=r"y contains 1 labels .* \(such as .*-1.*\)"):
        classifier.partial_fit(X[:3], [0, -1, 1])


@pytest.mark.parametrize(("classes", "labels"), [(["a", "b"], [0, 1]), ([0, 1], ["a", "b"])])
def test_labels_of_another_type_are_unknown(classes: list[Any], labels: list[Any]) -> None:
    with pytest.raises(InputError, match=r"y contains 2 labels that are not among the classes"):
        small().partial_fit(X[:2], labels, classes=classes)


def test_unknown_names_between_the_known_ones_are_refused() -> None:
    with pytest.raises(InputError, match=r"y contains 1 labels .* \(such as .*'b'.*\)"):
        small().partial_fit(X[:2], ["a", "b"], classes=["a", "c"])


def test_each_call_is_an_epoch_that_continues_the_previous_one() -> None:
    classifier = small(learning_rate=0.05)
    losses = []
    for number in range(1, 31):
        classifier.partial_fit(X, Y, classes=ALL)
        assert classifier.n_iter_ == number
        assert len(classifier.history_) == 1
        losses.append(classifier.history_[0]["loss"])
    assert losses[-1] < losses[0] / 2
    assert classifier.score(X, Y) > 0.8


def test_streams_repeat() -> None:
    first, again = (streamed(small(module__dropout=0.3)) for _ in range(2))
    assert same_weights(first, again)
    assert not same_weights(first, streamed(small(module__dropout=0.3, random_state=1)))


def test_the_rate_is_constant_and_the_optimizer_keeps_its_state() -> None:
    classifier = streamed(small(learning_rate=0.02))
    assert classifier.history_[0]["learning_rate"] == 0.02
    optimizer = classifier._optimizer
    assert optimizer is not None
    steps = {int(state["step"]) for state in optimizer.state.values()}
    assert steps == {4}


def test_the_order_of_rows_is_another_one_in_each_call() -> None:
    orders: list[list[float]] = []

    class Notes(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                orders.append(x[:, 0].tolist())
            return super().forward(x)

    classifier = own(lambda: Notes(6, 3), batch_size=200)
    for _ in range(2):
        classifier.partial_fit(X, Y, classes=ALL)
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_partial_fit_continues_after_a_fit() -> None:
    fitted = small().fit(X, Y)
    before = weights(fitted)
    fitted.partial_fit(X, Y)
    assert fitted.n_iter_ == 6
    assert any((value != before[name]).any() for name, value in weights(fitted).items())


def test_a_fit_after_a_stream_starts_afresh() -> None:
    assert same_weights(streamed(small()).fit(X, Y), small().fit(X, Y))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda classifier: pickle.loads(pickle.dumps(classifier))])
def test_a_copy_continues_like_the_original(copied: Callable[[TorchClassifier], TorchClassifier]) -> None:
    original = streamed(small())
    other = copied(original)
    before = weights(original)
    other.partial_fit(X, Y)
    assert all((value == before[name]).all() for name, value in weights(original).items())
    assert same_weights(original.partial_fit(X, Y), other)


def test_early_stopping_and_averages_are_for_fits_alone() -> None:
    assert same_weights(streamed(small(early_stopping=True)), streamed(small()))
    assert same_weights(streamed(small(average_share=0.5)), streamed(small()))


def test_a_warm_start_continues_with_the_previous_weights() -> None:
    classifier = small(warm_start=True, epochs=10).fit(X, Y)
    assert same_weights(classifier, small(epochs=10).fit(X, Y))
    first = classifier.history_
    classifier.fit(X, Y)
    assert classifier.n_iter_ == 20
    assert len(classifier.history_) == 10
    assert classifier.history_[0]["loss"] < first[0]["loss"] * 0.8
    assert not same_weights(classifier, small(epochs=10).fit(X, Y))


def test_warm_starts_repeat() -> None:
    first, again = (small(warm_start=True, module__dropout=0.3).fit(X, Y).fit(X, Y) for _ in range(2))
    assert same_weights(first, again)


def test_a_warm_start_knows_the_classes_of_the_first_fit() -> None:
    classifier = small(warm_start=True).fit(X, Y)
    some = Y < 2
    assert classifier.fit(X[some], Y[some]).classes_.tolist() == ALL
    with pytest.raises(InputError, match=r"y contains 1 labels .* or fit without warm_start"):
        classifier.fit(X, np.where(Y == 2, 5, Y))
    assert classifier.set_params(warm_start=False).fit(X, np.where(Y == 2, 5, Y)).classes_.tolist() == [0, 1, 5]


def test_a_warm_start_refuses_examples_of_another_shape() -> None:
    classifier = small(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"X has 5 features, but TorchClassifier is expecting 6"):
        classifier.fit(X[:, :5], Y)
    with pytest.raises(InputError, match=r"X has examples of shape \(5,\), but fit was called with \(6,\)"):
        classifier.set_params(dataset=X[:, :5]).fit(np.arange(120), Y)


def test_a_clone_starts_afresh() -> None:
    classifier = small(warm_start=True).fit(X, Y)
    assert same_weights(clone(classifier).fit(X, Y), classifier)


def interrupted(epoch: Any, module: nn.Module) -> None:
    raise KeyError("interrupted")


BREAKS: dict[str, Callable[[TorchClassifier], Any]] = {
    "interrupted": lambda c: c.set_params(callbacks=[interrupted]).fit(X, Y),
    "loss not finite": lambda c: c.set_params(learning_rate=1e30, epochs=9).fit(X, Y),
    "labels that are not finite": lambda c: c.fit(X[:, :4], np.full(120, np.nan)),
    "other data, wrong weights": lambda c: c.fit(X[:, :4], Y, sample_weight=np.full(120, -1)),
    "wrong setting": lambda c: c.set_params(batch_size=0).fit(X[:60, :4], Y[:60] > 0),
    "wrong optimizer": lambda c: c.set_params(optimizer="none").fit(X, Y),
    "wrong pattern": lambda c: c.set_params(frozen=("none",)).fit(X, Y),
    "partial fit, interrupted": lambda c: c.set_params(callbacks=[interrupted]).partial_fit(X, Y),
    "partial fit, unknown labels": lambda c: c.partial_fit(X, Y + 1),
    "partial fit, loss not finite": lambda c: c.set_params(learning_rate=1e38).partial_fit(X * 1e18, Y),
}


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_failed_fit_does_not_change_the_previous_one(name: str, warm_start: bool) -> None:
    classifier = own(Normed, warm_start=warm_start).fit(X, Y)
    expected, before, history = classifier.predict_proba(X), weights(classifier), classifier.history_
    with pytest.raises((KeyError, TrainingError, ValueError)):
        BREAKS[name](classifier)
    np.testing.assert_array_equal(classifier.predict_proba(X), expected)
    assert all((value == before[key]).all() for key, value in weights(classifier).items())
    assert classifier.history_ == history
    assert classifier.n_iter_ == 5
    assert classifier.n_features_in_ == 6
    assert classifier.classes_.tolist() == ALL
    assert not classifier.module_.training


def test_partial_fit_continues_as_if_a_failed_call_had_not_happened() -> None:
    failed, plain = streamed(small()), streamed(small())
    with pytest.raises(TrainingError, match=r"The loss is not finite"):
        failed.set_params(learning_rate=math.inf).partial_fit(X, Y)
    failed.set_params(learning_rate=0.01)
    assert same_weights(failed.partial_fit(X, Y), plain.partial_fit(X, Y))
