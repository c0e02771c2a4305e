"""How long probe and neighbours take for a fold, measured on random features of the same length."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from labelaudit.model.neighbours import fit_neighbours
from labelaudit.model.probe import fit_probe

# Rows and classes of what is measured: about 5 seconds of one core for 1,280 features and 10 classes.
_SMALL, _LARGE = 2_000, 4_000
_PROBE_CLASSES, _NEIGHBOURS_CLASSES = 32, 200
# Rows that are predicted. The difference excludes what a fit of the neighbours does only once.
_FEW, _MORE = 500, 4_500
_SHORT_SECONDS = 1.0
# As in `labelaudit.model.probe` and `labelaudit.model.neighbours`: more rows do not make a choice of settings longer.
PROBE_CHOOSES_BY, NEIGHBOURS_CHOOSE_BY = 8_000, 2_000
REFERENCES = {"cpu": 50_000, "cuda": 500_000}
# Distance between classes, relative to the noise. As on real features, the solver needs 10 to 40 iterations.
_SEPARATION = 0.3


@dataclass(frozen=True)
class FeatureShape:
    """The size of a fold.

    Attributes:
        rows: to learn from.
        held_out: to predict.
        dim: numbers in each row.
        num_classes: K.
    """

    rows: int
    held_out: int
    dim: int
    num_classes: int

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the rows to learn from, and of those to predict."""
        return np.arange(self.rows), np.arange(self.rows, self.rows + self.held_out)

    def sample(self, rows: int, classes: int, held_out: int) -> FeatureShape:
        """Return a fold of at most this size, to be measured."""
        rows = min(self.rows, rows)
        return replace(self, rows=rows, held_out=held_out, num_classes=min(self.num_classes, classes, rows))


# Called as fit(features, labels, shape, device).
Fit = Callable[[np.ndarray, np.ndarray, FeatureShape, str], object]
# Returns the seconds of a fit of this size.
Measure = Callable[[Fit, FeatureShape], float]


def probe_seconds(fold: FeatureShape, measure: Measure) -> float:
    """Return the expected seconds of the probe of one fold on this machine.

    The choice of settings takes time in proportion to its rows, which are 8,000 at most. The final fit uses all rows,
    and needs some time for any number of them. Both are in proportion to classes.
    """
    large = fold.sample(_LARGE, _PROBE_CLASSES, _FEW)
    whole = measure(whole_probe, large)
    growth = fold.num_classes / large.num_classes
    if fold.rows == large.rows:
        return whole * growth
    fitting = min(measure(final_probe, large), whole)
    row = max(fitting - measure(final_probe, replace(large, rows=_SMALL)), 0.0) / (_LARGE - _SMALL)
    choosing = (whole - fitting) * min(fold.rows, PROBE_CHOOSES_BY) / _LARGE
    return (choosing + fitting + row * (fold.rows - _LARGE)) * growth


def neighbours_seconds(fold: FeatureShape, measure: Measure, references: int) -> float:
    """Return the expected seconds of the neighbours of one fold on this machine.

    Each of the predicted rows, and of those by which settings are chosen, is compared with all references.

    Args:
        references: most rows among which neighbours are searched.
    """
    sample = fold.sample(_SMALL, _NEIGHBOURS_CLASSES, _FEW)
    few, more = (measure(neighbours, replace(sample, held_out=rows)) for rows in (_FEW, _MORE))
    row = max(more - few, 0.0) / (_MORE - _FEW)
    choosers = min(fold.rows, NEIGHBOURS_CHOOSE_BY)
    once = max(few - row * (_FEW + min(sample.rows, NEIGHBOURS_CHOOSE_BY)), 0.0)
    growth = min(fold.rows, references) / sample.rows
    return once * fold.num_classes / sample.num_classes + row * (fold.held_out + choosers) * growth


def whole_probe(features: np.ndarray, labels: np.ndarray, shape: FeatureShape, device: str) -> object:
    """Fit a probe as a fold does."""
    return fit_probe(features, labels, shape.num_classes, *shape.parts, device=device)


def final_probe(features: np.ndarray, labels: np.ndarray, shape: FeatureShape, device: str) -> object:
    """Fit a probe without a choice of settings, which is impossible if each class is a group."""
    return fit_probe(features, labels, shape.num_classes, *shape.parts, groups=labels, device=device)


def neighbours(features: np.ndarray, labels: np.ndarray, shape: FeatureShape, device: str) -> object:
    """Find the neighbours as a fold does."""
    return fit_neighbours(features, labels, shape.num_classes, *shape.parts, device=device)


def measured_on(device: str) -> Measure:
    """Return a function that measures fits on a device."""

    def measure(fit: Fit, shape: FeatureShape) -> float:
        # The first fit also loads libraries.
        few = replace(shape, rows=4 * shape.num_classes, held_out=1)
        fit(*_random_features(few), few, device)
        features, labels = _random_features(shape)

        def seconds() -> float:
            started = time.perf_counter()
            fit(features, labels, shape, device)
            return time.perf_counter() - started

        first = seconds()
        # The difference of short times is multiplied, so it must be exact on a busy machine too.
        return min(first, seconds()) if first < _SHORT_SECONDS else first

    return measure


def _random_features(shape: FeatureShape) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d) float16 of classes that overlap, and labels (n,), of the rows of both kinds."""
    generator = np.random.default_rng(0)
    labels = np.arange(shape.rows + shape.held_out) % shape.num_classes
    centres = generator.standard_normal((shape.num_classes, shape.dim), np.float32)
    features = generator.standard_normal((len(labels), shape.dim), np.float32)
    features += _SEPARATION * centres[labels]
    return features.astype(np.float16), labels
