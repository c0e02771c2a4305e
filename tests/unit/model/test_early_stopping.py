"""Early stopping: what is held out, when training ends, and which weights are kept."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from labelaudit.errors import InputError
from labelaudit.model.progress import Epoch
from support.toys import RowDataset, X, Y, own, same_weights, small


def test_training_stops_and_the_best_weights_are_restored() -> None:
    states: list[dict[str, torch.Tensor]] = []

    def note(epoch: Epoch, module: nn.Module) -> None:
        states.append(copy.deepcopy(module.state_dict()))

    classifier = small(
        early_stopping=True, epochs=200, learning_rate=0.1, n_iter_no_change=3, schedule="constant", callbacks=[note]
    ).fit(X, Y)
    losses = [epoch["validation_loss"] for epoch in classifier.history_]
    best = int(np.argmin(losses))
    assert len(losses) == classifier.n_iter_ == best + 1 + 3 < 200
    for name, value in classifier.module_.state_dict().items():
        assert torch.equal(value, states[best][name])
    assert not torch.equal(states[best]["layers.1.weight"], states[-1]["layers.1.weight"])


@pytest.mark.parametrize("patience", [1, 2, 6])
def test_patience_is_the_number_of_epochs_without_a_lower_loss(patience: int) -> None:
    history = small(early_stopping=True, epochs=300, learning_rate=0.1, n_iter_no_change=patience, schedule="constant")
    losses = [epoch["validation_loss"] for epoch in history.fit(X, Y).history_]
    assert len(losses) < 300
    waits = [n - int(np.argmin(losses[: n + 1])) for n in range(len(losses))]
    assert waits[-1] == patience
    assert max(waits[:-1], default=0) < patience


class Seen(nn.Module):
    """Notes the first feature of what it is trained on and of what it predicts."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = nn.Linear(input_shape[0], num_classes)
        self.trained: set[int] = set()
        self.checked: set[int] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (self.trained if self.training else self.checked).update(x[:, 0].int().tolist())
        logits: torch.Tensor = self.layer(x)
        return logits


NUMBERED = np.c_[np.arange(120), np.zeros(120)].astype(np.float32)


def sides(bound: bool = False, **given: Any) -> tuple[set[int], set[int]]:
    """Rows that a fit trained on, and rows held out."""
    classifier = own(Seen, early_stopping=True, epochs=2, validation_fraction=0.25, dataset=NUMBERED if bound else None)
    module = classifier.fit(np.arange(120) if bound else NUMBERED, Y, **given).module_
    # The first eight rows are read before training starts.
    return module.trained, set(range(120)) - module.trained if module.checked else set()


@pytest.mark.parametrize("bound", [False, True])
def test_held_out_rows_are_not_trained_on_and_contain_every_class(bound: bool) -> None:
    trained, held_out = sides(bound)
    assert len(held_out) == 30
    counts = np.bincount(Y[sorted(held_out)])
    assert (np.abs(counts - np.bincount(Y) / 4) <= 1).all()
    assert trained | held_out == set(range(120))


@pytest.mark.parametrize("kind", [np.asarray, pd.Series, torch.tensor, lambda groups: groups.astype(str)])
def test_rows_of_a_group_stay_on_one_side(kind: Any) -> None:
    groups = np.arange(120) // 5
    trained, held_out = sides(groups=kind(groups))
    assert held_out
    assert not {groups[row] for row in trained} & {groups[row] for row in held_out}


def test_the_validation_loss_is_that_of_the_rows_held_out() -> None:
    classifier = small(early_stopping=True, epochs=1, validation_fraction=0.3, dataset=RowDataset(X))
    classifier.fit(np.arange(120), Y)
    trained, held_out = sides_of(0.3)
    assert len(trained) == 84
    probabilities = classifier.predict_proba(held_out)
    (epoch,) = classifier.history_
    assert epoch["validation_loss"] == pytest.approx(log_loss(Y[held_out], probabilities), rel=1e-4)
    assert epoch["validation_accuracy"] == pytest.approx(classifier.score(held_out, Y[held_out]))


def sides_of(fraction: float) -> tuple[np.ndarray, np.ndarray]:
    module = own(Seen, early_stopping=True, epochs=1, validation_fraction=fraction).fit(NUMBERED, Y).module_
    trained = np.array(sorted(module.trained))
    return trained, np.setdiff1d(np.arange(120), trained)


def test_another_seed_holds_out_other_rows() -> None:
    first, again, other = (
        own(Seen, early_stopping=True, epochs=1, random_state=seed).fit(NUMBERED, Y).module_.trained
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_weights_of_rows_held_out_count_in_the_validation_loss() -> None:
    _, held_out = sides_of(0.1)
    row_weights = np.ones(120)
    row_weights[held_out[0]] = 1000
    classifier = small(early_stopping=True, epochs=1).fit(X, Y, sample_weight=row_weights)
    first = classifier.predict_log_proba(X[held_out[:1]])[0, Y[held_out[0]]]
    assert classifier.history_[0]["validation_loss"] == pytest.approx(-first, rel=0.05)


def test_rows_held_out_without_any_weight_are_refused() -> None:
    _, held_out = sides_of(0.1)
    row_weights = np.ones(120)
    row_weights[held_out] = 0
    with pytest.raises(InputError, match=r"rows held out for early stopping have weight zero"):
        small(early_stopping=True).fit(X, Y, sample_weight=row_weights)


def test_without_early_stopping_groups_have_no_effect() -> None:
    assert same_weights(small().fit(X, Y, groups=np.arange(120)), small().fit(X, Y))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"Early stopping cannot hold out 0\.1 of 9 rows with every class on both"):
        small(early_stopping=True).fit(X[:9], np.arange(9) % 3)
    with pytest.raises(InputError, match=r"Early stopping cannot hold out some of the 1 groups"):
        small(early_stopping=True).fit(X, Y, groups=np.zeros(120))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(119), r"inconsistent numbers of samples: \[120, 119\]"),
        (np.zeros((120, 2)), r"y should be a 1d array, got an array of shape \(120, 2\)"),
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_wrong_groups_are_refused(groups: np.ndarray, message: str, early_stopping: bool) -> None:
    with pytest.raises(ValueError, match=message):
        small(early_stopping=early_stopping).fit(X, Y, groups=groups)


def test_a_callback_can_end_a_fit_that_watches_its_loss() -> None:
    classifier = small(early_stopping=True, epochs=50, callbacks=[lambda epoch, _: epoch.epoch == 3]).fit(X, Y)
    assert classifier.n_iter_ == 3
