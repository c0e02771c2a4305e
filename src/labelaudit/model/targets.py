"""Labels as targets of a loss, and weights of rows and classes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch

from labelaudit.errors import ConfigError, InputError
from labelaudit.model.aliases import Container
from labelaudit.model.array_tensors import shared_tensor
from labelaudit.model.batches import as_numpy
from labelaudit.text import listing

# "balanced", or the weights of classes by label.
ClassWeight: TypeAlias = str | Mapping[Any, float]


def check_class_labels(labels: Container) -> None:
    """Check that no label is missing, and that texts and numbers are not mixed, before they become one array.

    NumPy converts the list ["a", nan, 1, "1"] to texts, which would make classes "nan" and "1" of it.

    Raises:
        InputError: A label is missing, or some are texts and others are not.
    """
    is_flat = isinstance(labels, list | tuple) or getattr(labels, "ndim", None) == 1
    if not is_flat or getattr(labels, "dtype", np.dtype(object)).kind in "biufUS":
        return
    values = pd.Series(labels, dtype=object)
    missing = np.flatnonzero(values.isna())
    if len(missing):
        raise InputError(
            f"Input y contains NaN or None in {len(missing)} of {len(values)} rows (first: row {missing[0]}). Leave "
            "these rows out, or label them."
        )
    if pd.api.types.infer_dtype(values).startswith("mixed"):
        kinds = sorted({type(value).__name__ for value in values})
        if "str" in kinds and len(kinds) > 1:
            raise InputError(
                f"Input y contains labels of the types {listing(kinds)}. Convert all of them to one type, for example "
                "with str()."
            )


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


def training_weights(
    sample_weight: Container, class_weight: ClassWeight | None, classes: np.ndarray, labels: np.ndarray
) -> np.ndarray | None:
    """Return the weights (n,) float64 of rows and classes together, with mean 1; None if all are the same.

    Raises:
        InputError: The weights of the rows are not valid, or all weights are zero.
        ConfigError: `class_weight` is not valid.
    """
    if sample_weight is None and class_weight is None:
        return None
    weights = _row_weights(sample_weight, len(labels))
    if class_weight is not None:
        weights = weights * _class_weights(class_weight, classes, labels, weights)
    if not weights.sum() > 0:
        raise InputError("All weights are zero, so there is nothing to train on. Give some rows a positive weight.")
    normalised: np.ndarray = weights / weights.mean()
    return normalised


def _row_weights(sample_weight: Container, rows: int) -> np.ndarray:
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


def _class_weights(
    class_weight: ClassWeight, classes: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the class weight (n,) of each row.

    Raises:
        ConfigError: `class_weight` is unknown, has a label that cannot be a class, or a weight that is not a finite
            number of at least 0.
    """
    codes = np.searchsorted(classes, labels)
    if class_weight == "balanced":
        # Like scikit-learn, but rows count by their weights.
        counts = np.bincount(codes, weights, minlength=len(classes))
        balanced: np.ndarray = (1 / np.where(counts > 0, counts, 1))[codes]
        return balanced
    if not isinstance(class_weight, Mapping):
        raise ConfigError(f"The class_weight {class_weight!r} is unknown. Use 'balanced', a dict or None.")
    by_class = _weights_by_class(class_weight, classes.tolist())
    given: np.ndarray = np.array(by_class)[codes]
    return given


def _weights_by_class(class_weight: Mapping[Any, float], classes: list[Any]) -> list[float]:
    """Return the weight of each class; 1 for those that are left out.

    A fold of a cross-validation may lack classes. As in scikit-learn, weights of labels that are not among the classes
    are ignored if all classes have a weight. If not, they are likely mistyped.
    """
    unknown = [label for label in class_weight if label not in classes]
    left_out = [label for label in classes if label not in class_weight]
    impossible = [label for label in unknown if not any(_same_kind(label, known) for known in classes)]
    if impossible or (unknown and left_out):
        remedy = (
            f"Labels here are of type {type(classes[0]).__name__}. Use this type."
            if impossible
            else f"Correct it, or give class {left_out[0]!r} a weight, too: weights of absent classes are ignored if "
            "all other classes have one."
        )
        raise ConfigError(
            f"The class_weight has {(impossible or unknown)[0]!r}, which is not among the classes {classes[:12]}. "
            f"{remedy}"
        )
    for label, weight in class_weight.items():
        if not isinstance(weight, numbers.Real) or not 0 <= weight < math.inf:
            raise ConfigError(f"The class_weight of {label!r} is {weight!r}. Use a finite number that is at least 0.")
    return [float(class_weight.get(label, 1.0)) for label in classes]


def _same_kind(first: object, second: object) -> bool:
    both_numbers = isinstance(first, numbers.Real) and isinstance(second, numbers.Real)
    return both_numbers or isinstance(first, type(second)) or isinstance(second, type(first))
