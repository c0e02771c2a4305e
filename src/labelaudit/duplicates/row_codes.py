"""Codes of rows of a table that do not change if numbers are stored with fewer digits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from labelaudit.duplicates.close_pairs import ClosePairs

# Digits of a number that must agree. Exports to text keep 6 or more, and whole numbers in full.
DIGITS = 6


def row_codes(table: pa.Table) -> np.ndarray:
    """Return a hash of each row, whose numbers are rounded to 6 significant digits.

    Args:
        table: float64 and string columns; the order of columns does not matter. Digits before the point all
            count, because whole numbers may be ids or times.

    Returns:
        (n, 1) uint64.
    """
    frame = table.select(sorted(table.column_names)).to_pandas()
    numbers = frame.select_dtypes("floating").columns
    frame[numbers] = significant(frame[numbers].to_numpy())
    return pd.util.hash_pandas_object(frame, index=False, categorize=True).to_numpy()[:, None]


def equal_pairs(codes: np.ndarray) -> ClosePairs:
    """Return pairs of rows with equal codes: each with the next one. Their distance is 0.0001.

    Args:
        codes: (n, 1) of `row_codes`, of different rows.
    """
    order = np.argsort(codes[:, 0], kind="stable")
    is_equal = codes[order[1:], 0] == codes[order[:-1], 0]
    first, second = order[:-1][is_equal], order[1:][is_equal]
    return ClosePairs(first, second, np.full(len(first), 1e-4, np.float32))


def significant(numbers: np.ndarray) -> np.ndarray:
    """Return numbers of any shape with 6 significant digits, but all digits before the point. NaN and infinity stay."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        places = np.maximum(DIGITS - 1 - np.floor(np.log10(np.abs(numbers))), 0)
        scale = 10.0**places
        result = np.round(numbers * scale) / scale
    is_ordinary = np.isfinite(result) & (numbers != 0)
    return np.where(is_ordinary, result, numbers) + 0.0
