"""Training and prediction as plain functions on tensors. They know nothing of scikit-learn or of datasets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.augmentation import crop_and_flip, views
from labelaudit.model.batches import Rows
from labelaudit.model.device import autocast

OUTPUT_KINDS = ("logits", "log_probabilities", "probabilities")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("one_cycle", "cosine", "constant")

# Share of the steps in which one_cycle warms up, and the share of the peak rate that it starts from.
_WARM_UP, _START = 0.25, 0.04
# How far a row of probabilities may be from summing to 1: bfloat16 softmax is within half of it.
_SUM_TOLERANCE = 0.02

OnEpoch = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Training:
    """How a module is trained. `crop_padding` is in pixels; `average_share` is the share of all steps over
    which weights are averaged, 0 for none."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    schedule: str = "one_cycle"
    label_smoothing: float = 0.0
    output_kind: str = "logits"
    precision: str = "float32"
    crop_padding: int = 0
    flip: bool = False
    average_share: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("output_kind", OUTPUT_KINDS),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} {getattr(self, name)!r} is unknown: use {' or '.join(choices)}.")
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"epochs {self.epochs}, batch_size {self.batch_size} and learning_rate "
                f"{self.learning_rate} must be positive."
            )


def train(
    module: nn.Module,
    rows: Rows,
    index: torch.Tensor,
    targets: torch.Tensor,
    training: Training,
    *,
    device: torch.device,
    generator: torch.Generator,
    on_epoch: OnEpoch | None = None,
) -> list[float]:
    """Train `module`, in place, on the examples `index` (n,) of `rows` with the classes `targets` (n,) int64.

    Order and augmentation come from `generator` (a CPU generator). Returns the mean loss of each epoch.
    Raises `TrainingError` when the loss is not finite, or the outputs are not of `output_kind`.
    """
    optimizer = make_optimizer(module, training)
    per_epoch = math.ceil(len(index) / training.batch_size)
    average = _weight_average(module, training, training.epochs * per_epoch)
    losses: list[float] = []
    for epoch in range(training.epochs):
        module.train()
        step_losses = []
        for step, batch in enumerate(_batches(len(index), training.batch_size, generator)):
            progress = (epoch * per_epoch + step) / (training.epochs * per_epoch)
            set_learning_rate(optimizer, training.learning_rate * schedule_factor(training.schedule, progress))
            inputs = _augmented(rows.take(index[batch]), training, generator)
            step_losses.append(train_step(module, optimizer, inputs, targets[batch].to(device), training))
            if average is not None:
                average.update()
        losses.append(_mean_loss(torch.stack(step_losses), epoch, training))
        if on_epoch is not None:
            on_epoch(epoch + 1, training.epochs, losses[-1])
    if average is not None:
        average.copy_to_module()
    return losses


def train_step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    training: Training,
) -> torch.Tensor:
    """One step of the optimizer on one batch; returns its loss, detached and still on the device."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(targets.device, training.precision):
        outputs = module(inputs)
    scores = log_scores(outputs, training.output_kind, len(targets))
    loss = functional.cross_entropy(scores, targets, label_smoothing=training.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


@torch.inference_mode()
def predict(
    module: nn.Module,
    rows: Rows,
    index: torch.Tensor,
    *,
    batch_size: int,
    device: torch.device,
    precision: str,
    output_kind: str,
    crop_padding: int = 0,
    flip: bool = False,
) -> torch.Tensor:
    """Class probabilities (n, K) float32, on the CPU, of the examples `index` (n,) of `rows`.

    With `crop_padding` or `flip`, log-probabilities are averaged over the `views` of each image.
    """
    module.eval()
    parts = []
    for batch in torch.split(index, batch_size):
        inputs = rows.take(batch)
        shown = views(inputs, padding=crop_padding, flip=flip) if crop_padding or flip else [inputs]
        with autocast(device, precision):
            outputs = [module(view) for view in shown]
        logs = [log_scores(output, output_kind, len(batch)).double().log_softmax(1) for output in outputs]
        parts.append(torch.stack(logs).mean(0).softmax(1).cpu())
    return torch.cat(parts).float()


def log_scores(outputs: torch.Tensor, output_kind: str, batch: int) -> torch.Tensor:
    """Outputs of a module as log-probabilities up to a constant per row, (B, K) float32.

    Raises `TrainingError` when the outputs are visibly not of `output_kind`.
    """
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or len(outputs) != batch:
        got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise TrainingError(f"the network returned {got} for a batch of {batch}; it must return ({batch}, K).")
    scores = outputs.float()
    if output_kind == "probabilities":
        return scores.clamp_min(1e-12).log()
    return scores


def check_outputs(outputs: torch.Tensor, output_kind: str, num_classes: int) -> None:
    """Refuse outputs (B, K) that are not what `output_kind` says, before any step is made with them.

    Raises `TrainingError`. A softmax taken twice would train, and quietly give flat probabilities.
    """
    scores = log_scores(outputs, output_kind, len(outputs)) if output_kind == "logits" else outputs.float()
    if outputs.shape[1] != num_classes:
        raise TrainingError(
            f"the network returned {outputs.shape[1]} columns for {num_classes} classes; "
            "its last layer must have num_classes outputs."
        )
    if num_classes == 1 or not bool(scores.isfinite().all()):
        return  # one column says nothing; what is not finite is reported with its epoch and batch
    looks = _looks_like(scores)
    wanted = {"logits": looks != "probabilities"}.get(output_kind, looks == output_kind)
    if not wanted:
        raise TrainingError(
            f"output_kind is {output_kind!r}, but the network returns {looks} "
            f"(its first row sums to {float(scores[0].sum()):.3g}). Set output_kind={looks!r}, "
            "or change its last layer."
        )


def _looks_like(scores: torch.Tensor) -> str:
    def sums_to_one(values: torch.Tensor) -> bool:
        return bool(((values.sum(1) - 1).abs() < _SUM_TOLERANCE).all())

    if bool((scores >= 0).all()) and sums_to_one(scores):
        return "probabilities"
    if bool((scores <= 0).all()) and sums_to_one(scores.exp()):
        return "log_probabilities"
    return "logits"


def schedule_factor(schedule: str, progress: float) -> float:
    """Share of the learning rate at `progress` in 0..1 of all steps.

    one_cycle warms up linearly and then falls along a cosine (Smith & Topin, "Super-Convergence", 2018).
    """
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if progress < _WARM_UP:
        return _START + (1 - _START) * progress / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def make_optimizer(module: nn.Module, training: Training) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; weights decay, biases and normalisation do not."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=training.learning_rate)


class WeightAverage:
    """Exponential moving average of a module's weights and buffers; the first steps count evenly."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._live = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
        self._mean = [t.detach().clone() for t in self._live]
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        self._steps += 1
        # The first steps are averaged evenly, so that the initial weights are soon forgotten.
        share = max(1 - self._decay, 1 / (self._steps + 1))
        for mean, live in zip(self._mean, self._live, strict=True):
            mean.lerp_(live, share)

    @torch.no_grad()
    def copy_to_module(self) -> None:
        for mean, live in zip(self._mean, self._live, strict=True):
            live.copy_(mean)


def _weight_average(module: nn.Module, training: Training, steps: int) -> WeightAverage | None:
    averaged = training.average_share * steps
    return WeightAverage(module, 1 - 1 / averaged) if averaged > 1 else None


def _batches(rows: int, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """All rows once, in random order, in batches whose sizes differ by one at most: none is tiny."""
    order = torch.randperm(rows, generator=generator)
    yield from torch.tensor_split(order, math.ceil(rows / batch_size))


def _augmented(inputs: torch.Tensor, training: Training, generator: torch.Generator) -> torch.Tensor:
    if not training.crop_padding and not training.flip:
        return inputs
    return crop_and_flip(inputs, padding=training.crop_padding, flip=training.flip, generator=generator)


def _mean_loss(step_losses: torch.Tensor, epoch: int, training: Training) -> float:
    # Looked at once per epoch: a look at every step would make the CPU wait for the GPU.
    wrong = (~step_losses.isfinite()).nonzero()
    if len(wrong):
        raise TrainingError(
            f"the loss is not finite (epoch {epoch + 1}, batch {int(wrong[0]) + 1}, learning rate "
            f"{training.learning_rate:g}). Set a lower training.learning_rate, or look for extreme values "
            "in the inputs."
        )
    return float(step_losses.mean())
