"""What a classifier reports about its training: callbacks, the history, a line for each epoch."""

from __future__ import annotations

import math

import pytest
from torch import nn

from labelaudit.model.progress import Epoch
from support.toys import X, Y, small


def test_callbacks_see_each_epoch_and_the_module() -> None:
    seen: list[tuple[Epoch, nn.Module]] = []
    classifier = small(callbacks=[lambda epoch, module: seen.append((epoch, module))]).fit(X, Y)
    assert [(epoch.epoch, epoch.epochs) for epoch, _ in seen] == [(number, 5) for number in range(1, 6)]
    assert [epoch.loss for epoch, _ in seen] == [epoch["loss"] for epoch in classifier.history_]
    assert all(module is classifier.module_ for _, module in seen)
    assert classifier.n_iter_ == 5


def test_a_callback_that_returns_true_ends_the_training_and_the_others_still_hear_of_it() -> None:
    calls: list[int] = []
    classifier = small(callbacks=[lambda epoch, _: epoch.epoch == 2, lambda epoch, _: calls.append(epoch.epoch)])
    classifier.fit(X, Y)
    assert classifier.n_iter_ == len(classifier.history_) == 2
    assert calls == [1, 2]


def test_an_error_in_a_callback_is_raised() -> None:
    def fail(epoch: Epoch, module: nn.Module) -> None:
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        small(callbacks=[fail]).fit(X, Y)


def test_the_history_has_an_entry_for_each_epoch() -> None:
    history = small(epochs=3, schedule=lambda progress: 1 - progress, learning_rate=0.3).fit(X, Y).history_
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert [entry["learning_rate"] for entry in history] == pytest.approx([0.3 * (1 - k / 12) for k in (3, 7, 11)])
    assert all(entry["seconds"] > 0 and math.isfinite(entry["loss"]) for entry in history)
    assert history[0]["validation_loss"] is None
    assert history[0]["validation_accuracy"] is None


def test_verbose_writes_a_line_for_each_epoch_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    small(epochs=2, verbose=True).fit(X, Y)
    small(epochs=1, verbose=True, early_stopping=True).fit(X, Y)
    small(epochs=1).fit(X, Y)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/2: loss ")
    assert lines[1].startswith("epoch 2/2: loss ")
    assert ", validation loss " in lines[2]
    assert ", accuracy " in lines[2]
