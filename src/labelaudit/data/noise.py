"""Planted label noise: labels that are known to be wrong, to measure an audit."""

from __future__ import annotations

import numpy as np

from labelaudit.errors import ConfigError


def plant_noise(labels: np.ndarray, *, share: float, num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Replace a share of the labels by another class, chosen uniformly.

    Args:
        labels: (N,) int64 in 0..num_classes-1; negative values are not labels and stay.
        share: share of the labels, 0..1; rounded to whole labels.
        num_classes: K, at least 2.
        seed: the same seed gives the same noise.

    Returns:
        (N,) int64 labels with noise, and (N,) bool, True for those that were replaced.

    Raises:
        ConfigError: share or num_classes is out of range.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"The noise share {share} is out of range. Use a share of all labels, 0 to 1.")
    if num_classes < 2:
        raise ConfigError(f"Label noise needs at least 2 classes, but there are {num_classes}. Use other data.")
    rng = np.random.default_rng(seed)
    labeled = np.flatnonzero(labels >= 0)
    chosen = rng.permutation(labeled)[: round(share * len(labeled))]
    shift = rng.integers(1, num_classes, size=len(chosen))
    noisy = labels.astype(np.int64, copy=True)
    noisy[chosen] = (noisy[chosen] + shift) % num_classes
    is_flipped = np.zeros(len(labels), dtype=bool)
    is_flipped[chosen] = True
    return noisy, is_flipped
