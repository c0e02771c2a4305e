"""The nearest neighbours of a fold: class shares of the most similar training rows, in the features of an encoder.

Similarity is the cosine between features minus the mean of the training rows. A neighbour with similarity s weighs
exp((s - s1) / width), relative to the nearest one, s1. The weighted shares of the classes are mixed with the shares of
the classes among all training rows, which count as `smoothing` nearest neighbours, so no probability is 0. The number
of neighbours, the width, the smoothing and the temperature have the lowest log loss on training rows predicted without
themselves and their group.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from labelaudit.model.device import enough_memory, resolve_device
from labelaudit.model.feature_fold import FeatureFold, feature_fit, some_rows
from labelaudit.model.feature_rows import column_means, float_rows, row_blocks
from labelaudit.model.fold import FoldFit, OnEpoch
from labelaudit.model.temperature import fit_temperature, probabilities_at

# Training rows among which neighbours are searched. A fold takes 2 rows * references * d operations, so 50,000
# references of 1,280 features need about a minute on one CPU core for 20,000 rows.
_MAX_REFERENCES = {"cpu": 50_000, "cuda": 500_000}
# Training rows by which settings are chosen.
_MAX_SAMPLE = 2_000
_COUNTS = (5, 10, 20, 50, 100, 200)
# Shares of the typical difference between the similarities of the nearest and the 20th neighbour.
_WIDTHS = (0.5, 1.0, 2.0, 4.0)
_TYPICAL_COUNT = 20
_SMOOTHINGS = (0.01, 0.1, 1.0, 3.0)
# Temperatures at which settings are compared. The one that is used is fitted.
_TEMPERATURES = (0.5, 0.7, 1.0, 1.4)
# Numbers in a block of similarities: 64 MiB on a CPU.
_BLOCK_NUMBERS = {"cpu": 2**24, "cuda": 2**28}
_SMALLEST_NORM = 1e-12
# What is used if nothing can be chosen.
_USUAL_WIDTH, _USUAL_SMOOTHING = 0.1, 0.5
# Parts into which the weight of a neighbour, at most 1, is divided: more than float32 has digits.
_PARTS_OF_WEIGHT = 2**30
# A row and its group are never neighbours of it.
_NEVER = -2.0


@dataclass(frozen=True, eq=False)
class _References:
    """Training rows among which neighbours are searched.

    Attributes:
        directions: (R, d) float32, of norm 1.
        targets: (R,) int64.
        groups: (R,) int64; equal numbers are a group.
        mean: (d,) float32, of the features.
        prior: (K,) float32, shares of the classes.
    """

    directions: torch.Tensor
    targets: torch.Tensor
    groups: torch.Tensor
    mean: torch.Tensor
    prior: torch.Tensor

    def normalised(self, features: torch.Tensor) -> torch.Tensor:
        return functional.normalize(features - self.mean, dim=1, eps=_SMALLEST_NORM)

    def nearest(self, directions: torch.Tensor, count: int, groups: torch.Tensor | None = None) -> _Nearest:
        """Return the `count` nearest references of directions (b, d), without those of the same group."""
        similarities = directions @ self.directions.T
        if groups is not None:
            similarities.masked_fill_(groups[:, None] == self.groups, _NEVER)
        values, positions = similarities.topk(count, dim=1)
        return _Nearest(values, self.targets[positions])


@dataclass(frozen=True, eq=False)
class _Nearest:
    """The nearest references of b rows: similarities (b, k) float32, descending, and classes (b, k) int64."""

    similarities: torch.Tensor
    targets: torch.Tensor

    def first(self, count: int) -> _Nearest:
        return _Nearest(self.similarities[:, :count], self.targets[:, :count])


@dataclass(frozen=True)
class _Settings:
    neighbours: int
    width: float
    smoothing: float

    def log_probabilities(self, nearest: _Nearest, prior: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities (b, K) float32."""
        nearest = nearest.first(self.neighbours)
        gaps = nearest.similarities - nearest.similarities[:, :1]
        weights = (gaps / self.width).exp() * (nearest.similarities > _NEVER)
        # A GPU adds in any order. The sums of integers do not depend on it.
        parts = torch.zeros(len(weights), len(prior), dtype=torch.int64, device=prior.device)
        parts.scatter_add_(1, nearest.targets, (weights * _PARTS_OF_WEIGHT).long())
        shares = self.smoothing * prior + parts / _PARTS_OF_WEIGHT
        return (shares / shares.sum(1, keepdim=True)).log()


@enough_memory()
@torch.inference_mode()
def fit_neighbours(
    data: FeatureFold, *, device: str = "auto", seed: int = 0, on_epoch: OnEpoch | None = None
) -> FoldFit:
    """Predict the held-out rows of a fold from the labels of the most similar training rows.

    With more than 50,000 training rows (500,000 on a GPU), neighbours are searched in a random subset. Memory is one
    float32 copy of these rows, and blocks. The order of the training rows does not matter.

    Args:
        seed: Seed of the subset, and of the sample by which settings are chosen.
        on_epoch: Called once, when all rows are predicted.

    Returns:
        The fit; `chosen` has `neighbours`, `width`, `smoothing`, `temperature`, and the `inner_loss` and the number of
        `inner_rows` by which they were chosen.

    Raises:
        TrainingError: A class has no training row, the device is missing, its memory is too small, or the features
            are not finite.
    """
    started = time.monotonic()
    placed = resolve_device(device)
    generator = np.random.default_rng(seed)
    references = _references(data, placed, generator)
    sample = torch.from_numpy(some_rows(len(references.targets), _MAX_SAMPLE, generator)).to(placed)
    nearest, targets = _nearest_of_sample(references, sample)
    settings, loss = _choose(nearest, targets, references.prior)
    temperature = fit_temperature(settings.log_probabilities(nearest, references.prior), targets)
    pred_probs = _predicted(data, references, settings, temperature)
    if on_epoch is not None:
        on_epoch(1, 1, loss)
    chosen = {
        "neighbours": float(settings.neighbours),
        "width": settings.width,
        "smoothing": settings.smoothing,
        "temperature": temperature,
        "inner_loss": loss,
        "inner_rows": float(len(targets)),
    }
    return feature_fit(pred_probs, [loss], chosen, started=started, device=placed, seed=seed)


def _references(data: FeatureFold, device: torch.device, generator: np.random.Generator) -> _References:
    """Return the training rows, or a random part of them, with the shares of the classes in all of them."""
    classes = data.targets()
    picked = some_rows(len(classes), _MAX_REFERENCES[device.type], generator)
    train = float_rows(data.features, data.train_rows[picked], device)
    mean = column_means(train)
    functional.normalize(train.sub_(mean), dim=1, eps=_SMALLEST_NORM, out=train)
    prior = np.bincount(classes, minlength=data.num_classes) / len(classes)
    return _References(
        directions=train,
        targets=torch.from_numpy(classes[picked]).to(device),
        groups=torch.from_numpy(data.training_groups()[picked]).to(device),
        mean=mean,
        prior=torch.from_numpy(prior).float().to(device),
    )


def _nearest_of_sample(references: _References, sample: torch.Tensor) -> tuple[_Nearest, torch.Tensor]:
    """Return the nearest references of the references `sample`, without themselves and their groups, and their classes.

    Rows whose group contains all references are left out.
    """
    count = min(max(_COUNTS), len(references.targets))
    size = max(1, _BLOCK_NUMBERS[sample.device.type] // len(references.targets))
    found = []
    for start in range(0, len(sample), size):
        rows = sample[start : start + size]
        found.append(references.nearest(references.directions[rows], count, references.groups[rows]))
    similarities = torch.cat([each.similarities for each in found])
    has_others = similarities[:, 0] > _NEVER
    nearest = _Nearest(similarities[has_others], torch.cat([each.targets for each in found])[has_others])
    return nearest, references.targets[sample][has_others]


def _choose(nearest: _Nearest, targets: torch.Tensor, prior: torch.Tensor) -> tuple[_Settings, float]:
    """Return the settings with the lowest log loss at their best temperature, and this loss."""
    available = nearest.similarities.shape[1]
    if not len(targets):
        # All training rows are one group, so nothing can be chosen.
        return _Settings(min(_TYPICAL_COUNT, available), _USUAL_WIDTH, _USUAL_SMOOTHING), 0.0
    last = nearest.similarities[:, min(_TYPICAL_COUNT, available) - 1]
    gaps = (nearest.similarities[:, 0] - last)[last > _NEVER]
    typical = max(float(gaps.median()), _SMALLEST_NORM) if len(gaps) else _USUAL_WIDTH
    best: tuple[_Settings, float] | None = None
    for count, width, smoothing in itertools.product(_COUNTS, _WIDTHS, _SMOOTHINGS):
        settings = _Settings(min(count, available), width * typical, smoothing)
        logs = settings.log_probabilities(nearest, prior)
        loss = min(float(functional.cross_entropy(logs / temperature, targets)) for temperature in _TEMPERATURES)
        if best is None or loss < best[1]:
            best = settings, loss
    assert best is not None
    return best


def _predicted(data: FeatureFold, references: _References, settings: _Settings, temperature: float) -> np.ndarray:
    """Return the probabilities of the held-out rows (m, K) float32."""
    pred_probs = np.empty((len(data.held_out_rows), data.num_classes), np.float32)
    for part, directions in _directions(data, references):
        nearest = references.nearest(directions, settings.neighbours)
        logs = settings.log_probabilities(nearest, references.prior)
        pred_probs[part] = probabilities_at(logs, temperature).cpu().numpy()
    return pred_probs


def _directions(data: FeatureFold, references: _References) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield directions (b, d) of the held-out rows, in blocks whose similarities fit into memory."""
    device = references.mean.device
    size = max(1, _BLOCK_NUMBERS[device.type] // len(references.targets))
    for start in range(0, len(data.held_out_rows), size):
        rows = data.held_out_rows[start : start + size]
        for part, block in row_blocks(data.features, rows, device):
            yield slice(start + part.start, start + part.stop), references.normalised(block)
