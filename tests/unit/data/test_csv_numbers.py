from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.columns import resolve_columns
from labelaudit.data.csv_dialect import CsvOptions, NumberFormat
from labelaudit.data.readers import read_batches
from labelaudit.data.values import parses_as_numbers, to_numbers
from labelaudit.errors import DatasetError


def _resolve(make_dataset, values, *, delimiter=";", **options):
    """Columns and values of a dataset whose columns a, b, … contain `values`."""
    names = [f"c{index}" for index in range(len(values))]
    rows = [delimiter.join([*names, "label"])]
    rows += [delimiter.join([*(f'"{v}"' for v in row), "xy"[i % 2]]) for i, row in enumerate(zip(*values, strict=True))]
    source = make_dataset({"a.csv": "\n".join(rows) + "\n"})
    columns = resolve_columns(source, label="label", csv=CsvOptions(**options))
    inputs = [batch.inputs for batch in read_batches(source, columns)]
    return columns, [value for name in columns.inputs for part in inputs for value in part.column(name).to_pylist()]


@pytest.mark.parametrize(
    ("delimiter", "values", "expected", "format"),
    [
        (";", ["1,5", "-2,25", ""], [1.5, -2.25, None], NumberFormat(",")),
        (";", ["1.234,56", "7", "NA"], [1234.56, 7, None], NumberFormat(",", ".")),
        (",", ["1,234.56", "7", "2"], [1234.56, 7, 2], NumberFormat(".", ",")),
        (",", ["1,5", "2,25", "3"], [1.5, 2.25, 3], NumberFormat(",")),
        (";", ["1 234,5", "1\u00a0234,5", "1\u202f234"], [1234.5, 1234.5, 1234], NumberFormat(",", " ")),
        (";", ["1'234.5", "1\u2019234.5", "2"], [1234.5, 1234.5, 2], NumberFormat(".", "'")),
        (",", ["12,34,567", "1,000", "3"], [1234567, 1000, 3], NumberFormat(".", ",")),
        # Ambiguous: only files with semicolons are European.
        (",", ["1,234", "2,345", "3,456"], [1234, 2345, 3456], NumberFormat(".", ",")),
        (";", ["1,234", "2,345", "3,456"], [1.234, 2.345, 3.456], NumberFormat(",")),
        (";", ["1.5", "2.5", "1e3"], [1.5, 2.5, 1000], NumberFormat()),
    ],
)
def test_separators_are_detected(make_dataset, delimiter, values, expected, format):
    columns, numbers = _resolve(make_dataset, [values], delimiter=delimiter)
    assert (columns.input_types, columns.csv.numbers, numbers) == (("number",), format, expected)
    assert any("CSV: numbers have a decimal" in guess for guess in columns.guesses) == (format != NumberFormat())


def test_separators_that_only_appear_late_are_found(make_dataset):
    whole = [str(value % 7) for value in range(1_500)]
    columns, _ = _resolve(make_dataset, [[*whole, "1,5"], [*whole, "2"]])
    assert columns.input_types == ("number", "number")
    assert columns.csv.numbers == NumberFormat(",")


def test_columns_with_other_separators_are_reported(make_dataset):
    columns, _ = _resolve(make_dataset, [["1,5", "2,5"], ["1.5", "2.5"], ["3.5", "4.5"]])
    assert columns.input_types == ("category", "number", "number")
    assert any("'c0' are read as categories, because their numbers have other" in guess for guess in columns.guesses)


def test_words_and_percentages_are_categories(make_dataset):
    columns, _ = _resolve(make_dataset, [["1%", "2%"], ["1,2,3", "1,2"], ["€ 1", "€ 2"], ["1,2345,678", "1"]])
    assert set(columns.input_types) == {"category"}


def test_the_config_wins(make_dataset):
    _, numbers = _resolve(make_dataset, [["1,234", "2,345"]], decimal=".", thousands=",")
    assert numbers == [1234, 2345]
    _, numbers = _resolve(make_dataset, [["1.234", "2.345"]], decimal=",", thousands=".")
    assert numbers == [1234, 2345]


@pytest.mark.parametrize("options", [{"decimal": ","}, {"decimal": ",", "thousands": "none"}])
def test_configured_separators_that_contradict_the_file_are_refused(make_dataset, options):
    with pytest.raises(
        DatasetError, match=r"Column 'c0' contains '1\.5', which is not a number with dataset.csv.decim"
    ):
        _resolve(make_dataset, [["1.5", "22.75"]], **options)


def test_labels_and_ids_keep_their_separators(make_dataset):
    text = "id;a;label\n" + "".join(f"1.00{i};{i},5;{i % 2},5\n" for i in range(4))
    source = make_dataset({"a.csv": text})
    columns = resolve_columns(source, label="label", id="id")
    (batch,) = read_batches(source, columns)
    assert batch.labels.to_pylist() == ["0,5", "1,5", "0,5", "1,5"]
    assert batch.ids.tolist() == ["1.000", "1.001", "1.002", "1.003"]


@given(
    value=st.integers(-(10**12), 10**12),
    format=st.sampled_from([NumberFormat(d, t) for d in ".," for t in (".", ",", " ", "'", None) if d != t]),
)
def test_formatted_numbers_are_read_back(value, format):
    text = f"{value / 100:,.2f}".replace(",", "T").replace(".", format.decimal).replace("T", format.thousands or "")
    assert to_numbers(pa.array([text, " " + text + " "]), format).to_pylist() == [value / 100] * 2
    assert parses_as_numbers(pa.array([text]), format)
    assert not parses_as_numbers(pa.array([text + "x"]), format)
