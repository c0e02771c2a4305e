"""Training and prediction as plain functions on tensors, without scikit-learn and without datasets."""

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
from labelaudit.model.hyperparameters import Hyperparameters, check_positive
from labelaudit.model.optimizers import Optimizer, clear_gradients, set_learning_rate, set_training_mode
from labelaudit.model.outputs import check_output_kind, check_outputs, log_scores, run_module
from labelaudit.model.packing import tree_digest
from labelaudit.model.progress import Epoch, Progress, WeightAverage
from labelaudit.model.schedules import resolve_schedule
from labelaudit.model.training_dynamics import TrainingDynamics

# Numbers in a batch of rows to predict. Prediction keeps no gradients, so larger batches fit than in training. A GPU
# takes about as long for few rows as for many, because it waits for the CPU.
_PREDICTED_NUMBERS = {"cpu": 2**19, "cuda": 2**22}
_PREDICTED_ROWS = 2048
# Rows by which a checkpoint recognises the data. Different preprocessing changes nearly every row.
_SAMPLED_ROWS = 64
# Settings that do not go into the identity of a training as they are: they may be functions.
_CALLABLE_SETTINGS = ("optimizer", "optimizer_kwargs", "schedule")


# Called after each epoch with the module in its current state. Returning True ends the training.
Callback = Callable[[Epoch, nn.Module], bool | None]


@dataclass(frozen=True)
class Labeled:
    """Rows with their classes and weights.

    Attributes:
        index: (n,) int64, row numbers; None for all rows in order.
        targets: (n,) int64, the class of each row.
        weights: (n,) float, the weight of each row; None if all weigh 1.
    """

    index: torch.Tensor | None
    targets: torch.Tensor
    weights: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def numbers(self, picked: torch.Tensor) -> torch.Tensor:
        """Return the row numbers of the examples at the positions `picked`."""
        return picked if self.index is None else self.index.index_select(0, picked)


@dataclass(frozen=True)
class TrainingBatch:
    """Examples on the device: inputs (B, ...), targets (B,) int64, weights (B,) or None."""

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class Training(Hyperparameters):
    """How one module is trained: the hyper-parameters, and what depends on the module, its data and the machine.

    Attributes:
        num_classes: Number of outputs of the module.
        output_kind: "logits", "log_probabilities" or "probabilities".
        precision: "float32", "bfloat16" or "float64".
        gradient_clip: Largest norm of the gradient of a step; None for no limit.
        n_iter_no_change: Number of epochs without a lower validation loss after which training ends; None for no
            early stopping.
    """

    num_classes: int
    output_kind: str
    precision: str
    gradient_clip: float | None
    n_iter_no_change: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_output_kind(self.output_kind)
        check_positive(gradient_clip=self.gradient_clip, n_iter_no_change=self.n_iter_no_change)
        if self.average_share and self.n_iter_no_change is not None:
            raise ConfigError(
                "The setting average_share averages the weights of the last steps, but early stopping does not know in "
                "advance which steps are the last. Use only one of the two."
            )


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
    dynamics: TrainingDynamics | None = None,
) -> list[Epoch]:
    """Train `module` in place on the examples `labeled` of `rows`.

    With `validation`, the module ends with the weights of the epoch that had the lowest validation loss.

    Args:
        generator: CPU generator of the order of rows and of the augmentation.
        validation: Rows that are held out for early stopping.
        callbacks: Called after each epoch that is trained now, not for epochs restored from a checkpoint.
        checkpoints: Where an unfinished training is saved and resumed.
        dynamics: Collects how each of the examples `labeled` is learned.

    Returns:
        One `Epoch` for each epoch.

    Raises:
        TrainingError: The loss is not finite, or the outputs are not of `output_kind`.
        ConfigError: A checkpoint cannot contain the state.
    """
    steps = training.epochs * batch_count(len(labeled), training.batch_size)
    average = _weight_average(module, training, steps)
    progress = Progress(module, optimizer, generator=generator, device=device, average=average, dynamics=dynamics)
    name = "" if checkpoints is None else _training_digest(progress, rows, labeled, validation, training)
    if checkpoints is not None:
        checkpoints.resume(name, progress)
    for number in progress.remaining(training.epochs):
        started = time.perf_counter()
        loss, rate = _train_epoch(module, rows, labeled, training, progress, number=number, generator=generator)
        checked = (None, None) if validation is None else _validate(module, rows, validation, training, device)
        seconds = time.perf_counter() - started
        epoch = Epoch(number + 1, training.epochs, loss, rate, seconds, *checked)
        progress.history.append(epoch)
        epochs_since_best = progress.best.update(epoch.validation_loss, number)
        stop_requests = [callback(epoch, module) for callback in callbacks]
        stops_early = training.n_iter_no_change is not None and epochs_since_best >= training.n_iter_no_change
        progress.has_ended = any(stop_requests) or stops_early or epoch.epoch == epoch.epochs
        if checkpoints is not None:
            checkpoints.after_epoch(name, progress)
        if progress.has_ended:
            break
    clear_gradients(optimizer)
    progress.best.copy_to_module()
    if average is not None:
        average.copy_to_module()
    return progress.history


def _train_epoch(
    module: nn.Module,
    rows: Rows,
    labeled: Labeled,
    training: Training,
    progress: Progress,
    *,
    number: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Train on all rows once, and return their mean loss and the last learning rate. Epochs are numbered from 0."""
    set_training_mode(module)
    dynamics, losses = progress.dynamics, []
    order = torch.randperm(len(labeled), generator=generator)
    targets = labeled.targets.index_select(0, order).to(progress.device)
    if dynamics is not None:
        dynamics.begin_epoch(number + 1, order, targets)
    count = batch_count(len(labeled), training.batch_size)
    for step, batch in enumerate(_batches(rows, labeled, order, targets, count, training, generator)):
        rate = training.learning_rate_at((number + step / count) / training.epochs)
        set_learning_rate(progress.optimizer, rate)
        check = number == step == 0
        losses.append(train_step(module, progress.optimizer, batch, training, check=check, dynamics=dynamics))
        if progress.average is not None:
            progress.average.update()
    loss = _mean_loss(torch.stack(losses), number, rate)
    if dynamics is not None:
        dynamics.end_epoch()
    return loss, rate


def train_step(
    module: nn.Module,
    optimizer: Optimizer,
    batch: TrainingBatch,
    training: Training,
    *,
    check: bool = False,
    dynamics: TrainingDynamics | None = None,
) -> torch.Tensor:
    """Take one step of the optimizer, and return the mean loss of the batch, detached and still on the device.

    With `check`, verify the outputs of the module. This makes the CPU wait for a GPU.
    """
    clear_gradients(optimizer)
    with autocast(batch.targets.device, training.precision):
        outputs = run_module(module, batch.inputs)
    if check:
        check_outputs(outputs, training.output_kind, training.num_classes, len(batch.targets))
        if not outputs.requires_grad:
            raise TrainingError(
                "The outputs of the network do not depend on its trainable parameters, so nothing can be learned. "
                "Remove detach() and no_grad() from it, or freeze fewer parameters."
            )
    scores = log_scores(outputs, training.output_kind, len(batch.targets))
    loss = weighted_loss(scores, batch, training)
    loss.backward()  # type: ignore[no-untyped-call]
    if training.gradient_clip is not None:
        nn.utils.clip_grad_norm_(module.parameters(), training.gradient_clip)
    optimizer.step()
    if dynamics is not None:
        dynamics.add_batch(scores)
    return loss.detach()


def weighted_loss(scores: torch.Tensor, batch: TrainingBatch, training: Training) -> torch.Tensor:
    """Return the mean cross-entropy of scores (B, K), with the weights of the rows if there are any."""
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
    """Return class probabilities (n, K) of the rows `index` (n,), on the CPU.

    With `crop_padding` or `flip`, log-probabilities are averaged over the `views` of each image.

    Args:
        batch_size: TrainingBatch size of the training. Larger batches are used if examples are small.
        logarithms: Return log-probabilities.

    Returns:
        float32, or float64 if `precision` is "float64".

    Raises:
        TrainingError: The outputs are not of `output_kind`.
    """
    module.eval()
    result = torch.empty(len(index), num_classes, dtype=input_dtype(precision))
    chunks = torch.split(index.to(rows.numbered_on), prediction_batch_size(rows.shape, batch_size, device))
    done = 0
    for chunk, inputs in zip(chunks, rows.batches(chunks), strict=True):
        shown = views(inputs, padding=crop_padding, flip=flip) if crop_padding or flip else [inputs]
        with autocast(device, precision):
            outputs = [run_module(module, view) for view in shown]
        if not done:
            check_outputs(outputs[0], output_kind, num_classes, len(chunk))
        # In float64, so that rows sum to 1 within float32 precision, even if the network computes in bfloat16.
        logs = [log_scores(output, output_kind, len(chunk)).double().log_softmax(1) for output in outputs]
        mean = logs[0] if len(logs) == 1 else torch.stack(logs).mean(0).log_softmax(1)
        result[done : done + len(chunk)] = mean if logarithms else mean.exp()
        done += len(chunk)
    _check_numbers(result)
    return result


def _check_numbers(result: torch.Tensor) -> None:
    missing = result.isnan().any(1)
    if bool(missing.any()):
        raise TrainingError(
            f"The network returned NaN for {int(missing.sum())} of {len(result)} rows (first: row "
            f"{int(missing.nonzero()[0])}). Remove missing and extreme values from the inputs, or train with a lower "
            "learning rate."
        )


def prediction_batch_size(shape: tuple[int, ...], batch_size: int, device: torch.device) -> int:
    """Return the number of rows to predict at once: more than `batch_size` if examples of `shape` are small."""
    return max(batch_size, min(_PREDICTED_ROWS, _PREDICTED_NUMBERS[device.type] // max(1, math.prod(shape))))


def batch_count(rows: int, batch_size: int) -> int:
    """Return the number of batches of one epoch.

    Batches differ by at most one row. A batch of a single row has no variance, so one of three rows takes the place of
    two and one if `batch_size` is 2.
    """
    count = math.ceil(rows / batch_size)
    return rows // 2 if count > rows // 2 and batch_size > 1 and rows > 1 else count


def _training_digest(
    progress: Progress, rows: Rows, labeled: Labeled, validation: Labeled | None, training: Training
) -> str:
    """Digest of everything that a training starts with, and of a sample of its rows."""
    picked = torch.linspace(0, len(labeled) - 1, min(_SAMPLED_ROWS, training.batch_size)).long()
    with seeded(0, progress.device):  # A Dataset may draw random numbers.
        sample = rows.take(labeled.numbers(picked))
    if is_sparse_tensor(sample):
        sample = torch.cat([sample.indices(), sample.values()[None]])
    schedule = resolve_schedule(training.schedule)
    start = {
        "torch": torch.__version__,
        "settings": {name: value for name, value in vars(training).items() if name not in _CALLABLE_SETTINGS},
        "schedule": [schedule(step / 16) for step in range(17)],
        "optimizer": f"{type(progress.optimizer).__module__}.{type(progress.optimizer).__qualname__}",
        "state": progress.state(),
        "rows": (len(rows), rows.shape, sample),
        "labeled": [None if part is None else vars(part) for part in (labeled, validation)],
    }
    return tree_digest(start)[:32]


def _weight_average(module: nn.Module, training: Training, steps: int) -> WeightAverage | None:
    averaged = training.average_share * steps
    return WeightAverage(module, 1 - 1 / averaged) if averaged > 1 else None


def _batches(
    rows: Rows,
    labeled: Labeled,
    order: torch.Tensor,
    targets: torch.Tensor,
    count: int,
    training: Training,
    generator: torch.Generator,
) -> Iterator[TrainingBatch]:
    """All rows once, in the given order, in `count` batches. Their sizes differ by at most one."""
    # Copied once for the whole epoch. A copy for each batch would make the CPU wait for a GPU at every step.
    numbers = labeled.numbers(order).to(rows.numbered_on).tensor_split(count)
    weights: Sequence[torch.Tensor | None] = [None] * count
    if labeled.weights is not None:
        weights = labeled.weights.index_select(0, order).to(targets.device).tensor_split(count)
    parts = targets.tensor_split(count)
    for inputs, target, weight in zip(rows.batches(numbers), parts, weights, strict=True):
        if training.crop_padding or training.flip:
            inputs = crop_and_flip(inputs, padding=training.crop_padding, flip=training.flip, generator=generator)
        yield TrainingBatch(inputs, target, weight)


def _validate(
    module: nn.Module, rows: Rows, validation: Labeled, training: Training, device: torch.device
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of the rows that are held out, weighted like training rows."""
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
    correct = (logs.argmax(1) == validation.targets).float()
    return float((losses * weights).sum() / weights.sum()), float((correct * weights).sum() / weights.sum())


def _mean_loss(step_losses: torch.Tensor, number: int, rate: float) -> float:
    # Checked once per epoch. A check at every step would make the CPU wait for the GPU.
    not_finite = (~step_losses.isfinite()).nonzero()
    if len(not_finite):
        raise TrainingError(
            f"The loss is not finite (epoch {number + 1}, batch {int(not_finite[0]) + 1}, learning rate {rate:g}). "
            "Set a lower training.learning_rate, or remove missing and extreme values from the inputs."
        )
    return float(step_losses.mean())


def print_epoch(epoch: Epoch, module: nn.Module) -> None:
    """Write a line about an epoch to standard error. A callback."""
    checked = (
        ""
        if epoch.validation_loss is None
        else f", validation loss {epoch.validation_loss:.4f}, accuracy {epoch.validation_accuracy:.3f}"
    )
    sys.stderr.write(f"epoch {epoch.epoch}/{epoch.epochs}: loss {epoch.loss:.4f}{checked} ({epoch.seconds:.2f} s)\n")
