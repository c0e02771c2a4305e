"""Tables as numbers: types, missing values, categories, and nothing learned from rows that are held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.model.table import plain_columns, table_encoder


def mixed(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(1000, 50, rows),
            "with_gaps": np.where(rng.random(rows) < 0.3, np.nan, rng.random(rows)),
            "flag": rng.random(rows) < 0.5,
            "count": pd.array([None if n % 7 == 0 else n for n in range(rows)], dtype="Int64"),
            "day": pd.date_range("2024-01-01", periods=rows),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "kind": pd.Categorical(rng.choice(["a", "b"], rows)),
            "as_text": [str(value) for value in rng.integers(0, 9, rows)],
            "empty": [None] * rows,
        }
    )


def test_plain_columns_by_hand() -> None:
    table = pd.DataFrame(
        {
            "number": [1, 2, 3],
            "infinite": [1.0, np.inf, -np.inf],
            "flag": [True, False, True],
            "gaps": pd.array([1, None, 3], dtype="Int64"),
            "digits": ["1", "2.5", None],
            "word": ["a", None, "1"],
            "day": pd.to_datetime(["1970-01-01", None, "1970-01-02"]),
        }
    )
    plain = plain_columns(table)
    assert [str(dtype) for dtype in plain.dtypes] == ["float64"] * 5 + ["object", "float64"]
    np.testing.assert_array_equal(plain["infinite"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(plain["flag"], [1, 0, 1])
    np.testing.assert_array_equal(plain["gaps"], [1, np.nan, 3])
    np.testing.assert_array_equal(plain["digits"], [1, 2.5, np.nan])
    assert plain["word"].tolist() == ["a", None, "1"]
    first, missing, last = plain["day"]
    assert np.isnan(missing)
    assert first < last


def test_every_type_becomes_finite_numbers() -> None:
    table = plain_columns(mixed())
    encoded = table_encoder(seed=0, rows=len(table)).fit_transform(table)
    assert encoded.shape[0] == len(table)
    assert np.isfinite(encoded).all()
    # 7 numbers, indicators of the 3 with gaps; 3 colours and 2 kinds.
    assert encoded.shape[1] == 7 + 3 + 3 + 2


def test_the_table_is_not_changed() -> None:
    table = mixed()
    before = table.copy(deep=True)
    plain_columns(table)
    pd.testing.assert_frame_equal(table, before)


@given(scale=st.floats(1e-3, 1e6), shift=st.floats(-1e3, 1e3))
def test_neither_scale_nor_offset_of_a_column_matters(scale: float, shift: float) -> None:
    values = np.random.default_rng(0).integers(0, 1000, 50).astype(float)
    encoded = [
        table_encoder(seed=0, rows=50).fit_transform(plain_columns(pd.DataFrame({"x": column})))
        for column in (values, values * scale + shift)
    ]
    np.testing.assert_allclose(encoded[0], encoded[1], atol=1e-4)


def test_one_extreme_value_does_not_flatten_the_others() -> None:
    values = np.append(np.linspace(0, 1, 99), 1e12)
    encoded = table_encoder(seed=0, rows=100).fit_transform(plain_columns(pd.DataFrame({"x": values})))
    assert encoded[:99].std() > 0.5


def test_held_out_rows_teach_nothing() -> None:
    table = plain_columns(mixed())
    changed = table.copy()
    changed.loc[30:, "size"] = 1e9
    changed.loc[30:, "colour"] = "unseen"
    first, second = (
        table_encoder(seed=0, rows=30).fit(frame.iloc[:30]).transform(table.iloc[:30]) for frame in (table, changed)
    )
    np.testing.assert_array_equal(first, second)


def test_unseen_and_missing_categories_are_encoded() -> None:
    train = plain_columns(pd.DataFrame({"colour": ["red", "green", None, "red"]}))
    test = plain_columns(pd.DataFrame({"colour": ["violet", None, "red"]}))
    encoded = table_encoder(seed=0, rows=4).fit(train).transform(test)
    np.testing.assert_array_equal(encoded, [[0, 0, 0], [1, 0, 0], [0, 0, 1]])


def test_many_categories_share_few_features() -> None:
    table = plain_columns(pd.DataFrame({"key": [f"key {n}" for n in range(1000)]}))
    assert table_encoder(seed=0, rows=1000).fit_transform(table).shape == (1000, 64)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_rows_are_enough(rows: int) -> None:
    table = plain_columns(mixed(rows))
    assert np.isfinite(table_encoder(seed=0, rows=rows).fit_transform(table)).all()
