"""Multinomial logistic regression on full batches: many penalties and subsets of rows in one matrix product.

P problems share the features X (n, d) and the classes of the rows. Problem p minimises

    mean over its rows of -log softmax(x W_p + b_p)[class]  +  penalty_p / (2 rows_p) * |W_p|^2

by L-BFGS (Liu and Nocedal, "On the limited memory BFGS method", 1989). One iteration multiplies X once with all
weights, (n, d) x (d, P K), and once with all residuals, (d, n) x (n, P K): 4 n d P K operations in two products, in
blocks of rows that bound the memory. The problem is convex and the rows are not sampled, so there is no learning rate
to choose and the result does not depend on a seed.

The weights are optimised in the principal directions of X, each divided by sqrt(s / 2 + penalty / rows) for its
variance s. The Hessian is then at most the identity (Boehning, "Multinomial logistic regression algorithm", 1992), so
the first step needs no search, and correlated features do not slow down convergence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from labelaudit.errors import TrainingError

MAX_ITERATIONS = 200
# Half the squared norm of the preconditioned gradient: about the decrease of the mean loss that is left.
FINAL_TOLERANCE = 1e-7
_HISTORY = 10
# A step must decrease the objective by this share of what its slope promises.
_SUFFICIENT_DECREASE = 1e-4
# Below, float32 has too few digits to show a decrease.
_ROUNDING = 1e-6
_SMALLEST_STEP = 1e-4
# Numbers in a block of logits: 16 MiB stay close to the caches of a CPU; a GPU needs large products.
_BLOCK_NUMBERS = {"cpu": 2**22, "cuda": 2**28}
_BLOCK_ROWS = {"cpu": 2**12, "cuda": 2**18}
# Enough rows for the variances of principal directions, because they only speed up convergence.
_ROWS_PER_FEATURE = 8
# Directions with a smaller share of the largest variance are rounding errors if there are more features than rows.
_SMALLEST_VARIANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Problems:
    """What the P problems of a stack differ in.

    Attributes:
        penalties: (P,) float32, above 0.
        excluded: (P,) int64, the part of the rows that a problem does not see; -2 for a problem that sees all rows.
    """

    penalties: torch.Tensor
    excluded: torch.Tensor

    def __len__(self) -> int:
        return len(self.penalties)


@dataclass(frozen=True, eq=False)
class Directions:
    """Principal directions of features: `basis` (d, r), orthonormal, and their `variances` (r,)."""

    basis: torch.Tensor
    variances: torch.Tensor


@dataclass(frozen=True, eq=False)
class LinearModels:
    """The solutions of P problems.

    Attributes:
        weights: (d, P, K) float32.
        biases: (P, K) float32.
        objectives: The mean objective of the P problems after each iteration.
    """

    weights: torch.Tensor
    biases: torch.Tensor
    objectives: list[float]

    def between(self, start: int, end: int) -> LinearModels:
        """Return the solutions of the problems start..end-1."""
        return LinearModels(self.weights[:, start:end], self.biases[start:end], self.objectives)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return (b, P, K) float32 logits of features (b, d)."""
        products = features @ self.weights.flatten(1)
        return products.view(len(features), *self.biases.shape) + self.biases


def principal_directions(features: torch.Tensor) -> Directions:
    """Return the principal directions of features (n, d) float32 with mean 0; at most n of them if d is larger."""
    rows, width = features.shape
    try:
        if width > rows:
            variances, vectors = _eigenvectors(features @ features.T / rows)
            large = variances > _SMALLEST_VARIANCE * variances[-1].clamp(min=torch.finfo(torch.float32).tiny)
            variances, vectors = variances[large], vectors[:, large]
            return Directions(features.T @ (vectors / (variances * rows).sqrt()), variances)
        sample = features[:: max(1, rows // (_ROWS_PER_FEATURE * width))]
        variances, vectors = _eigenvectors(sample.T @ sample / len(sample))
        return Directions(vectors, variances.clamp(min=0))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        # Any basis is right, and the solver only needs more iterations. LAPACK gives up on some singular matrices.
        return Directions(torch.eye(width, device=features.device), features.square().mean(0))


def _eigenvectors(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues, ascending, and eigenvectors in float32. In float32 itself, many equal eigenvalues fail."""
    values, vectors = torch.linalg.eigh(matrix.double())
    return values.float(), vectors.float()


def solve(
    features: torch.Tensor,
    targets: torch.Tensor,
    num_classes: int,
    problems: Problems,
    *,
    parts: torch.Tensor,
    directions: Directions,
    tolerance: float = FINAL_TOLERANCE,
    on_iteration: Callable[[int, float], None] | None = None,
) -> LinearModels:
    """Solve a stack of problems.

    Args:
        features: (n, d) float32, with mean 0.
        targets: (n,) int64 in 0..num_classes-1.
        num_classes: K.
        problems: The penalty of each problem, and the part of the rows that it does not see.
        parts: (n,) int64, the part of each row; -1 for rows that all problems see.
        directions: The principal directions of `features`.
        tolerance: About the decrease of the mean loss that a further search would bring.
        on_iteration: Called with the number of the iteration and the mean objective.

    Raises:
        TrainingError: The objective is not finite.
    """
    stack = _Stack(features, targets, num_classes, problems, parts, directions)
    search = _Search(stack, tolerance)
    if not search.values.isfinite().all():
        raise TrainingError(
            "The loss of a probe is not finite in its first iteration. Remove missing and extreme values from the "
            "features."
        )
    objectives = []
    for iteration in range(1, MAX_ITERATIONS + 1):
        if not search.advance():
            break
        objectives.append(float(search.values.mean()))
        if on_iteration is not None:
            on_iteration(iteration, objectives[-1])
    weights, biases = stack.weights(search.points, torch.arange(len(problems), device=features.device))
    return LinearModels(weights, biases, objectives or [float(search.values.mean())])


class _Stack:
    """The objective of all problems, and its gradient, in preconditioned coordinates (P, r + 1, K)."""

    def __init__(
        self,
        features: torch.Tensor,
        targets: torch.Tensor,
        num_classes: int,
        problems: Problems,
        parts: torch.Tensor,
        directions: Directions,
    ) -> None:
        self.features, self.targets, self.parts = features, targets, parts
        self.problems, self.basis, self.num_classes = problems, directions.basis, num_classes
        counts = (parts[:, None] != problems.excluded).sum(0)
        self.row_weights = 1 / counts.clamp(min=1)
        self.penalties = problems.penalties * self.row_weights
        self.scales = (directions.variances / 2 + self.penalties[:, None]).rsqrt()[:, :, None]  # (P, r, 1)
        self.start = torch.zeros(
            len(problems), self.basis.shape[1] + 1, num_classes, dtype=features.dtype, device=features.device
        )

    def weights(self, points: torch.Tensor, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights (d, p, K) and biases (p, K) of the problems `active` at `points` (p, r + 1, K)."""
        in_directions = (points[:, :-1] * self.scales[active]).transpose(0, 1).flatten(1)
        weights = (self.basis @ in_directions).view(len(self.basis), len(points), self.num_classes)
        return weights, points[:, -1] * 2**0.5

    def evaluate(self, points: torch.Tensor, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the objectives (p,) float64 and the gradients (p, r + 1, K) of the problems `active`."""
        weights, biases = self.weights(points, active)
        flat = weights.flatten(1)
        gradient, bias_gradient = torch.zeros_like(flat), torch.zeros_like(biases)
        losses = torch.zeros(len(active), dtype=torch.float64, device=points.device)
        excluded, shares = self.problems.excluded[active], self.row_weights[active]
        for rows in self._blocks(len(active)):
            block, targets = self.features[rows], self.targets[rows, None, None]
            logs = torch.addmm(biases.flatten(), block, flat).view(-1, *biases.shape).log_softmax(2)
            seen = (self.parts[rows, None] != excluded) * shares
            index = targets.expand(-1, len(active), 1)
            losses -= (logs.gather(2, index).squeeze(2) * seen).sum(0, dtype=torch.float64)
            residuals = logs.exp_().scatter_add_(2, index, -torch.ones_like(logs[:, :, :1])).mul_(seen[:, :, None])
            gradient.addmm_(block.T, residuals.flatten(1))
            bias_gradient += residuals.sum(0)
        in_directions = (self.basis.T @ gradient).view(-1, *biases.shape).transpose(0, 1)
        scales = self.scales[active]
        coefficients = points[:, :-1] * scales
        penalties = self.penalties[active]
        losses += penalties / 2 * coefficients.square().sum((1, 2), dtype=torch.float64)
        weight_gradient = scales * (in_directions + penalties[:, None, None] * coefficients)
        return losses, torch.cat([weight_gradient, bias_gradient[:, None] * 2**0.5], dim=1)

    def _blocks(self, count: int) -> list[slice]:
        device = self.features.device.type
        size = max(256, min(_BLOCK_ROWS[device], _BLOCK_NUMBERS[device] // (count * self.num_classes)))
        return [slice(start, start + size) for start in range(0, len(self.features), size)]


class _Search:
    """L-BFGS for each problem of a stack on its own; one evaluation of all unfinished problems per iteration."""

    def __init__(self, stack: _Stack, tolerance: float) -> None:
        self.stack, self.tolerance = stack, tolerance
        self.points = stack.start
        count = len(self.points)
        self.active = torch.arange(count, device=self.points.device)
        self.values, self.gradients = stack.evaluate(self.points, self.active)
        self.directions = -self.gradients
        self.steps = torch.ones(count, dtype=self.points.dtype, device=self.points.device)
        self.moves: list[torch.Tensor] = []  # of the last iterations, (P, r + 1, K) each
        self.changes: list[torch.Tensor] = []  # of the gradients
        self._drop_finished()

    def advance(self) -> bool:
        """Try one step of each unfinished problem; return False if there is none."""
        active = self.active
        if not len(active):
            return False
        moves = self.steps[active, None, None] * self.directions[active]
        points = self.points[active] + moves
        values, gradients = self.stack.evaluate(points, active)
        slopes = (self.gradients[active] * moves).sum((1, 2), dtype=torch.float64)
        before = self.values[active]
        allowed = before + _SUFFICIENT_DECREASE * slopes + _ROUNDING * before.abs()
        accepted = values <= allowed
        self._remember(active[accepted], moves[accepted], (gradients - self.gradients[active])[accepted])
        good, bad = active[accepted], active[~accepted]
        self.points[good], self.values[good] = points[accepted], values[accepted]
        self.gradients[good] = gradients[accepted]
        self.directions[good] = -self._inverse_hessian_times(good)
        self.steps[good] = 1.0
        self.steps[bad] /= 2
        self._drop_finished()
        return True

    def _remember(self, problems: torch.Tensor, moves: torch.Tensor, changes: torch.Tensor) -> None:
        for history, new in ((self.moves, moves), (self.changes, changes)):
            latest = torch.zeros_like(self.points)
            latest[problems] = new
            history.append(latest)
            del history[:-_HISTORY]

    def _inverse_hessian_times(self, problems: torch.Tensor) -> torch.Tensor:
        """Return the two-loop recursion applied to the gradients of `problems`."""
        result = self.gradients[problems].clone()
        stored = []
        for move, change in zip(reversed(self.moves), reversed(self.changes), strict=True):
            move, change = move[problems], change[problems]
            curvature = _dot(move, change)
            # Rejected steps are zero and are left out.
            inverse = torch.where(curvature > 0, 1 / curvature.clamp(min=1e-30), 0)
            factor = inverse * _dot(move, result)
            result -= factor * change
            stored.append((move, change, inverse, factor))
        if stored:
            move, change, inverse, _ = stored[0]
            size = _dot(change, change)
            result *= torch.where(inverse > 0, _dot(move, change) / size.clamp(min=1e-30), 1)
        for move, change, inverse, factor in reversed(stored):
            result += (factor - inverse * _dot(change, result)) * move
        return result

    def _drop_finished(self) -> None:
        left = self.gradients[self.active].square().sum((1, 2)) / 2
        self.active = self.active[(left > self.tolerance) & (self.steps[self.active] > _SMALLEST_STEP)]


def _dot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left * right).sum((1, 2), keepdim=True)
