"""What a probe chooses by held-out rows of inner splits: the scale of the features, the penalty and the temperature.

- The scale of the features: one factor for all, or one for each (standardised). The variances of an encoder's features
  often say how much each is worth, but features of different units need the same variance.
- The penalty of the weights. The log loss of held-out rows, at the best temperature, decides. The strongest penalty
  within one standard error of the lowest loss is used (Breiman et al., "Classification and Regression Trees", 1984):
  a weaker one also learns which rows people mislabel, and that hides wrong labels.
- The temperature, which makes up for the certainty that the penalty takes away.

Penalties are tried from strong to weak, several in one stack (`labelaudit.model.logistic_regression`), until the loss
rises. So one matrix product serves several penalties, and weak penalties, which need most iterations, are tried only if
they may win.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from labelaudit.model.logistic_regression import (
    FINAL_TOLERANCE,
    Directions,
    LinearModels,
    Problems,
    principal_directions,
    solve,
)
from labelaudit.model.probe_scaling import Scaling
from labelaudit.model.temperature import fit_temperature

# Penalties per feature, from strong to weak. They are the inverse of the variance of a logit under a Gaussian prior of
# the weights, with uncorrelated features: the standard deviation is 0.03 for the first (features that say nothing) and
# 30 for the last (separable classes).
_PENALTIES = ((1e3, 1e2, 30.0, 10.0), (3.0, 1.0, 0.3), (0.1, 0.03, 0.01), (1e-3,))
_UNCHOSEN = 1.0
# Weights in a stack. L-BFGS keeps about 25 copies of them.
_MAX_WEIGHTS = {"cpu": 2**22, "cuda": 2**26}
_ALL_ROWS = -2
# Enough to compare penalties: logits are exact to about 1 %.
_ROUGH_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Choice:
    """A scale and a penalty, the temperature they need, and the log loss of `rows` held-out rows with its error."""

    is_standardised: bool
    penalty: float
    temperature: float
    loss: float
    error: float
    rows: int


class Trainer:
    """Training rows with scaled features, and what all problems on them share."""

    def __init__(
        self,
        features: torch.Tensor,
        targets: torch.Tensor,
        num_classes: int,
        parts: torch.Tensor,
        on_iteration: Callable[[int, float], None],
    ) -> None:
        """Hold out `parts` (n,) of the rows: numbers from 0, and -1 for rows that are never held out."""
        self.features, self.targets, self.num_classes = features, targets, num_classes
        self.parts, self.on_iteration = parts, on_iteration
        self.held_out = [(parts == part).nonzero().flatten() for part in range(int(parts.max()) + 1)]

    def final_model(self, choice: Choice, directions: Directions) -> LinearModels:
        """Return the model of all rows."""
        return self._solve([choice.penalty], [_ALL_ROWS], directions, FINAL_TOLERANCE)

    def with_temperature(self, choice: Choice, directions: Directions) -> Choice:
        """Return the choice with the temperature and the loss of the first part; the same if nothing is held out."""
        if not self.held_out:
            return choice
        logits = self.held_out_logits([choice.penalty], [0], directions)[0]
        judged = _judge(choice.penalty, logits[:, 0], self.targets[self.held_out[0]])
        return replace(judged, is_standardised=choice.is_standardised)

    def held_out_logits(self, penalties: list[float], parts: list[int], directions: Directions) -> list[torch.Tensor]:
        """Return logits (m, penalties, K) of the rows of each part, by models that did not see them."""
        weights = self.features.shape[1] * self.num_classes * len(penalties)
        at_once = max(1, _MAX_WEIGHTS[self.features.device.type] // weights)
        found = []
        for start in range(0, len(parts), at_once):
            stack = parts[start : start + at_once]
            excluded = [part for part in stack for _ in penalties]
            models = self._solve(penalties * len(stack), excluded, directions, _ROUGH_TOLERANCE)
            for position, part in enumerate(stack):
                own = models.between(position * len(penalties), (position + 1) * len(penalties))
                found.append(own.logits(self.features[self.held_out[part]]))
        return found

    def _solve(
        self, penalties: list[float], excluded: list[int], directions: Directions, tolerance: float
    ) -> LinearModels:
        device = self.features.device
        return solve(
            self.features,
            self.targets,
            self.num_classes,
            Problems(torch.tensor(penalties, device=device), torch.tensor(excluded, device=device)),
            parts=self.parts,
            directions=directions,
            tolerance=tolerance,
            on_iteration=self.on_iteration,
        )


class _Path:
    """The penalties from strong to weak at one scale of the features. No model is trained twice."""

    def __init__(self, trainer: Trainer, scaling: Scaling, *, is_standardised: bool) -> None:
        self.trainer, self.is_standardised = trainer, is_standardised
        self.directions = principal_directions(trainer.features, scaling.factors(is_standardised))
        # Logits of each part so far, by number of the stack of penalties.
        self.logits: list[list[torch.Tensor]] = [[] for _ in _PENALTIES]

    def choices(self, parts: int) -> list[Choice]:
        """Return what the rows of the first parts say of each penalty, until the loss rises."""
        choices: list[Choice] = []
        targets = torch.cat([self.trainer.targets[rows] for rows in self.trainer.held_out[:parts]])
        for penalties, known in zip(_PENALTIES, self.logits, strict=True):
            scaled = [penalty * self.trainer.features.shape[1] for penalty in penalties]
            known += self.trainer.held_out_logits(scaled, list(range(len(known), parts)), self.directions)
            logits = torch.cat(known[:parts])
            judged = [_judge(penalty, logits[:, index], targets) for index, penalty in enumerate(scaled)]
            choices += [replace(choice, is_standardised=self.is_standardised) for choice in judged]
            if choices[-1].loss > min(choice.loss for choice in choices):
                break
        return choices


def choose(trainer: Trainer, scaling: Scaling) -> tuple[Choice, Directions]:
    """Return the scale and the penalty, and the principal directions of features with this scale."""
    if not trainer.held_out:
        # Each class is one group, so there is nothing to choose by.
        penalty = _UNCHOSEN * trainer.features.shape[1]
        directions = principal_directions(trainer.features, scaling.factors(is_standardised=False))
        return Choice(False, penalty, 1.0, 0.0, 0.0, 0), directions
    paths = [_Path(trainer, scaling, is_standardised=each) for each in (False, True)]
    # One part says enough about the scale.
    path = min(paths, key=lambda path: _lowest(path.choices(1)).loss)
    return _strongest(path.choices(len(trainer.held_out))), path.directions


def _judge(penalty: float, logits: torch.Tensor, targets: torch.Tensor) -> Choice:
    temperature = fit_temperature(logits, targets)
    losses = functional.cross_entropy(logits / temperature, targets, reduction="none").double()
    error = float(losses.std(correction=0)) / len(losses) ** 0.5
    return Choice(False, penalty, temperature, float(losses.mean()), error, len(losses))


def _lowest(choices: list[Choice]) -> Choice:
    return min(choices, key=lambda choice: choice.loss)


def _strongest(choices: list[Choice]) -> Choice:
    """Return the strongest penalty whose loss is within one standard error of the lowest."""
    lowest = _lowest(choices)
    return next(choice for choice in choices if choice.loss <= lowest.loss + lowest.error)
