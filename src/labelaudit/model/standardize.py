"""Vectors on one scale, with statistics of the training rows of a fold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Numbers that are converted to float64 and summed at a time.
_SUMMED = 2**20


def standardized(
    vectors: np.ndarray, train_rows: np.ndarray, held_out_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the held-out vectors with the mean 0 and the deviation 1 of the training vectors.

    A number that is the same in all training vectors is shifted but not scaled.

    Args:
        vectors: (N, d) float32. Only read.
        train_rows: (n,) rows, which decide on means and deviations.
        held_out_rows: (m,) rows.

    Returns:
        (n, d) and (m, d) float32.
    """
    train, held_out = np.asarray(vectors[train_rows]), np.asarray(vectors[held_out_rows])
    mean = _column_means(train, lambda part: part)
    variance = _column_means(train, lambda part: (part - mean) ** 2)
    deviation = np.sqrt(variance)
    deviation[deviation <= np.finfo(np.float32).eps * np.abs(mean)] = 1.0
    for part in (train, held_out):
        part -= mean.astype(np.float32)
        part /= deviation.astype(np.float32)
    return train, held_out


def _column_means(vectors: np.ndarray, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the mean of each column after a transform of parts of the rows, (d,) float64."""
    rows, columns = vectors.shape
    step = max(1, _SUMMED // columns)
    total = np.zeros(columns)
    for start in range(0, rows, step):
        total += transform(vectors[start : start + step].astype(np.float64)).sum(axis=0)
    means: np.ndarray = total / rows
    return means
