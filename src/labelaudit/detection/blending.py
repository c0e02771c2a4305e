"""Blending of the out-of-fold probabilities of several views, by evidence.

Each view is calibrated with a temperature (Guo et al., "On Calibration of Modern Neural Networks", 2017). The blend is
the normalised product of the calibrated probabilities, each raised to the power of its weight times a common sharpness
(a logarithmic opinion pool: Genest and Zidek, "Combining Probability Distributions", 1986). Views err partly
independently, so together they are surer than their mean: the sharpness is usually above 1.

Temperatures, weights and sharpness minimise the log loss on the given labels of the other folds, so the label of a row
never decides its own blend. The weights are shrunk halfway towards equal ones, because the log loss also rewards a view
for predicting wrong labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from labelaudit.detection.probability_blocks import Block, Positions, PredProbs, ProbabilityBlocks
from labelaudit.errors import LabelauditError

_FloatArray = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.integer]

# Logarithms of smaller probabilities would decide everything.
_SMALLEST = 1e-12
# Values of a view from which temperatures and weights are computed. A few numbers per fold do not need more.
_SAMPLED_VALUES = 2**21
# Values of sharpness (inverse temperatures) that are tried; a parabola through the best three gives the rest.
_SHARPNESS = np.geomspace(1 / 16, 16, 49)
_SHRINKAGE = 0.5
_LEAST = 1e-3


@dataclass(frozen=True)
class FoldViews:
    """The probabilities of the rows of one fold, as each view predicts them.

    Attributes:
        repeat: The repeat to which the fold belongs.
        positions: (n,) the position of each row among all M rows.
        views: V times n rows of K classes.
    """

    fold: int
    repeat: int
    positions: Positions
    views: tuple[ProbabilityBlocks, ...]

    def blocks(self) -> Iterator[tuple[Positions, tuple[PredProbs, ...]]]:
        """Read the rows: their positions within the fold, and their probabilities by view.

        Raises:
            LabelauditError: the views list the rows in different orders.
        """
        for blocks in zip(*(view.blocks() for view in self.views), strict=True):
            rows = blocks[0].positions
            if any(not np.array_equal(block.positions, rows) for block in blocks):
                raise LabelauditError(f"The views of fold {self.fold} list its rows in different orders.")
            yield rows, tuple(block.pred_probs for block in blocks)


@dataclass(frozen=True)
class Mixture:
    """How the views of one fold are blended.

    Attributes:
        view_sharpness: (V,) inverse temperatures that calibrate the views.
        weights: (V,) in 0..1, with sum 1.
        sharpness: of the blend.
    """

    view_sharpness: tuple[float, ...]
    weights: tuple[float, ...]
    sharpness: float

    def calibrated(self, views: Sequence[PredProbs]) -> list[PredProbs]:
        """Return the logarithms of the calibrated probabilities of each view, V times (n, K) float32."""
        return [
            _log_softmax(sharpness * _logs(pred_probs))
            for pred_probs, sharpness in zip(views, self.view_sharpness, strict=True)
        ]

    def mixed(self, calibrated: Sequence[PredProbs]) -> PredProbs:
        """Return the blended probabilities (n, K) float32 of what `calibrated` returned."""
        exponents = self.sharpness * np.array(self.weights)
        mixed: PredProbs = np.exp(_log_softmax(_weighted_sum(exponents, calibrated)))
        return mixed


@dataclass(frozen=True)
class MixedFold:
    """The blended rows of one fold, computed while they are read."""

    fold: FoldViews
    mixture: Mixture
    measures: BlendMeasures  # receives what is read

    @property
    def num_classes(self) -> int:
        return self.fold.views[0].num_classes

    def __len__(self) -> int:
        return len(self.fold.positions)

    def blocks(self) -> Iterator[Block]:
        for rows, views in self.fold.blocks():
            calibrated = self.mixture.calibrated(views)
            mixed = self.mixture.mixed(calibrated)
            self.measures.add(self.fold, rows, [*map(np.exp, calibrated), mixed])
            yield Block(rows, mixed)


class BlendMeasures:
    """Sums over the rows of all folds and repeats, for each of V views and, last, for their blend.

    Attributes:
        agreeing: (folds, V + 1) rows whose most probable class is the given one.
        p_given: (folds, V + 1) sums of the probabilities of the given labels.
        losses: (V + 1,) sums of the log losses on the given labels, in nats.
        confirmed: (V,) rows for which another view predicts the same other label.
        views_agree: (M,) float32, sums over repeats of the number of views that predict the same other label.
    """

    def __init__(self, labels: _Labels, folds: int, views: int) -> None:
        self._labels = labels
        self.agreeing = np.zeros((folds, views + 1), np.int64)
        self.p_given = np.zeros((folds, views + 1))
        self.losses = np.zeros(views + 1)
        self.confirmed = np.zeros(views, np.int64)
        self.views_agree = np.zeros(len(labels), np.float32)

    def add(self, fold: FoldViews, rows: Positions, predictions: Sequence[PredProbs]) -> None:
        """Add some rows of a fold: their probabilities by view, and blended ones last, V + 1 times (n, K)."""
        positions = fold.positions[rows]
        labels = self._labels[positions]
        predicted = np.stack([pred_probs.argmax(axis=1) for pred_probs in predictions])
        given = np.stack([pred_probs[np.arange(len(labels)), labels] for pred_probs in predictions])
        self.agreeing[fold.fold] += (predicted == labels).sum(axis=1)
        self.p_given[fold.fold] += given.sum(axis=1, dtype=np.float64)
        self.losses -= np.log(np.maximum(given, _SMALLEST), dtype=np.float64).sum(axis=1)
        of_views = predicted[:-1]
        same = (of_views[:, None] == of_views[None, :]).sum(axis=1) * (of_views != labels)
        self.confirmed += (same > 1).sum(axis=1)
        self.views_agree[positions] += same.max(axis=0)


def fit_mixtures(folds: Sequence[FoldViews], labels: _Labels) -> dict[int, Mixture]:
    """Return the mixture of each fold, fitted on the other folds of its repeat.

    Args:
        folds: all folds of all repeats, with the same V views.
        labels: (M,) class numbers of the given labels.
    """
    mixtures: dict[int, Mixture] = {}
    for repeat in sorted({fold.repeat for fold in folds}):
        of_repeat = [fold for fold in folds if fold.repeat == repeat]
        mixtures.update(_fit_repeat([_sample(fold, labels, _step(of_repeat)) for fold in of_repeat]))
    return mixtures


@dataclass(frozen=True)
class _Sample:
    """Some rows of one fold: their labels (s,) and the logarithms of their probabilities, V times (s, K)."""

    fold: int
    labels: _Labels
    logs: tuple[PredProbs, ...]


def _step(folds: Sequence[FoldViews]) -> int:
    values = sum(len(fold.positions) for fold in folds) * folds[0].views[0].num_classes
    return max(1, -(-values // _SAMPLED_VALUES))


def _sample(fold: FoldViews, labels: _Labels, step: int) -> _Sample:
    """Take every `step`-th row of a fold. The order of rows within a fold is random."""
    picked: list[Positions] = []
    logs: list[list[PredProbs]] = [[] for _ in fold.views]
    for rows, views in fold.blocks():
        is_picked = rows % step == 0
        picked.append(rows[is_picked])
        for view, pred_probs in enumerate(views):
            logs[view].append(_logs(pred_probs[is_picked]))
    positions = fold.positions[np.concatenate(picked)]
    return _Sample(fold.fold, labels[positions], tuple(np.concatenate(parts) for parts in logs))


def _fit_repeat(samples: Sequence[_Sample]) -> dict[int, Mixture]:
    views = range(len(samples[0].logs))
    losses = [[_losses(sample.logs[view], sample.labels) for sample in samples] for view in views]
    mixtures = {}
    for index, sample in enumerate(samples):
        others = [*samples[:index], *samples[index + 1 :]]
        view_sharpness = [_lowest(np.sum(of_view[:index] + of_view[index + 1 :], axis=0)) for of_view in losses]
        logs = [
            _log_softmax(np.float32(view_sharpness[view]) * np.concatenate([other.logs[view] for other in others]))
            for view in views
        ]
        weights, sharpness = fit_pool(logs, np.concatenate([other.labels for other in others]))
        mixtures[sample.fold] = Mixture(tuple(view_sharpness), tuple(weights.tolist()), sharpness)
    return mixtures


def _losses(logs: PredProbs, labels: _Labels) -> _FloatArray:
    """Return the sum of the log losses for each of `_SHARPNESS`."""
    return np.array([_log_losses(np.float32(sharpness) * logs, labels).sum() for sharpness in _SHARPNESS])


def _log_losses(logits: PredProbs, labels: _Labels) -> _FloatArray:
    losses: _FloatArray = -_log_softmax(logits)[np.arange(len(labels)), labels].astype(np.float64)
    return losses


def _lowest(losses: _FloatArray) -> float:
    """Return the sharpness at the lowest point of a parabola through the lowest loss and its neighbours."""
    best = int(np.argmin(losses))
    log = np.log(_SHARPNESS)
    if best in (0, len(log) - 1):
        return float(_SHARPNESS[best])
    left, middle, right = losses[best - 1 : best + 2]
    curvature = left - 2 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature > 0 else 0.0
    return float(np.exp(log[best] + shift * (log[1] - log[0])))


def fit_pool(logs: Sequence[PredProbs], labels: _Labels) -> tuple[_FloatArray, float]:
    """Return the weights (V,) of calibrated views, and the sharpness of their blend.

    A view without which the log loss is clearly lower gets the weight 0.

    Args:
        logs: V times (n, K) logarithms of calibrated probabilities.
        labels: (n,) class numbers.
    """
    used = list(range(len(logs)))
    pool = _Pool.of(logs, labels)
    while len(used) > 1:
        without = [[other for other in used if other != view] for view in used]
        pools = [_Pool.of([logs[view] for view in views], labels) for views in without]
        best = int(np.argmin([each.losses.sum() for each in pools]))
        if not pools[best].is_clearly_better(pool):
            break
        used, pool = without[best], pools[best]
    weights = np.zeros(len(logs))
    weights[used] = pool.weights
    return weights, pool.sharpness


@dataclass(frozen=True, eq=False)
class _Pool:
    """Some views with shrunk weights, the best sharpness, and the log loss of each row (n,)."""

    weights: _FloatArray
    sharpness: float
    losses: _FloatArray

    @classmethod
    def of(cls, logs: Sequence[PredProbs], labels: _Labels) -> _Pool:
        exponents = _best_exponents(logs, labels)
        weights = (1 - _SHRINKAGE) * exponents / exponents.sum() + _SHRINKAGE / len(logs)
        pooled = _weighted_sum(weights, logs)
        sharpness = _lowest(_losses(pooled, labels))
        return cls(weights, sharpness, _log_losses(np.float32(sharpness) * pooled, labels))

    def is_clearly_better(self, other: _Pool) -> bool:
        """Return whether the log loss is lower by more than twice the standard error of the difference."""
        gains = other.losses - self.losses
        return bool(gains.sum() > 2 * gains.std() * len(gains) ** 0.5)


def _best_exponents(logs: Sequence[PredProbs], labels: _Labels) -> _FloatArray:
    """Return the exponents (V,) of the pool with the lowest log loss."""
    given = np.array([view[np.arange(len(labels)), labels].sum(dtype=np.float64) for view in logs])

    def loss_and_gradient(exponents: _FloatArray) -> tuple[float, _FloatArray]:
        pooled = _log_softmax(_weighted_sum(exponents, logs))
        loss = -float(pooled[np.arange(len(labels)), labels].sum(dtype=np.float64))
        pred_probs = np.exp(pooled)
        expected = np.array([np.vdot(pred_probs, view) for view in logs], np.float64)
        return loss / len(labels), (expected - given) / len(labels)

    start = np.full(len(logs), 1 / len(logs))
    # The loss is convex. A little of each view is kept, so that the weights have a sum.
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=[(_LEAST, None)] * len(logs))
    exponents: _FloatArray = found.x
    return exponents


def _weighted_sum(weights: _FloatArray, logs: Sequence[PredProbs]) -> PredProbs:
    total = np.zeros_like(logs[0])
    for weight, view in zip(weights, logs, strict=True):
        if weight:
            total += np.float32(weight) * view
    return total


def _logs(pred_probs: PredProbs) -> PredProbs:
    logs: PredProbs = np.log(np.maximum(pred_probs, np.float32(_SMALLEST)))
    return logs


def _log_softmax(logits: PredProbs) -> PredProbs:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: PredProbs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
