"""Multinomial logistic regression on full batches: many penalties and subsets of rows in one matrix product.

P problems share the features X (n, d) and the classes of the rows. Problem p minimises

    mean over its rows of -log softmax(W_p x + b_p)[class]  +  penalty_p / (2 rows_p) * |W_p|^2

by L-BFGS (Liu and Nocedal, "On the limited memory BFGS method", 1989). One iteration multiplies X once with all
weights and once with all residuals: 4 n d P K operations in two matrix products, in blocks of rows that stay in the
caches of a CPU. The problem is convex and the rows are not sampled, so there is no learning rate to choose and the
result does not depend on a seed.

Convergence is fast because L-BFGS starts each iteration from a diagonal approximation of the inverse Hessian. It is
diagonal in the principal directions of X: for a direction with variance s and a class c, the curvature is about
s * mean(q_c (1 - q_c)) * K / (K - 1) + penalty / rows, with q_c the present probabilities of class c. This is exact for
equal probabilities. It is computed again in each iteration, because the curvature falls as the model becomes certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from labelaudit.errors import TrainingError

MAX_ITERATIONS = 200
# Logits are exact to about 0.3 %. The error is relative, because a temperature will multiply the logits.
FINAL_TOLERANCE = 1e-5
_HISTORY = 10
# A step must decrease the objective by this share of what its slope promises.
_SUFFICIENT_DECREASE = 1e-4
# Below, float32 has too few digits to show a decrease.
_ROUNDING = 1e-6
_SMALLEST_STEP = 1e-4
# A smaller decrease of the loss is only rounding, also of weights that are nearly 0.
_NEGLIGIBLE = 1e-10
# A smaller curvature is only rounding.
_SMALLEST_CURVATURE = 1e-6
# Numbers in a block of logits and rows of a block. Rows that stay in the caches of a CPU are read once for both
# products; a GPU needs large products.
_BLOCK_NUMBERS = {"cpu": 2**20, "cuda": 2**26}
_BLOCK_ROWS = {"cpu": 2**10, "cuda": 2**18}
_FEWEST_BLOCK_ROWS = 2**8
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
    """Principal directions of scaled features.

    Attributes:
        basis: (d, r) float32. Weights in the directions (r,) are weights `basis @ w` of the features before they are
            scaled. The penalty is that of the weights in the directions.
        variances: (r,) float32, of the scaled features in each direction.
    """

    basis: torch.Tensor
    variances: torch.Tensor

    @property
    def are_complete(self) -> bool:
        """Whether they serve other rows too. If there were more features than rows, they only span these rows."""
        return self.basis.shape[0] == self.basis.shape[1]


@dataclass(frozen=True, eq=False)
class LinearModels:
    """The solutions of P problems.

    Attributes:
        weights: (P, K, d) float32.
        biases: (P, K) float32.
        objectives: The mean objective of the P problems after each iteration.
    """

    weights: torch.Tensor
    biases: torch.Tensor
    objectives: list[float]

    def between(self, start: int, end: int) -> LinearModels:
        """Return the solutions of the problems start..end-1."""
        return LinearModels(self.weights[start:end], self.biases[start:end], self.objectives)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return (b, P, K) float32 logits of features (b, d)."""
        products = features @ self.weights.flatten(0, 1).T
        return products.view(len(features), *self.biases.shape) + self.biases


def principal_directions(features: torch.Tensor, factors: torch.Tensor) -> Directions:
    """Return the principal directions of features (n, d) float32 with mean 0, multiplied by `factors` (d,).

    There are d of them, or at most n if d is larger.
    """
    rows, width = features.shape
    try:
        if width > rows:
            scaled = features * factors
            variances, vectors = _eigenvectors(scaled @ scaled.T / rows)
            large = variances > _SMALLEST_VARIANCE * variances[-1].clamp(min=torch.finfo(torch.float32).tiny)
            variances, vectors = variances[large], vectors[:, large]
            return Directions(factors[:, None] * (scaled.T @ (vectors / (variances * rows).sqrt())), variances)
        sample = features[:: max(1, rows // (_ROWS_PER_FEATURE * width))] * factors
        variances, vectors = _eigenvectors(sample.T @ sample / len(sample))
        return Directions(factors[:, None] * vectors, variances.clamp(min=0))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        # Any basis is right, and the solver only needs more iterations. LAPACK gives up on some singular matrices.
        return Directions(torch.diag(factors), features.square().mean(0) * factors.square())


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
        directions: The principal directions of `features`, and their scale.
        tolerance: About the squared error of the logits that is left, relative to their squares.
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
    return LinearModels(*stack.model(search.points), objectives or [float(search.values.mean())])


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """Of p problems: the objectives (p,) float64, their gradients, and the approximate inverse Hessian.

    Gradients and Hessian are (p, K, r + 1), as points are. The Hessian has the diagonal only.
    """

    values: torch.Tensor
    gradients: torch.Tensor
    inverse_hessians: torch.Tensor


class _Stack:
    """The objective of all problems. A point (p, K, r + 1) has weights in principal directions, and the biases."""

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
        self.problems, self.directions, self.num_classes = problems, directions, num_classes
        counts = (parts != problems.excluded[:, None]).sum(1)
        self.row_weights = 1 / counts.clamp(min=1)
        self.penalties = problems.penalties * self.row_weights

    def start(self) -> torch.Tensor:
        shape = len(self.problems), self.num_classes, self.directions.basis.shape[1] + 1
        return torch.zeros(shape, dtype=self.features.dtype, device=self.features.device)

    def model(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights (p, K, d) and biases (p, K)."""
        return points[:, :, :-1] @ self.directions.basis.T, points[:, :, -1]

    def evaluate(self, points: torch.Tensor, active: torch.Tensor) -> _Evaluation:
        """Return what the search needs to know of the problems `active` at `points` (p, K, r + 1)."""
        weights, biases = self.model(points)
        flat = weights.flatten(0, 1)
        gradient, bias_gradient = torch.zeros_like(flat), torch.zeros_like(biases)
        curvatures = torch.zeros_like(biases)
        losses = torch.zeros(len(active), dtype=torch.float64, device=points.device)
        excluded, shares = self.problems.excluded[active, None], self.row_weights[active, None]
        for rows in self._blocks(len(active)):
            block = self.features[rows]
            logs = torch.addmm(biases.flatten()[:, None], flat, block.T).view(*biases.shape, -1).log_softmax(1)
            seen = ((self.parts[rows] != excluded) * shares)[:, None]
            index = self.targets[rows].expand(len(active), 1, -1)
            losses -= (logs.gather(1, index) * seen).sum((1, 2), dtype=torch.float64)
            probabilities = logs.exp_()
            residuals = probabilities * seen
            curvatures += residuals.sum(2) - (residuals * probabilities).sum(2)
            residuals.scatter_add_(1, index, -seen)
            gradient.addmm_(residuals.flatten(0, 1), block)
            bias_gradient += residuals.sum(2)
        penalties, coefficients = self.penalties[active], points[:, :, :-1]
        losses += penalties / 2 * coefficients.square().sum((1, 2), dtype=torch.float64)
        in_directions = (gradient @ self.directions.basis).view(coefficients.shape)
        weight_gradient = in_directions + penalties[:, None, None] * coefficients
        gradients = torch.cat([weight_gradient, bias_gradient[:, :, None]], dim=2)
        return _Evaluation(losses, gradients, self._inverse_hessians(curvatures, penalties))

    def _inverse_hessians(self, curvatures: torch.Tensor, penalties: torch.Tensor) -> torch.Tensor:
        """Return the inverse of the approximate diagonal, from mean(q (1 - q)) (p, K)."""
        share = self.num_classes / max(1, self.num_classes - 1)
        of_bias = (curvatures * share).clamp(min=_SMALLEST_CURVATURE)[:, :, None]
        of_weights = of_bias * self.directions.variances + penalties[:, None, None]
        return 1 / torch.cat([of_weights, of_bias], dim=2)

    def _blocks(self, count: int) -> list[slice]:
        device = self.features.device.type
        fitting = _BLOCK_NUMBERS[device] // (count * self.num_classes)
        size = max(_FEWEST_BLOCK_ROWS, min(_BLOCK_ROWS[device], fitting))
        return [slice(start, start + size) for start in range(0, len(self.features), size)]


class _Search:
    """L-BFGS for each problem of a stack on its own; one evaluation of all unfinished problems per iteration."""

    def __init__(self, stack: _Stack, tolerance: float) -> None:
        self.stack, self.points, self.tolerance = stack, stack.start(), tolerance
        count = len(self.points)
        self.active = torch.arange(count, device=self.points.device)
        first = stack.evaluate(self.points, self.active)
        self.values, self.gradients, self.inverse_hessians = first.values, first.gradients, first.inverse_hessians
        self.directions = -self.inverse_hessians * self.gradients
        self.steps = torch.ones(count, dtype=self.points.dtype, device=self.points.device)
        self.moves: list[torch.Tensor] = []  # of the last iterations, (P, K, r + 1) each
        self.changes: list[torch.Tensor] = []  # of the gradients
        self._drop_finished()

    def advance(self) -> bool:
        """Try one step of each unfinished problem; return False if there is none."""
        active = self.active
        if not len(active):
            return False
        moves = self.steps[active, None, None] * self.directions[active]
        points = self.points[active] + moves
        found = self.stack.evaluate(points, active)
        slopes = (self.gradients[active] * moves).sum((1, 2), dtype=torch.float64)
        before = self.values[active]
        allowed = before + _SUFFICIENT_DECREASE * slopes + _ROUNDING * before.abs()
        accepted = found.values <= allowed
        self._remember(active[accepted], moves[accepted], (found.gradients - self.gradients[active])[accepted])
        good, bad = active[accepted], active[~accepted]
        self.points[good], self.values[good] = points[accepted], found.values[accepted]
        self.gradients[good] = found.gradients[accepted]
        self.inverse_hessians[good] = found.inverse_hessians[accepted]
        self.directions[good] = -self._inverse_hessian_times_gradient(good)
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

    def _inverse_hessian_times_gradient(self, problems: torch.Tensor) -> torch.Tensor:
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
        diagonal = self.inverse_hessians[problems]
        result *= diagonal
        if stored:
            move, change, inverse, _ = stored[0]
            size = _dot(change, diagonal * change)
            result *= torch.where(inverse > 0, _dot(move, change) / size.clamp(min=1e-30), 1)
        for move, change, inverse, factor in reversed(stored):
            result += (factor - inverse * _dot(change, result)) * move
        return result

    def _drop_finished(self) -> None:
        active = self.active
        # A quadratic function with this Hessian would fall by half the slope (the Newton decrement).
        left = -_dot(self.gradients[active], self.directions[active])
        weights = self.points[active, :, :-1]
        size = _dot(weights, weights / self.inverse_hessians[active, :, :-1])
        unfinished = (left > self.tolerance * size + _NEGLIGIBLE).flatten()
        self.active = active[unfinished & (self.steps[active] > _SMALLEST_STEP)]


def _dot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left * right).sum((1, 2), keepdim=True)
