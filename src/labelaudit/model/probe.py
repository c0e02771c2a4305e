"""The linear probe of a fold: multinomial logistic regression on the features of a frozen encoder.

Inner splits of the training rows hold out rows by which three things are chosen:

- The scale of the features: one factor for all, or one for each (standardised). The variances of an encoder's features
  often say how much each is worth, but features of different units need the same variance.
- The penalty of the weights. The log loss of held-out rows, at the best temperature, decides. The strongest penalty
  within one standard error of the lowest loss is used (Breiman et al., "Classification and Regression Trees", 1984):
  a weaker one also learns which rows people mislabel, and that hides wrong labels.
- The temperature, which makes up for the certainty that the penalty takes away.

Penalties are tried from strong to weak, several in one stack (`labelaudit.model.logistic_regression`), until the loss
rises. So one matrix product serves several penalties, and weak penalties, which need most iterations, are tried only if
they may win. For 1,000,000 rows x 384 features x 1,000 classes, an iteration with 3 penalties takes 4 n d P K = 4.6e12
operations in blocks of rows, about 0.15 s at 30 TFLOP/s (computed, not measured). The features take 1.5 GB, and the
weights and gradients of 10 iterations 0.1 GB.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from labelaudit.model.device import enough_memory, resolve_device
from labelaudit.model.feature_rows import column_means, float_rows, row_blocks
from labelaudit.model.fold import FoldFit, training_targets
from labelaudit.model.inner_parts import inner_parts
from labelaudit.model.logistic_regression import (
    FINAL_TOLERANCE,
    Directions,
    LinearModels,
    Problems,
    principal_directions,
    solve,
)
from labelaudit.model.temperature import fit_temperature, probabilities_at

# Called as on_epoch(iteration, iterations, loss). The number of iterations is an estimate until the last call.
_OnIteration = Callable[[int, int, float], None]

# Penalties per feature, from strong to weak. They are the inverse of the variance of a logit under a Gaussian prior of
# the weights, with uncorrelated features: the standard deviation is 0.03 for the first (features that say nothing) and
# 30 for the last (separable classes).
_PENALTIES = ((1e3, 1e2, 30.0, 10.0), (3.0, 1.0, 0.3), (0.1, 0.03, 0.01), (1e-3,))
_UNCHOSEN = 1.0
# Weights in a stack. L-BFGS keeps about 25 copies of them.
_MAX_WEIGHTS = {"cpu": 2**22, "cuda": 2**26}
_ALL_ROWS = -2
# Enough to compare penalties.
_ROUGH_TOLERANCE = 1e-6
# With more rows, scale and penalty are chosen by a random part of them. The penalty of the sum of losses stands for a
# prior of the weights, so it does not depend on the number of rows. The temperature does, and is fitted with all.
_MAX_ROWS_TO_CHOOSE_BY = 8_000
# For progress only: most stacks take 10 to 40 iterations.
_EXPECTED_ITERATIONS = 40


@dataclass(frozen=True, eq=False)
class _Scaling:
    """Shift and scale of features: (d,) each. The factor of a constant feature is 0."""

    mean: torch.Tensor
    factor: torch.Tensor

    def apply_(self, features: torch.Tensor) -> torch.Tensor:
        return features.sub_(self.mean).mul_(self.factor)


@dataclass(frozen=True)
class _Choice:
    """A penalty, what it needs, and the log loss of `rows` held-out rows with its standard error."""

    penalty: float
    temperature: float
    loss: float
    error: float
    rows: int


@enough_memory()
@torch.inference_mode()
def fit_probe(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    train_rows: np.ndarray,
    held_out_rows: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    device: str = "auto",
    seed: int = 0,
    on_epoch: _OnIteration | None = None,
) -> FoldFit:
    """Train a linear probe on the training rows of a fold, and predict its held-out rows.

    Memory is one float32 copy of the training rows, and blocks. The order of the training rows does not matter.

    Args:
        features: (N, d) float16 or float32, such as a memory map. Only read.
        labels: (N,) int64 in 0..num_classes-1 at `train_rows`. Other entries are ignored.
        num_classes: K.
        train_rows: Numbers of the rows to train on.
        held_out_rows: Numbers of the rows to predict.
        groups: (N,) any type. Inner splits keep the rows of a group on one side.
        seed: Seed of the inner splits.
        on_epoch: Called after each iteration of the solver.

    Returns:
        The fit; `chosen` says whether features were `standardised` one by one (1 or 0), and has the `penalty` (1 / C of
        scikit-learn, of features with variance 1), the `temperature`, and the `inner_loss` and number of `inner_rows`
        by which they were chosen.

    Raises:
        TrainingError: A class has no training row, the device is missing, its memory is too small, or the features
            are not finite.
    """
    started = time.monotonic()
    train_rows = np.sort(train_rows)
    classes = training_targets(labels, num_classes, train_rows)
    placed = resolve_device(device)
    counter = _Counter(on_epoch)

    def trainer_of(picked: np.ndarray) -> _Trainer:
        rows, targets = train_rows[picked], classes[picked]
        parts = inner_parts(targets, None if groups is None else groups[rows], seed=seed)
        inner, labeled = torch.from_numpy(parts).to(placed), torch.from_numpy(targets).to(placed)
        return _Trainer(float_rows(features, rows, placed), labeled, num_classes, inner, counter)

    picked = _rows_to_choose_by(len(train_rows), seed)
    trainer = trainer_of(picked)
    scaling, is_standardised, choice = _choose(trainer)
    if len(picked) < len(train_rows):
        trainer = trainer_of(np.arange(len(train_rows)))
        scaling.apply_(trainer.features)
        # Without inner splits, because each class is one group, nothing was chosen.
        choice = trainer.judge(choice.penalty) if trainer.held_out else choice
    model = trainer.solve([choice.penalty], [_ALL_ROWS])
    counter.finish(model.objectives[-1])
    pred_probs = np.empty((len(held_out_rows), num_classes), np.float32)
    for part, block in row_blocks(features, held_out_rows, placed, num_classes=num_classes):
        logits = model.logits(scaling.apply_(block))[:, 0]
        pred_probs[part] = probabilities_at(logits, choice.temperature).cpu().numpy()
    return FoldFit(
        pred_probs=pred_probs,
        dynamics=None,
        training_loss=model.objectives[-1],
        losses=model.objectives,
        epochs=len(model.objectives),
        members=1,
        seconds=time.monotonic() - started,
        device=str(placed),
        precision="float32",
        threads=torch.get_num_threads(),
        seed=seed,
        chosen={
            "standardised": float(is_standardised),
            "penalty": choice.penalty,
            "temperature": choice.temperature,
            "inner_loss": choice.loss,
            "inner_rows": choice.rows,
        },
    )


class _Counter:
    """Reports iterations of all stacks of a fold as one sequence."""

    def __init__(self, on_epoch: _OnIteration | None) -> None:
        self._on_epoch = on_epoch
        self._done = 0

    def count(self, iteration: int, loss: float) -> None:
        self._done += 1
        if self._on_epoch is not None:
            self._on_epoch(self._done, max(2 * _EXPECTED_ITERATIONS, self._done + 1), loss)

    def finish(self, loss: float) -> None:
        if self._on_epoch is not None:
            self._on_epoch(self._done + 1, self._done + 1, loss)


class _Trainer:
    """The training rows, and what all problems on them share."""

    def __init__(
        self, features: torch.Tensor, targets: torch.Tensor, num_classes: int, parts: torch.Tensor, counter: _Counter
    ) -> None:
        self.features, self.targets, self.num_classes = features, targets, num_classes
        self.parts, self.counter = parts, counter
        self.held_out = [(parts == part).nonzero().flatten() for part in range(int(parts.max()) + 1)]
        self.directions: Directions | None = None

    def rescale_(self, factor: torch.Tensor) -> None:
        """Multiply the features by `factor` (d,)."""
        self.features *= factor
        self.directions = None

    def solve(self, penalties: list[float], excluded: list[int], tolerance: float = FINAL_TOLERANCE) -> LinearModels:
        if self.directions is None:
            self.directions = principal_directions(self.features)
        device = self.features.device
        return solve(
            self.features,
            self.targets,
            self.num_classes,
            Problems(torch.tensor(penalties, device=device), torch.tensor(excluded, device=device)),
            parts=self.parts,
            directions=self.directions,
            tolerance=tolerance,
            on_iteration=self.counter.count,
        )

    def choices(self, parts: int) -> list[_Choice]:
        """Return what the rows of the first parts say of each penalty, from strong to weak, until the loss rises."""
        choices: list[_Choice] = []
        targets = torch.cat([self.targets[rows] for rows in self.held_out[:parts]])
        for penalties in _PENALTIES:
            scaled = [penalty * self.features.shape[1] for penalty in penalties]
            logits = self._held_out_logits(scaled, parts)
            choices += [_judge(penalty, each, targets) for penalty, each in zip(scaled, logits, strict=True)]
            if choices[-1].loss > min(choice.loss for choice in choices):
                break
        return choices

    def judge(self, penalty: float) -> _Choice:
        """Return what the rows of the first part say of one penalty."""
        return _judge(penalty, self._held_out_logits([penalty], 1)[0], self.targets[self.held_out[0]])

    def _held_out_logits(self, penalties: list[float], parts: int) -> list[torch.Tensor]:
        """Return logits (m, K) for each penalty, of the rows of the first parts, by models that did not see them."""
        weights = self.features.shape[1] * self.num_classes * len(penalties)
        at_once = max(1, _MAX_WEIGHTS[self.features.device.type] // weights)
        found = []
        for start in range(0, parts, at_once):
            stack = range(start, min(start + at_once, parts))
            excluded = [part for part in stack for _ in penalties]
            models = self.solve(penalties * len(stack), excluded, _ROUGH_TOLERANCE)
            for position, part in enumerate(stack):
                own = models.between(position * len(penalties), (position + 1) * len(penalties))
                found.append(own.logits(self.features[self.held_out[part]]))
        return [torch.cat([logits[:, index] for logits in found]) for index in range(len(penalties))]


def _rows_to_choose_by(count: int, seed: int) -> np.ndarray:
    """Return the positions of the rows by which scale and penalty are chosen: all if there are few."""
    if count <= _MAX_ROWS_TO_CHOOSE_BY:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, _MAX_ROWS_TO_CHOOSE_BY, replace=False))


def _judge(penalty: float, logits: torch.Tensor, targets: torch.Tensor) -> _Choice:
    temperature = fit_temperature(logits, targets)
    losses = functional.cross_entropy(logits / temperature, targets, reduction="none").double()
    error = float(losses.std(correction=0)) / len(losses) ** 0.5
    return _Choice(penalty, temperature, float(losses.mean()), error, len(losses))


def _choose(trainer: _Trainer) -> tuple[_Scaling, bool, _Choice]:
    """Return the scale of the features, whether it differs between features, and the penalty; scale the features."""
    mean, deviation = _moments(trainer.features)
    each = torch.where(deviation > 0, 1 / deviation.clamp(min=torch.finfo(torch.float32).tiny), 0)
    # The mean variance of the features that vary is 1 with either scale.
    common = (deviation > 0) / deviation[deviation > 0].square().mean().sqrt().nan_to_num(1.0)
    trainer.features -= mean
    trainer.rescale_(common)
    if not trainer.held_out:
        penalty = _UNCHOSEN * trainer.features.shape[1]
        return _Scaling(mean, common), False, _Choice(penalty, 1.0, 0.0, 0.0, 0)
    # One part says enough about the scale.
    with_common = trainer.choices(1)
    to_each = torch.where(deviation > 0, each / common.clamp(min=torch.finfo(torch.float32).tiny), 0)
    trainer.rescale_(to_each)
    with_each = trainer.choices(1)
    is_standardised = _lowest(with_each).loss < _lowest(with_common).loss
    if not is_standardised:
        trainer.rescale_(torch.where(deviation > 0, 1 / to_each, 0))
    scaling = _Scaling(mean, each if is_standardised else common)
    choices = with_each if is_standardised else with_common
    if len(trainer.held_out) > 1:
        choices = trainer.choices(len(trainer.held_out))
    return scaling, is_standardised, _strongest(choices)


def _lowest(choices: list[_Choice]) -> _Choice:
    return min(choices, key=lambda choice: choice.loss)


def _strongest(choices: list[_Choice]) -> _Choice:
    """Return the strongest penalty whose loss is within one standard error of the lowest."""
    lowest = _lowest(choices)
    return next(choice for choice in choices if choice.loss <= lowest.loss + lowest.error)


def _moments(train: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (d,) of features (n, d); the deviation of a constant feature is 0."""
    mean = column_means(train)
    squares = torch.zeros_like(mean, dtype=torch.float64)
    for start in range(0, len(train), 2**12):
        block = train[start : start + 2**12]
        squares += (block - mean).square().sum(0, dtype=torch.float64)
    deviation = (squares / len(train)).sqrt().float()
    # float16 has 11 bits, so a smaller deviation is only rounding.
    return mean, deviation * (deviation > 1e-4 * mean.abs())
