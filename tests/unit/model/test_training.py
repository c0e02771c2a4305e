"""The loop on tensors: steps, losses, averages, the best weights, and a loss that is not finite."""

from __future__ import annotations

import itertools
import math
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.optimizers import make_optimizer
from labelaudit.model.progress import Epoch, WeightAverage
from labelaudit.model.schedules import constant, cosine
from labelaudit.model.training import (
    Labeled,
    Training,
    TrainingBatch,
    batch_count,
    train,
    train_step,
    weighted_loss,
)
from support.toys import CPU, POINTS, array_rows, linear

CLASSES = torch.tensor([0, 1, 0, 1, 0, 1])
PLAIN = Training(
    epochs=5,
    batch_size=2,
    learning_rate=0.1,
    optimizer="adamw",
    optimizer_kwargs={},
    schedule="one_cycle",
    label_smoothing=0.0,
    crop_padding=0,
    flip=False,
    average_share=0.0,
    num_classes=2,
    output_kind="logits",
    precision="float32",
    gradient_clip=None,
    n_iter_no_change=None,
)
ALL = Labeled(None, CLASSES)


def sgd(module: nn.Module) -> Any:
    return make_optimizer(module, torch.optim.SGD, learning_rate=0.1, options={}, factors={})


def fitted(
    module: nn.Module,
    *,
    data: torch.Tensor = POINTS,
    labeled: Labeled = ALL,
    seed: int = 0,
    validation: Labeled | None = None,
    callbacks: Any = (),
    **changes: Any,
) -> list[Epoch]:
    return train(
        module,
        array_rows(data),
        labeled,
        replace(PLAIN, **changes),
        make_optimizer(module, "adamw", learning_rate=0.1, options={}, factors={}),
        device=CPU,
        generator=torch.Generator().manual_seed(seed),
        validation=validation,
        callbacks=callbacks,
    )


class Recorder(nn.Module):
    """A linear layer that notes the first feature of the rows that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)
        self.seen: list[list[int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(x[:, 0].int().tolist())
        logits: torch.Tensor = self.layer(x)
        return logits


def test_training_lowers_the_loss_and_separates_the_classes() -> None:
    module = linear()
    history = fitted(module, epochs=20)
    assert [epoch.epoch for epoch in history] == list(range(1, 21))
    assert history[-1].loss < history[0].loss / 2
    assert torch.equal(module(POINTS).argmax(1), CLASSES)


@given(rows=st.integers(1, 40), batch_size=st.integers(1, 50), epochs=st.integers(1, 3), subset=st.booleans())
def test_every_epoch_sees_every_row_once_in_even_batches(rows: int, batch_size: int, epochs: int, subset: bool) -> None:
    module = Recorder()
    index = torch.arange(0, 2 * rows, 2) if subset else None
    fitted(
        module,
        data=torch.arange(2 * rows if subset else rows).float()[:, None],
        labeled=Labeled(index, torch.zeros(rows, dtype=torch.int64)),
        epochs=epochs,
        batch_size=batch_size,
    )
    per_epoch = batch_count(rows, batch_size)
    assert len(module.seen) == epochs * per_epoch
    for epoch in range(epochs):
        batches = module.seen[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(itertools.chain(*batches)) == list(range(rows) if index is None else index.tolist())
        assert max(map(len, batches)) <= (3 if batch_size == 2 else batch_size)
        assert min(map(len, batches)) >= min(rows, batch_size, 2)
        assert max(map(len, batches)) - min(map(len, batches)) <= 1


@pytest.mark.parametrize(
    ("rows", "batch_size", "count"),
    [(65, 2, 32), (3, 2, 1), (2, 2, 1), (1, 2, 1), (4, 2, 2), (3, 1, 3), (1, 1, 1), (4, 3, 2), (7, 3, 3), (65, 64, 2)],
)
def test_the_number_of_batches(rows: int, batch_size: int, count: int) -> None:
    assert batch_count(rows, batch_size) == count


@given(rows=st.integers(2, 2000), batch_size=st.integers(2, 300))
def test_no_batch_has_a_single_row(rows: int, batch_size: int) -> None:
    count = batch_count(rows, batch_size)
    assert rows // count >= 2
    assert math.ceil(rows / count) <= max(batch_size, 3)


def test_outputs_that_depend_on_no_parameter_are_refused() -> None:
    class Detached(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).detach()

    with pytest.raises(TrainingError, match=r"do not depend on its trainable parameters.* Remove detach\(\)"):
        fitted(Detached(2, 2))


def test_targets_and_weights_go_with_their_rows() -> None:
    index = torch.tensor([5, 0, 3])
    labeled = Labeled(index, CLASSES[index], torch.tensor([1.0, 2.0, 3.0]))
    assert len(labeled) == 3
    assert labeled.numbers(torch.tensor([2, 0])).tolist() == [3, 5]
    assert ALL.numbers(torch.tensor([2, 0])).tolist() == [2, 0]
    whole, part = linear(), linear()
    row_weights = torch.zeros(6)
    row_weights[index] = torch.tensor([1.0, 2.0, 3.0]) / 2
    fitted(part, labeled=labeled, batch_size=9, epochs=3)
    fitted(whole, labeled=Labeled(None, CLASSES, row_weights * 2), batch_size=9, epochs=3)
    torch.testing.assert_close(part.weight, whole.weight)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 6},
        {"batch_size": 3},
        {"learning_rate": 0.2},
        {"schedule": cosine},
        {"schedule": constant},
        {"label_smoothing": 0.2},
        {"gradient_clip": 1e-9},
        {"precision": "bfloat16"},
        {"average_share": 0.5},
        {"labeled": Labeled(None, CLASSES, torch.arange(6.0))},
        {"seed": 1},
    ],
)
def test_every_setting_changes_the_weights(changes: dict[str, Any]) -> None:
    usual, again, other = linear(), linear(), linear()
    fitted(usual)
    fitted(again)
    fitted(other, **changes)
    assert torch.equal(usual.weight, again.weight)
    assert not torch.equal(usual.weight, other.weight)


def test_all_kinds_of_outputs_teach_the_same() -> None:
    logits, probabilities = nn.Sequential(linear(), nn.Identity()), nn.Sequential(linear(), nn.Softmax(1))
    fitted(logits)
    fitted(probabilities, output_kind="probabilities")
    torch.testing.assert_close(logits[0].weight, probabilities[0].weight)


def test_cropping_and_flipping_change_what_images_teach() -> None:
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def learned(**changes: Any) -> torch.Tensor:
        module = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
        nn.init.zeros_(module[1].weight)
        nn.init.zeros_(module[1].bias)
        fitted(module, data=images, **changes)
        return module[1].weight.detach()

    plain, cropped, flipped = learned(), learned(crop_padding=1), learned(flip=True)
    assert not torch.equal(plain, cropped)
    assert not torch.equal(plain, flipped)


def test_a_step_by_hand() -> None:
    module = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(module.weight)
    batch = TrainingBatch(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]), None)
    loss = train_step(module, sgd(module), batch, PLAIN)
    assert loss.item() == pytest.approx(math.log(2))
    assert not loss.requires_grad
    # The gradient of class 0 is (0.5 - 1) * 1 / 2 + 0.5 * 3 / 2 = 0.5.
    assert module.weight.flatten().tolist() == pytest.approx([-0.05, 0.05])


def test_the_gradient_is_clipped_to_its_largest_norm() -> None:
    module = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(module.weight)
    batch = TrainingBatch(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]), None)
    train_step(module, sgd(module), batch, replace(PLAIN, gradient_clip=0.1))
    assert module.weight.norm().item() == pytest.approx(0.1 * 0.1, rel=1e-4)


def test_gradients_of_the_step_before_are_forgotten() -> None:
    module = linear()
    optimizer = sgd(module)
    batch = TrainingBatch(POINTS, CLASSES, None)
    once = linear()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 100.0)
    train_step(module, optimizer, batch, PLAIN)
    train_step(once, sgd(once), batch, PLAIN)
    assert torch.equal(module.weight, once.weight)


def test_only_a_checked_step_verifies_the_kind_of_the_outputs() -> None:
    module = nn.Sequential(linear(), nn.Softmax(1))
    batch = TrainingBatch(POINTS, CLASSES, None)
    train_step(module, sgd(module), batch, PLAIN)
    with pytest.raises(TrainingError, match=r"The output_kind is 'logits', but the network returns probabilities"):
        train_step(module, sgd(module), batch, PLAIN, check=True)


def test_losses_by_hand() -> None:
    scores = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    targets = torch.tensor([0, 1])
    by_hand = [math.log(2), math.log(4)]
    assert weighted_loss(scores, TrainingBatch(scores, targets, None), PLAIN).item() == pytest.approx(sum(by_hand) / 2)
    weighted = TrainingBatch(scores, targets, torch.tensor([0.5, 1.5]))
    expected = (0.5 * by_hand[0] + 1.5 * by_hand[1]) / 2
    assert weighted_loss(scores, weighted, PLAIN).item() == pytest.approx(expected)
    smooth = replace(PLAIN, label_smoothing=0.2)
    smoothed = [math.log(2), 0.9 * math.log(4) + 0.1 * math.log(4 / 3)]
    assert weighted_loss(scores, TrainingBatch(scores, targets, None), smooth).item() == pytest.approx(
        sum(smoothed) / 2
    )
    expected = (0.5 * smoothed[0] + 1.5 * smoothed[1]) / 2
    assert weighted_loss(scores, weighted, smooth).item() == pytest.approx(expected)


class Overflows(nn.Module):
    """Its fifth batch returns infinite or NaN outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = linear(), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x) / (0.0 if self.calls == 5 else 1.0)


def test_a_loss_that_is_not_finite_names_epoch_and_batch() -> None:
    message = r"The loss is not finite \(epoch 2, batch 2, learning rate .*\)\. Set a lower "
    with pytest.raises(TrainingError, match=message):
        fitted(Overflows())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_kind": "scores"}, r"output_kind 'scores' is unknown\. Use logits"),
        ({"epochs": 0}, r"The setting epochs is 0\."),
        ({"batch_size": 0}, r"The setting batch_size is 0\."),
        ({"learning_rate": math.nan}, r"The setting learning_rate is nan\."),
        ({"gradient_clip": -1.0}, r"The setting gradient_clip is -1\.0\."),
        ({"label_smoothing": -0.1}, r"The setting label_smoothing is -0\.1\. Set it to a value from 0 to less than 1"),
        ({"average_share": 1.0}, r"The setting average_share is 1\.0\. Set it to a value from 0 to less than 1"),
        ({"average_share": 0.5, "n_iter_no_change": 3}, r"average_share averages the weights of the last steps"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PLAIN, **changes)


def test_an_epoch_is_plain_values_that_do_not_change() -> None:
    epoch = fitted(linear(), epochs=1)[0]
    assert set(asdict(epoch)) == {
        *("epoch", "epochs", "loss", "learning_rate", "seconds", "validation_loss", "validation_accuracy"),
    }
    with pytest.raises(FrozenInstanceError):
        epoch.loss = 0.0  # type: ignore[misc]


def test_the_rate_of_a_step_is_that_of_the_course_so_far() -> None:
    asked: list[float] = []

    def note(progress: float) -> float:
        asked.append(progress)
        return 0.5

    history = fitted(linear(), epochs=2, schedule=note)
    assert asked == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert [epoch.learning_rate for epoch in history] == [0.05, 0.05]
    assert replace(PLAIN, schedule=constant).learning_rate_at(0.3) == 0.1


def test_validation_is_the_mean_loss_and_accuracy_of_other_rows() -> None:
    module = linear()
    row_weights = torch.tensor([1.0, 3.0])
    validation = Labeled(torch.tensor([0, 3]), torch.tensor([0, 0]), row_weights)
    (epoch,) = fitted(module, epochs=1, validation=validation)
    losses = functional.cross_entropy(module(POINTS[[0, 3]]), torch.tensor([0, 0]), reduction="none").detach()
    assert epoch.validation_loss == pytest.approx(float((losses * row_weights).sum() / 4), rel=1e-5)
    right = (module(POINTS[[0, 3]]).argmax(1) == 0).float()
    assert epoch.validation_accuracy == pytest.approx(float((right * row_weights).sum() / 4))


def test_without_patience_all_epochs_run_and_the_best_weights_are_restored() -> None:
    module = linear()
    weights: list[torch.Tensor] = []

    def note(epoch: Epoch, trained: nn.Module) -> None:
        weights.append(trained.weight.detach().clone())  # type: ignore[operator]

    # Wrong labels: the loss of these rows rises with training.
    history = fitted(module, validation=Labeled(torch.arange(6), 1 - CLASSES), callbacks=[note])
    losses = [epoch.validation_loss for epoch in history]
    assert len(losses) == 5
    assert losses == sorted(losses)
    assert torch.equal(module.weight, weights[0])


def test_patience_counts_epochs_since_the_best() -> None:
    history = fitted(linear(), validation=Labeled(torch.arange(6), 1 - CLASSES), n_iter_no_change=2)
    assert len(history) == 3


def test_callbacks_are_all_called_and_any_can_end_the_training() -> None:
    calls: list[str] = []

    def first(epoch: Epoch, module: nn.Module) -> bool:
        calls.append(f"first {epoch.epoch}")
        return epoch.epoch == 2

    def second(epoch: Epoch, module: nn.Module) -> None:
        calls.append(f"second {epoch.epoch}")

    assert len(fitted(linear(), callbacks=[first, second])) == 2
    assert calls == ["first 1", "second 1", "first 2", "second 2"]


def test_weight_average_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    values = [0.0, 2.0, 4.0, 10.0]
    with torch.no_grad():
        layer.weight.fill_(values[0])
        average = WeightAverage(layer, 0.6)
        for value in values[1:]:
            layer.weight.fill_(value)
            average.update()
        average.copy_to_module()
    # Shares of the new value: 1/2, then 0.4 (above 1/3), then 0.4.
    expected = ((0.0 + 2.0) / 2 * 0.6 + 4.0 * 0.4) * 0.6 + 10.0 * 0.4
    assert layer.weight.item() == pytest.approx(expected)


def test_weight_average_includes_statistics_of_normalisation_but_not_counters() -> None:
    layer = nn.BatchNorm1d(2)
    average = WeightAverage(layer, 0.5)
    layer.running_mean.fill_(4.0)
    layer.num_batches_tracked.fill_(7)
    average.update()
    average.copy_to_module()
    assert layer.running_mean.tolist() == [2.0, 2.0]
    assert layer.num_batches_tracked.item() == 7


def test_an_average_over_less_than_a_step_has_no_effect() -> None:
    averaged, plain = linear(), linear()
    fitted(averaged, average_share=0.05)
    fitted(plain)
    assert torch.equal(averaged.weight, plain.weight)
