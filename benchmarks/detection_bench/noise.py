"""Wrong labels, planted in labels that are taken as right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
# none: the labels stay as they are.
KINDS = {
    "uniform": "any other class, equally often",
    "pair": "always the next class",
    "class": "rates differ by class, and each class has other frequent targets",
    "instance": "drawn from the confusions of a second model, so that hard examples are mislabeled",
}
# No class loses more than this share of its rows, or it would not be the most frequent one among its own.
_MOST_OF_CLASS = 0.48
# The lower, the fewer targets a class has.
_TARGET_CONCENTRATION = 0.3

_Labels = npt.NDArray[np.int64]


def plant(kind: str, rate: float, truth: _Labels, generator: np.random.Generator) -> _Labels:
    """Return labels whose share of wrong ones is about `rate`.

    Args:
        kind: one of `KINDS` except "instance".
        rate: 0..1.
        truth: (M,) in 0..K-1.
        generator: of the random numbers.
    """
    if kind == "class":
        return _by_class(rate, truth, generator)
    classes = int(truth.max()) + 1
    steps = np.ones(len(truth), np.int64) if kind == "pair" else generator.integers(1, classes, len(truth))
    return np.where(generator.random(len(truth)) < rate, (truth + steps) % classes, truth)


def plant_by_confusion(
    rate: float, truth: _Labels, second: npt.NDArray[np.float32], generator: np.random.Generator
) -> _Labels:
    """Return labels that a second model's doubt made wrong: rows by their doubt, classes by their probability.

    Args:
        rate: 0..1. Only rows that the model doubts can become wrong.
        truth: (M,) in 0..K-1.
        second: (M, K) its out-of-fold probabilities for `truth`.
        generator: of the random numbers.
    """
    doubt = 1 - second[np.arange(len(truth)), truth].astype(np.float64)
    wrong = min(round(rate * len(truth)), int((doubt > 1e-6).sum()))
    labels = truth.copy()
    for row in generator.choice(len(truth), wrong, replace=False, p=doubt / doubt.sum()):
        labels[row] = _other(second[row].astype(np.float64) + 1e-12, truth[row], generator)
    return labels


def _by_class(rate: float, truth: _Labels, generator: np.random.Generator) -> _Labels:
    counts = np.bincount(truth)
    rates = generator.random(len(counts))
    rates = np.minimum(rates * rate / np.average(rates, weights=counts), _MOST_OF_CLASS)
    targets = generator.dirichlet(np.full(len(counts), _TARGET_CONCENTRATION), len(counts)) + 1e-9
    labels = truth.copy()
    for row in np.flatnonzero(generator.random(len(truth)) < rates[truth]):
        labels[row] = _other(targets[truth[row]], truth[row], generator)
    return labels


def _other(weights: npt.NDArray[np.float64], right: int, generator: np.random.Generator) -> int:
    """Draw a class that is not the right one."""
    weights = weights.copy()
    weights[right] = 0
    return int(generator.choice(len(weights), p=weights / weights.sum()))
