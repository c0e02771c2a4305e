"""How long probe and neighbours take for a fold, measured on random features of the same length."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from labelaudit.model.feature_fold import FeatureFold
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

    def sample(self, rows: int, classes: int, held_out: int) -> FeatureShape:
        """Return a fold of at most this size, to be measured."""
        rows = min(self.rows, rows)
        return replace(self, rows=rows, held_out=held_out, num_classes=min(self.num_classes, classes, rows))


# Called with the data and the device.
Fit = Callable[[FeatureFold, str], object]
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


def whole_probe(data: FeatureFold, device: str) -> object:
    """Fit a probe as a fold does."""
    return fit_probe(data, device=device)


def final_probe(data: FeatureFold, device: str) -> object:
    """Fit a probe without a choice of settings, which is impossible if each class is a group."""
    return fit_probe(replace(data, groups=data.labels), device=device)


def neighbours(data: FeatureFold, device: str) -> object:
    """Find the neighbours as a fold does."""
    return fit_neighbours(data, device=device)


def measured_on(device: str) -> Measure:
    """Return a function that measures fits on a device."""

    def measure(fit: Fit, shape: FeatureShape) -> float:
        # The first fit also loads libraries.
        few = replace(shape, rows=4 * shape.num_classes, held_out=1)
        fit(_random_fold(few), device)
        data = _random_fold(shape)

        def seconds() -> float:
            started = time.perf_counter()
            fit(data, device)
            return time.perf_counter() - started

        first = seconds()
        # The difference of short times is multiplied, so it must be exact on a busy machine too.
        return min(first, seconds()) if first < _SHORT_SECONDS else first

    return measure


def _random_fold(shape: FeatureShape) -> FeatureFold:
    """Return a fold of float16 features whose classes overlap."""
    generator = np.random.default_rng(0)
    labels = np.arange(shape.rows + shape.held_out) % shape.num_classes
    centres = generator.standard_normal((shape.num_classes, shape.dim), np.float32)
    features = generator.standard_normal((len(labels), shape.dim), np.float32)
    features += _SEPARATION * centres[labels]
    train, held_out = np.split(np.arange(len(labels)), [shape.rows])
    return FeatureFold(features.astype(np.float16), labels, shape.num_classes, train, held_out)
