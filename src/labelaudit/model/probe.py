"""The linear probe of a fold: multinomial logistic regression on the features of a frozen encoder.

The features are standardised with the mean and deviation of the training rows. The penalty is chosen among seven by
the log loss of rows that inner splits of the training rows hold out, after the temperature is fitted on the same rows.
All seven are trained in one stack (`labelaudit.model.logistic_regression`), so the features are read once per iteration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from labelaudit.model.device import enough_memory, resolve_device
from labelaudit.model.feature_rows import column_means, read_rows, row_blocks
from labelaudit.model.fold import FoldFit, training_targets
from labelaudit.model.inner_parts import inner_parts
from labelaudit.model.logistic_regression import (
    Directions,
    LinearModels,
    Problems,
    principal_directions,
    solve,
)
from labelaudit.model.temperature import fit_temperature, probabilities_at

# Called as on_epoch(iteration, iterations, loss). The number of iterations is an estimate until the last call.
_OnIteration = Callable[[int, int, float], None]

# Penalties per feature. Of a Gaussian prior of the weights, they are the inverse of the variance of a logit of
# uncorrelated features: its standard deviation is 30 for the first (separable classes) and 0.03 for the last (features
# that say nothing).
_PENALTIES = tuple(10.0**power for power in range(-3, 4))
_UNCHOSEN = 1.0
# Weights in a stack, of which L-BFGS keeps about 25 copies.
_MAX_WEIGHTS = {"cpu": 2**22, "cuda": 2**26}
_ALL_ROWS = -2
# For progress only: most stacks take 10 to 40 iterations.
_EXPECTED_ITERATIONS = 40


@dataclass(frozen=True, eq=False)
class _Scaling:
    """Standardisation of features: (d,) each. The factor of a constant feature is 0."""

    mean: torch.Tensor
    factor: torch.Tensor

    def apply_(self, features: torch.Tensor) -> torch.Tensor:
        return features.sub_(self.mean).mul_(self.factor)


@dataclass(frozen=True)
class _Choice:
    penalty: float
    temperature: float
    loss: float
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
        The fit; `chosen` has the `penalty` (1 / C of scikit-learn, of standardised features), the `temperature`, and
        the `inner_loss` and number of `inner_rows` by which they were chosen.

    Raises:
        TrainingError: A class has no training row, the device is missing, its memory is too small, or the features
            are not finite.
    """
    started = time.monotonic()
    train_rows = np.sort(train_rows)
    classes = training_targets(labels, num_classes, train_rows)
    placed = resolve_device(device)
    train = read_rows(features, train_rows, placed)
    scaling = _scaling(train)
    scaling.apply_(train)
    trainer = _Trainer(
        train,
        torch.from_numpy(classes).to(placed),
        num_classes,
        torch.from_numpy(inner_parts(classes, None if groups is None else groups[train_rows], seed=seed)).to(placed),
        principal_directions(train),
        _Counter(on_epoch),
    )
    choice = trainer.choose()
    model = trainer.solve([choice.penalty], [_ALL_ROWS])
    trainer.counter.finish(model.objectives[-1])
    pred_probs = np.empty((len(held_out_rows), num_classes), np.float32)
    for part, block in row_blocks(features, held_out_rows, placed):
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


@dataclass(frozen=True, eq=False)
class _Trainer:
    """Standardised training rows, and what all problems on them share."""

    features: torch.Tensor
    targets: torch.Tensor
    num_classes: int
    parts: torch.Tensor
    directions: Directions
    counter: _Counter

    def solve(self, penalties: list[float], excluded: list[int]) -> LinearModels:
        device = self.features.device
        return solve(
            self.features,
            self.targets,
            self.num_classes,
            Problems(torch.tensor(penalties, device=device), torch.tensor(excluded, device=device)),
            parts=self.parts,
            directions=self.directions,
            on_iteration=self.counter.count,
        )

    def choose(self) -> _Choice:
        """Return the penalty with the lowest calibrated log loss on held-out rows, and the temperature there."""
        penalties = [per_feature * self.features.shape[1] for per_feature in _PENALTIES]
        held_out = int((self.parts >= 0).sum())
        if not held_out:
            return _Choice(_UNCHOSEN * self.features.shape[1], 1.0, float("nan"), 0)
        logits = torch.empty(len(penalties), held_out, self.num_classes, device=self.features.device)
        targets = torch.empty(held_out, dtype=torch.int64, device=self.features.device)
        start = 0
        for part in range(int(self.parts.max()) + 1):
            rows = (self.parts == part).nonzero().flatten()
            targets[start : start + len(rows)] = self.targets[rows]
            for stack in self._stacks(len(penalties)):
                model = self.solve(penalties[stack], [part] * len(penalties[stack]))
                logits[stack, start : start + len(rows)] = model.logits(self.features[rows]).transpose(0, 1)
            start += len(rows)
        # Calibrated first: a large penalty makes a probe too unsure, which its temperature corrects.
        temperatures = [fit_temperature(each, targets) for each in logits]
        losses = [
            float(torch.nn.functional.cross_entropy(each / temperature, targets))
            for each, temperature in zip(logits, temperatures, strict=True)
        ]
        # Of equals, the simplest.
        best = min(range(len(losses)), key=lambda index: (losses[index], -index))
        return _Choice(penalties[best], temperatures[best], losses[best], held_out)

    def _stacks(self, count: int) -> Iterator[slice]:
        weights = self.directions.basis.shape[1] * self.num_classes
        size = max(1, min(count, _MAX_WEIGHTS[self.features.device.type] // weights))
        for start in range(0, count, size):
            yield slice(start, start + size)


def _scaling(train: torch.Tensor) -> _Scaling:
    mean = column_means(train)
    squares = torch.zeros_like(mean, dtype=torch.float64)
    for block in train.split(2**12):
        squares += (block - mean).square().sum(0, dtype=torch.float64)
    deviation = (squares / len(train)).sqrt().float()
    # float16 has 11 bits, so a smaller deviation is only rounding.
    constant = deviation <= 1e-4 * mean.abs()
    return _Scaling(mean, torch.where(constant, 0, 1 / deviation.clamp(min=1e-30)))
