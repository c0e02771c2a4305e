"""Features with known classes, for tests of the views that learn from features."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from labelaudit.model.feature_fold import FeatureFold
from labelaudit.model.fold import FoldFit, OnEpoch


class FeatureView(Protocol):
    def __call__(
        self, data: FeatureFold, *, device: str = "auto", seed: int = 0, on_epoch: OnEpoch | None = None
    ) -> FoldFit: ...


def clusters(rows: int, width: int, classes: int, *, distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (rows, width) float16 around one centre per class, and the classes."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(rows) % classes)
    centres = generator.normal(size=(classes, width)) * distance
    return (centres[labels] + generator.normal(size=(rows, width))).astype(np.float16), labels


def fit_thirds(
    fit: FeatureView,
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
) -> FoldFit:
    """Predict every third row, from row 0, by the others."""
    rows = np.arange(len(labels))
    data = FeatureFold(features, labels, classes, rows[rows % 3 > 0], rows[::3], groups)
    return fit(data, device="cpu", seed=seed, on_epoch=on_epoch)
