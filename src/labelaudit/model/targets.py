"""Labels as targets of a loss, and weights of rows and classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

from labelaudit.errors import ConfigError, InputError
from labelaudit.model.aliases import Container
from labelaudit.model.batches import as_numpy, shared_tensor

# "balanced", or the weights of classes by label.
ClassWeight: TypeAlias = str | Mapping[Any, float]


def encode_labels(labels: np.ndarray, classes: np.ndarray) -> torch.Tensor:
    """Return the positions (n,) int64 of `labels` in the sorted `classes`.

    Raises:
        InputError: A label is not among the classes.
    """
    if classes.dtype == labels.dtype == np.int64 and np.array_equal(classes, np.arange(len(classes))):
        positions = labels  # not copied
        known = len(labels) == 0 or (labels.min() >= 0 and labels.max() < len(classes))
    else:
        positions = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        known = bool((classes[positions] == labels).all())
    if not known:
        unknown = np.setdiff1d(labels, classes)
        raise InputError(
            f"y contains {len(unknown)} labels that are not among the classes of the first call "
            f"(such as {unknown[0]!r}). Pass all labels to the first call of partial_fit, or fit without warm_start."
        )
    return shared_tensor(positions)


def row_weights(sample_weight: Container, rows: int) -> np.ndarray:
    """Return the weights (rows,) float64 of the rows, 1 for None.

    Raises:
        InputError: They have another shape, or are negative or not finite.
    """
    if sample_weight is None:
        return np.ones(rows)
    weights = np.asarray(as_numpy(sample_weight), np.float64)
    if weights.shape != (rows,):
        raise InputError(
            f"Sample weights have shape {weights.shape}, but must be 1D. Pass one weight for each of the {rows} rows."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError("Sample weights are negative or not finite. Pass weights that are finite and at least 0.")
    return weights


def class_weights(
    class_weight: ClassWeight, classes: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the class weight (n,) of each row.

    Raises:
        ConfigError: `class_weight` is unknown, or has a label that is not among the classes.
    """
    codes = np.searchsorted(classes, labels)
    if class_weight == "balanced":
        # Like scikit-learn, but rows count by their weights.
        counts = np.bincount(codes, weights, minlength=len(classes))
        balanced: np.ndarray = (1 / np.where(counts > 0, counts, 1))[codes]
        return balanced
    if not isinstance(class_weight, Mapping):
        raise ConfigError(f"The class_weight {class_weight!r} is unknown. Use 'balanced', a dict or None.")
    unknown = [label for label in class_weight if label not in classes]
    if unknown:
        raise ConfigError(
            f"The class_weight has {unknown[0]!r}, which is not among the classes {classes.tolist()[:12]}. Remove it."
        )
    given: np.ndarray = np.array([float(class_weight.get(label, 1.0)) for label in classes.tolist()])[codes]
    return given
