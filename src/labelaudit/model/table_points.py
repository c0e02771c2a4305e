"""Vectors and rows of tables as points whose distances say how unlike the rows are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from labelaudit.model.table import plain_columns

# Categories of a column that differ from each other. Rarer ones count as one.
_CATEGORIES = 64
# Two rows that differ in a category, in a column with two values, or in whether a value is missing, have this distance.
_APART = 1.0
_LARGEST = 1e100
# Numbers that are converted to float64 at a time.
_BLOCK_NUMBERS = 2**22


def scaled_vectors(vectors: np.ndarray, rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that returns the points of some vectors, (b, d) float32, by their number among `rows`.

    Each number is divided by its deviation. What is farther than some deviations from the mean counts logarithmically
    (the inverse hyperbolic sine), so that a single number does not decide alone.

    Args:
        vectors: (N, d) float, such as a memory map. Only read.
        rows: (n,) the rows that decide on means and deviations.
    """
    step = max(1, _BLOCK_NUMBERS // max(1, vectors.shape[1]))
    blocks = [rows[start : start + step] for start in range(0, len(rows), step)]

    def exact(numbers: np.ndarray) -> np.ndarray:
        return np.clip(np.asarray(vectors[numbers], np.float64), -_LARGEST, _LARGEST)

    mean = sum(exact(block).sum(axis=0) for block in blocks) / len(rows)
    variance = sum(((exact(block) - mean) ** 2).sum(axis=0) for block in blocks) / len(rows)
    deviation = np.sqrt(variance)
    varies = deviation > np.finfo(np.float32).eps * np.abs(mean)
    factor = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
    return lambda numbers: np.arcsinh((exact(rows[numbers]) - mean) * factor).astype(np.float32)


def table_points(table: pd.DataFrame) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that returns the points of some rows of a table, (b, d) float32.

    Numbers are scaled as those of vectors. Categories have a dimension each.

    Args:
        table: the n rows that decide on means and deviations.
    """
    columns = [_points_of(column) for _, column in plain_columns(table).items()]
    return lambda rows: np.concatenate([points(rows) for points in columns], axis=1)


def _points_of(column: pd.Series) -> Callable[[np.ndarray], np.ndarray]:
    if column.dtype != np.float64:
        return _category_points(column)
    is_missing = column.isna().to_numpy()
    if column.nunique() <= 2:
        return _category_points(column.astype(object))
    values = column.fillna(column.median()).to_numpy()[:, None]
    scaled = scaled_vectors(values, np.arange(len(values)))
    if not is_missing.any():
        return scaled
    return lambda rows: np.concatenate([scaled(rows), _APART * is_missing[rows, None]], axis=1, dtype=np.float32)


def _category_points(column: pd.Series) -> Callable[[np.ndarray], np.ndarray]:
    codes, names = pd.factorize(column, use_na_sentinel=False)
    frequent = np.sort(np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")[:_CATEGORIES])
    place = np.full(len(names), len(frequent))
    place[frequent] = np.arange(len(frequent))
    width = len(frequent) + (len(names) > len(frequent))
    # Two categories differ in two dimensions.
    step = np.float32(_APART / np.sqrt(2))
    return lambda rows: step * (place[codes[rows]][:, None] == np.arange(width))
