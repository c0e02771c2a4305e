"""Labels as targets of a loss, and what each row weighs in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from labelaudit.errors import ConfigError, InputError
from labelaudit.model.batches import as_numpy, shared_tensor


def encoded(labels: np.ndarray, classes: np.ndarray) -> torch.Tensor:
    """Positions (n,) int64 of `labels` in `classes`, which is sorted. Raises `InputError` for other labels."""
    if classes.dtype == labels.dtype == np.int64 and np.array_equal(classes, np.arange(len(classes))):
        positions = labels  # they are what they stand for, and are not copied
        known = len(labels) == 0 or (labels.min() >= 0 and labels.max() < len(classes))
    else:
        positions = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        known = bool((classes[positions] == labels).all())
    if not known:
        unknown = np.setdiff1d(labels, classes)
        raise InputError(
            f"y has {len(unknown)} labels that are not among the classes seen first (such as {unknown[0]!r}): "
            "give all labels in the first call of partial_fit, or fit without warm_start."
        )
    return shared_tensor(positions)


def row_weights(sample_weight: Any, rows: int) -> np.ndarray:
    if sample_weight is None:
        return np.ones(rows)
    weights = np.asarray(as_numpy(sample_weight), np.float64)
    if weights.shape != (rows,):
        raise InputError(f"Sample weights have shape {weights.shape}; they must be 1D, one for each of {rows} rows.")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError("Sample weights must be finite and not negative.")
    return weights


def class_weights(
    class_weight: str | Mapping[Any, float], classes: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The weight of the class of each row (n,)."""
    codes = np.searchsorted(classes, labels)
    if class_weight == "balanced":
        # As scikit-learn balances, with rows counted by their weights.
        counts = np.bincount(codes, weights, minlength=len(classes))
        balanced: np.ndarray = (1 / np.where(counts > 0, counts, 1))[codes]
        return balanced
    if not isinstance(class_weight, Mapping):
        raise ConfigError(f"class_weight {class_weight!r} is unknown: use 'balanced', a dict or None.")
    unknown = [label for label in class_weight if label not in classes]
    if unknown:
        raise ConfigError(f"class_weight has {unknown[0]!r}, which is not among the classes {classes.tolist()[:12]}.")
    given: np.ndarray = np.array([float(class_weight.get(label, 1.0)) for label in classes.tolist()])[codes]
    return given
