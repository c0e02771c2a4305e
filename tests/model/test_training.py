"""The loop on tensors: schedules, losses, averages, output kinds, and a loss that is not finite."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.batches import ArrayRows
from labelaudit.model.training import (
    OUTPUT_KINDS,
    SCHEDULES,
    Training,
    WeightAverage,
    check_outputs,
    log_scores,
    make_optimizer,
    predict,
    schedule_factor,
    train,
)

CPU = torch.device("cpu")
POINTS = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.8, 0.1], [0.1, 1.0], [1.0, 0.2]])
CLASSES = torch.tensor([0, 1, 0, 1, 0, 1])
PLAIN = Training(epochs=5, batch_size=2, learning_rate=0.1)


class Recorder(nn.Module):
    """A linear layer that notes the first feature of the rows that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)
        self.seen: list[list[int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(x[:, 0].int().tolist())
        return self.layer(x)


def linear() -> nn.Linear:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
        layer.bias.zero_()
    return layer


def fitted(module: nn.Module, training: Training = PLAIN, seed: int = 0, **changes: Any) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return train(
        module,
        ArrayRows(POINTS, CPU),
        torch.arange(6),
        CLASSES,
        replace(training, **changes),
        device=CPU,
        generator=generator,
    )


def test_training_lowers_the_loss_and_separates_the_classes() -> None:
    module = linear()
    losses = fitted(module, epochs=20)
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 2
    assert torch.equal(module(POINTS).argmax(1), CLASSES)


@given(rows=st.integers(1, 40), batch_size=st.integers(1, 50), epochs=st.integers(1, 3))
def test_every_epoch_sees_every_row_once_in_even_batches(rows: int, batch_size: int, epochs: int) -> None:
    module = Recorder()
    train(
        module,
        ArrayRows(torch.arange(rows).float()[:, None], CPU),
        torch.arange(rows),
        torch.zeros(rows, dtype=torch.int64),
        Training(epochs=epochs, batch_size=batch_size, learning_rate=1e-9),
        device=CPU,
        generator=torch.Generator().manual_seed(0),
    )
    per_epoch = math.ceil(rows / batch_size)
    assert len(module.seen) == epochs * per_epoch
    for epoch in range(epochs):
        batches = module.seen[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(itertools.chain(*batches)) == list(range(rows))
        assert max(map(len, batches)) <= batch_size
        assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_on_epoch_hears_of_every_epoch() -> None:
    heard: list[tuple[int, int, float]] = []
    losses = train(
        linear(),
        ArrayRows(POINTS, CPU),
        torch.arange(6),
        CLASSES,
        PLAIN,
        device=CPU,
        generator=torch.Generator().manual_seed(0),
        on_epoch=lambda *state: heard.append(state),
    )
    assert heard == [(epoch + 1, 5, loss) for epoch, loss in enumerate(losses)]


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 6},
        {"batch_size": 3},
        {"learning_rate": 0.2},
        {"weight_decay": 0.5},
        {"optimizer": "sgd"},
        {"schedule": "cosine"},
        {"schedule": "constant"},
        {"label_smoothing": 0.2},
        {"precision": "bfloat16"},
        {"average_share": 0.5},
        {"output_kind": "probabilities"},
    ],
)
def test_every_setting_changes_the_weights(changes: dict[str, Any]) -> None:
    module, other = (nn.Sequential(linear(), nn.Softmax(1)) for _ in range(2))
    fitted(module)
    fitted(other, **changes)
    assert not torch.equal(module[0].weight, other[0].weight)


def test_the_seed_of_the_generator_changes_the_order() -> None:
    weights = []
    for seed in (0, 0, 1):
        module = linear()
        fitted(module, seed=seed)
        weights.append(module.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_cropping_and_flipping_change_what_images_teach() -> None:
    images = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def weights(**changes: Any) -> torch.Tensor:
        module = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
        nn.init.zeros_(module[1].weight)
        nn.init.zeros_(module[1].bias)
        train(
            module,
            ArrayRows(images, CPU),
            torch.arange(6),
            CLASSES,
            replace(PLAIN, **changes),
            device=CPU,
            generator=torch.Generator().manual_seed(0),
        )
        return module[1].weight.detach()

    plain, cropped, flipped = weights(), weights(crop_padding=1), weights(flip=True)
    assert not torch.equal(plain, cropped)
    assert not torch.equal(plain, flipped)


def test_the_same_distribution_gives_the_same_loss_in_every_form() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], dtype=torch.float64).float()
    forms = {
        "logits": logits,
        "log_probabilities": logits.log_softmax(1),
        "probabilities": logits.softmax(1),
    }
    for kind, outputs in forms.items():
        torch.testing.assert_close(log_scores(outputs, kind, 2).softmax(1), logits.softmax(1))
        check_outputs(outputs, kind, 3)


@pytest.mark.parametrize("declared", OUTPUT_KINDS)
@pytest.mark.parametrize("returned", OUTPUT_KINDS)
def test_a_wrong_output_kind_is_refused(declared: str, returned: str) -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    outputs = {
        "logits": logits,
        "log_probabilities": logits.log_softmax(1),
        "probabilities": logits.softmax(1),
    }[returned]
    # Log-probabilities are valid logits: their softmax is the distribution itself.
    if declared == returned or (declared, returned) == ("logits", "log_probabilities"):
        check_outputs(outputs, declared, 3)
    else:
        with pytest.raises(TrainingError, match=rf"output_kind is '{declared}', but the network returns {returned}"):
            check_outputs(outputs, declared, 3)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"returned 2 columns for 3 classes; its last layer"):
        check_outputs(torch.zeros(4, 2), "logits", 3)
    with pytest.raises(TrainingError, match=r"returned \(4, 3, 1\) for a batch of 4; it must return \(4, K\)"):
        check_outputs(torch.zeros(4, 3, 1), "logits", 3)
    with pytest.raises(TrainingError, match=r"returned tuple for a batch of 4"):
        log_scores((torch.zeros(4, 3),), "logits", 4)  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_names_epoch_batch_and_rate() -> None:
    class Overflows(nn.Module):
        """Its fifth batch gives no number."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = linear(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.layer(x) / (0.0 if self.calls == 5 else 1.0)

    message = r"the loss is not finite \(epoch 2, batch 2, learning rate 0\.1\)\. Set a lower training\.learning_rate"
    with pytest.raises(TrainingError, match=message):
        fitted(Overflows())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam"}, r"optimizer 'adam' is unknown: use adamw or sgd"),
        ({"schedule": "linear"}, r"schedule 'linear' is unknown: use one_cycle or cosine or constant"),
        ({"output_kind": "scores"}, r"output_kind 'scores' is unknown: use logits"),
        ({"epochs": 0}, r"epochs 0, batch_size 2 and learning_rate 0.1 must be positive"),
        ({"batch_size": 0}, r"batch_size 0 .* must be positive"),
        ({"learning_rate": math.nan}, r"learning_rate nan must be positive"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PLAIN, **changes)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(progress=st.floats(0, 1))
def test_schedules_stay_within_the_peak(schedule: str, progress: float) -> None:
    assert 0 <= schedule_factor(schedule, progress) <= 1


def test_schedules_at_points_known_by_hand() -> None:
    assert schedule_factor("constant", 0.3) == 1
    assert schedule_factor("cosine", 0.5) == pytest.approx(0.5)
    assert schedule_factor("one_cycle", 0) == pytest.approx(0.04)
    assert schedule_factor("one_cycle", 0.25) == pytest.approx(1)
    assert schedule_factor("one_cycle", 1) == pytest.approx(0)


def test_weight_decay_leaves_biases_alone() -> None:
    decays = {
        parameter.ndim: group["weight_decay"]
        for group in make_optimizer(linear(), replace(PLAIN, weight_decay=0.5)).param_groups
        for parameter in group["params"]
    }
    assert decays == {2: 0.5, 1: 0.0}


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


def test_weight_average_takes_the_statistics_of_normalisation_along() -> None:
    layer = nn.BatchNorm1d(2)
    average = WeightAverage(layer, 0.5)
    layer.running_mean.fill_(4.0)
    average.update()
    average.copy_to_module()
    assert layer.running_mean.tolist() == [2.0, 2.0]


def test_predictions_are_distributions_whatever_the_batch_size() -> None:
    arguments: dict[str, Any] = {"device": CPU, "precision": "float32", "output_kind": "logits"}
    rows, index = ArrayRows(POINTS * 50, CPU), torch.tensor([4, 0, 5])
    one = predict(linear(), rows, index, batch_size=1, **arguments)
    all_at_once = predict(linear(), rows, index, batch_size=10, **arguments)
    torch.testing.assert_close(one, all_at_once)
    torch.testing.assert_close(one, (POINTS * 50)[index].softmax(1))
    assert one.dtype == torch.float32
    assert float((one.double().sum(1) - 1).abs().max()) < 1e-6


def test_predictions_average_the_log_probabilities_of_views() -> None:
    image = torch.zeros(1, 1, 1, 3)
    image[..., 0] = 1
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    arguments: dict[str, Any] = {"batch_size": 1, "device": CPU, "precision": "float32", "output_kind": "logits"}
    rows, index = ArrayRows(image, CPU), torch.tensor([0])
    straight = predict(module, rows, index, **arguments)
    both = predict(module, rows, index, flip=True, **arguments)
    torch.testing.assert_close(straight, torch.tensor([[4.0, 0.0]]).softmax(1))
    log_mean = (torch.tensor([[4.0, 0.0]]).log_softmax(1) + torch.tensor([[0.0, 0.0]]).log_softmax(1)) / 2
    torch.testing.assert_close(both, log_mean.softmax(1))
    assert not torch.equal(predict(module, rows, index, crop_padding=2, **arguments), straight)
