"""Training and prediction as plain functions on tensors. They know nothing of scikit-learn or of datasets."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.augmentation import crop_and_flip, views
from labelaudit.model.batches import Rows, is_sparse_tensor
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.device import autocast, input_dtype, seeded
from labelaudit.model.optimizers import Optimizer, forget_gradients, set_learning_rate, start_training
from labelaudit.model.outputs import check_output_kind, check_outputs, log_scores
from labelaudit.model.packing import tree_digest
from labelaudit.model.progress import Epoch, Progress, WeightAverage
from labelaudit.model.schedules import Schedule, one_cycle

# Predicting keeps no gradients, so that more rows fit than in training: batches of about so many numbers. A GPU takes
# about as long for few rows as for many: it waits for the CPU that tells it what to do.
_PREDICTED_NUMBERS = {"cpu": 2**19, "cuda": 2**22}
_PREDICTED_ROWS = 2048
# By which a checkpoint knows the data again: other preprocessing changes nearly every row.
_SAMPLED_ROWS = 64


# Called after each epoch with the module as it is then; True ends the training.
Callback = Callable[[Epoch, nn.Module], bool | None]


@dataclass(frozen=True)
class Labeled:
    """Rows `index` (n,) int64 (None: all, in order), their classes `targets` (n,) int64 and `weights` (n,)
    (None: 1 each)."""

    index: torch.Tensor | None
    targets: torch.Tensor
    weights: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def numbers(self, picked: torch.Tensor) -> torch.Tensor:
        """Row numbers of the examples `picked`."""
        return picked if self.index is None else self.index.index_select(0, picked)


@dataclass(frozen=True)
class Batch:
    """Examples on the device: inputs (B, ...), targets (B,) int64, weights (B,) or None."""

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None


@dataclass(frozen=True)
class Training:
    """How a module with `num_classes` outputs is trained.

    `crop_padding` is in pixels; `average_share` is the share of all steps over which weights are averaged, 0 for
    none; `n_iter_no_change` the number of epochs without a lower validation loss after which training
    ends.
    """

    num_classes: int
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Schedule = one_cycle
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    output_kind: str = "logits"
    precision: str = "float32"
    crop_padding: int = 0
    flip: bool = False
    average_share: float = 0.0
    n_iter_no_change: int | None = None

    def __post_init__(self) -> None:
        check_output_kind(self.output_kind)
        for name in ("epochs", "batch_size", "learning_rate", "gradient_clip", "n_iter_no_change"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} {value} must be positive.")
        for name in ("label_smoothing", "average_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be in 0..1, below 1.")
        if self.average_share and self.n_iter_no_change is not None:
            raise ConfigError(
                "average_share averages the weights of the last steps, and early stopping does not know which "
                "these are: use one of the two."
            )

    def rate(self, progress: float) -> float:
        """The learning rate at `progress` in 0..1 of all steps."""
        return self.learning_rate * self.schedule(progress)


def train(
    module: nn.Module,
    rows: Rows,
    labeled: Labeled,
    training: Training,
    optimizer: Optimizer,
    *,
    device: torch.device,
    generator: torch.Generator,
    validation: Labeled | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
) -> list[Epoch]:
    """Train `module`, in place, on the examples `labeled` of `rows`; returns what each epoch gave.

    Order and augmentation come from `generator` (a CPU generator). With `validation` the
    weights are in the end those of the epoch with the lowest validation loss. With `checkpoints` a training that
    was left unfinished goes on; callbacks hear of the epochs that are trained now.

    Raises `TrainingError` when the loss is not finite, or the outputs are not of `output_kind`; `ConfigError` where
    a checkpoint cannot hold the state.
    """
    per_epoch = math.ceil(len(labeled) / training.batch_size)
    average = _weight_average(module, training, training.epochs * per_epoch)
    progress = Progress(module, optimizer, generator=generator, device=device, average=average)
    name = "" if checkpoints is None else _identity(progress, rows, labeled, validation, training)
    if checkpoints is not None:
        checkpoints.resume(name, progress)
    for number in progress.remaining(training.epochs):
        started = time.perf_counter()
        start_training(module)
        losses = []
        for step, batch in enumerate(_batches(rows, labeled, per_epoch, training, device, generator)):
            rate = training.rate((number + step / per_epoch) / training.epochs)
            set_learning_rate(optimizer, rate)
            losses.append(train_step(module, optimizer, batch, training, check=number == step == 0))
            if average is not None:
                average.update()
        loss = _mean_loss(torch.stack(losses), number, rate)
        checked = (None, None) if validation is None else _validate(module, rows, validation, training, device)
        seconds = time.perf_counter() - started
        epoch = Epoch(number + 1, training.epochs, loss, rate, seconds, *checked)
        progress.history.append(epoch)
        waited = progress.best.note(epoch.validation_loss, number)
        told_to_stop = [callback(epoch, module) for callback in callbacks]
        lost_patience = training.n_iter_no_change is not None and waited >= training.n_iter_no_change
        progress.has_ended = any(told_to_stop) or lost_patience or epoch.epoch == epoch.epochs
        if checkpoints is not None:
            checkpoints.after_epoch(name, progress)
        if progress.has_ended:
            break
    forget_gradients(optimizer)
    progress.best.copy_to_module()
    if average is not None:
        average.copy_to_module()
    return progress.history


def train_step(
    module: nn.Module, optimizer: Optimizer, batch: Batch, training: Training, *, check: bool = False
) -> torch.Tensor:
    """One step of the optimizer; returns the mean loss of the batch, detached and still on the device.

    With `check` the outputs are looked at, which makes the CPU wait for a GPU.
    """
    forget_gradients(optimizer)
    with autocast(batch.targets.device, training.precision):
        outputs = module(batch.inputs)
    if check:
        check_outputs(outputs, training.output_kind, training.num_classes, len(batch.targets))
    loss = weighted_loss(log_scores(outputs, training.output_kind, len(batch.targets)), batch, training)
    loss.backward()  # type: ignore[no-untyped-call]
    if training.gradient_clip is not None:
        nn.utils.clip_grad_norm_(module.parameters(), training.gradient_clip)
    optimizer.step()
    return loss.detach()


def weighted_loss(scores: torch.Tensor, batch: Batch, training: Training) -> torch.Tensor:
    """Mean cross-entropy of scores (B, K); of rows times their weights where there are any."""
    smoothing = training.label_smoothing
    if batch.weights is None:
        return functional.cross_entropy(scores, batch.targets, label_smoothing=smoothing)
    losses = functional.cross_entropy(scores, batch.targets, label_smoothing=smoothing, reduction="none")
    return (losses * batch.weights).mean()


@torch.inference_mode()
def predict(
    module: nn.Module,
    rows: Rows,
    index: torch.Tensor,
    *,
    batch_size: int,
    num_classes: int,
    device: torch.device,
    precision: str,
    output_kind: str,
    crop_padding: int = 0,
    flip: bool = False,
    logarithms: bool = False,
) -> torch.Tensor:
    """Class probabilities (n, K), on the CPU, of the examples `index` (n,) of `rows`: float32, or float64 where
    `precision` is.

    With `crop_padding` or `flip`, log-probabilities are averaged over the `views` of each image; with
    `logarithms` they are what is returned. Raises `TrainingError` where the outputs are not of `output_kind`.
    """
    module.eval()
    result = torch.empty(len(index), num_classes, dtype=input_dtype(precision))
    chunks = torch.split(index.to(rows.numbered_on), predicted_batch(rows.shape, batch_size, device))
    done = 0
    for chunk, inputs in zip(chunks, rows.batches(chunks), strict=True):
        shown = views(inputs, padding=crop_padding, flip=flip) if crop_padding or flip else [inputs]
        with autocast(device, precision):
            outputs = [module(view) for view in shown]
        if not done:
            check_outputs(outputs[0], output_kind, num_classes, len(chunk))
        # In float64, so that rows sum to 1 to the last digit of float32 whatever the network computed in.
        logs = [log_scores(output, output_kind, len(chunk)).double().log_softmax(1) for output in outputs]
        mean = logs[0] if len(logs) == 1 else torch.stack(logs).mean(0).log_softmax(1)
        result[done : done + len(chunk)] = mean if logarithms else mean.exp()
        done += len(chunk)
    return result


def predicted_batch(shape: tuple[int, ...], batch_size: int, device: torch.device) -> int:
    """Rows to predict at once on `device`: more than in training where an example of `shape` is small."""
    return max(batch_size, min(_PREDICTED_ROWS, _PREDICTED_NUMBERS[device.type] // max(1, math.prod(shape))))


def _identity(progress: Progress, rows: Rows, labeled: Labeled, validation: Labeled | None, training: Training) -> str:
    """Digest of all that a training begins with; of the rows, of a sample."""
    picked = torch.linspace(0, len(labeled) - 1, min(_SAMPLED_ROWS, training.batch_size)).long()
    with seeded(0, progress.device):  # a Dataset may draw random numbers
        sample = rows.take(labeled.numbers(picked))
    if is_sparse_tensor(sample):
        sample = torch.cat([sample.indices(), sample.values()[None]])
    begin = {
        "torch": torch.__version__,
        "settings": {**vars(training), "schedule": [training.schedule(step / 16) for step in range(17)]},
        "optimizer": f"{type(progress.optimizer).__module__}.{type(progress.optimizer).__qualname__}",
        "state": progress.state(),
        "rows": (len(rows), rows.shape, sample),
        "labeled": [None if part is None else vars(part) for part in (labeled, validation)],
    }
    return tree_digest(begin)[:32]


def _weight_average(module: nn.Module, training: Training, steps: int) -> WeightAverage | None:
    averaged = training.average_share * steps
    return WeightAverage(module, 1 - 1 / averaged) if averaged > 1 else None


def _batches(
    rows: Rows, labeled: Labeled, count: int, training: Training, device: torch.device, generator: torch.Generator
) -> Iterator[Batch]:
    """All rows once, in random order, in `count` batches whose sizes differ by one at most: none is tiny."""
    order = torch.randperm(len(labeled), generator=generator)
    # For the whole epoch at once: a copy for each batch would make the CPU wait for a GPU at every step.
    numbers = labeled.numbers(order).to(rows.numbered_on).tensor_split(count)
    targets = labeled.targets.index_select(0, order).to(device).tensor_split(count)
    weights: Sequence[torch.Tensor | None] = [None] * count
    if labeled.weights is not None:
        weights = labeled.weights.index_select(0, order).to(device).tensor_split(count)
    for inputs, target, weight in zip(rows.batches(numbers), targets, weights, strict=True):
        if training.crop_padding or training.flip:
            inputs = crop_and_flip(inputs, padding=training.crop_padding, flip=training.flip, generator=generator)
        yield Batch(inputs, target, weight)


def _validate(
    module: nn.Module, rows: Rows, validation: Labeled, training: Training, device: torch.device
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of rows that are not trained on, weighted as training rows are."""
    logs = predict(
        module,
        rows,
        validation.numbers(torch.arange(len(validation))),
        batch_size=training.batch_size,
        num_classes=training.num_classes,
        device=device,
        precision=training.precision,
        output_kind=training.output_kind,
        logarithms=True,
    )
    weights = torch.ones(len(logs)) if validation.weights is None else validation.weights
    losses = functional.nll_loss(logs, validation.targets, reduction="none")
    right = (logs.argmax(1) == validation.targets).float()
    return float((losses * weights).sum() / weights.sum()), float((right * weights).sum() / weights.sum())


def _mean_loss(step_losses: torch.Tensor, number: int, rate: float) -> float:
    # Looked at once per epoch: a look at every step would make the CPU wait for the GPU.
    wrong = (~step_losses.isfinite()).nonzero()
    if len(wrong):
        raise TrainingError(
            f"the loss is not finite (epoch {number + 1}, batch {int(wrong[0]) + 1}, learning rate {rate:g}). "
            "Set a lower training.learning_rate, or look for extreme values in the inputs."
        )
    return float(step_losses.mean())


def print_epoch(epoch: Epoch, module: nn.Module) -> None:
    """A line on standard error."""
    checked = (
        ""
        if epoch.validation_loss is None
        else f", validation loss {epoch.validation_loss:.4f}, accuracy {epoch.validation_accuracy:.3f}"
    )
    sys.stderr.write(f"epoch {epoch.epoch}/{epoch.epochs}: loss {epoch.loss:.4f}{checked} ({epoch.seconds:.2f} s)\n")
