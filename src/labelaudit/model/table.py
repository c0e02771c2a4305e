"""Columns of a table as numbers. Encoders are fitted inside a fold, on its training rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

# Categories of a column with their own feature. Rarer ones share a feature.
_MAX_CATEGORIES = 64
# Rows from which the quantiles of a column are estimated.
_QUANTILE_ROWS = 50_000


def plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with columns of two types only: float64 (NaN if missing) and object (strings or None).

    Booleans, nullable integers, dates and text with only numbers become float64. Infinities count as missing.
    """
    return pd.DataFrame({name: _plain(table[name]) for name in table.columns}, index=table.index)


def table_encoder(seed: int, rows: int) -> ColumnTransformer:
    """Return an unfitted transformer from `plain_columns` of a table to float32 (n, features), dense and finite.

    Numbers: missing values become the median, with an indicator column; values become normal quantiles, so neither
    scale nor outliers matter. Strings: one-hot, with one feature for rare and unknown ones.

    Args:
        seed: Seed of the rows from which quantiles are estimated.
        rows: Number of rows on which it will be fitted.
    """
    # The import takes half a second in every worker, and images and texts do not need it.
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, QuantileTransformer

    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        QuantileTransformer(
            n_quantiles=min(rows, 1000),
            subsample=_QUANTILE_ROWS,
            output_distribution="normal",
            random_state=seed,
        ),
    )
    strings = make_pipeline(
        SimpleImputer(strategy="constant", missing_values=None, fill_value="", keep_empty_features=True),
        OneHotEncoder(
            max_categories=_MAX_CATEGORIES,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
            dtype=np.float32,
        ),
    )
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("strings", strings, make_column_selector(dtype_exclude="number")),
        ],
        sparse_threshold=0.0,
    )


def _plain(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        seconds = column.astype("int64").astype("float64")
        return seconds.mask(column.isna())
    if not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = pd.to_numeric(column, errors="coerce")
        if (numbers.isna() & column.notna()).any():
            strings = [None if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]
            return pd.Series(strings, index=column.index, dtype=object)
        column = numbers
    values = column.to_numpy("float64", na_value=np.nan)
    return pd.Series(np.where(np.isfinite(values), values, np.nan), index=column.index)
