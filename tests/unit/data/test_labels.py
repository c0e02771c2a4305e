from __future__ import annotations

import datetime
import decimal

import pyarrow as pa
import pytest

from labelaudit.data.labels import LabelChunk, check_label_type, classes_of_labels, given_labels, sort_class_names
from labelaudit.errors import DatasetError


def _given(*parts, **kwargs):
    chunks, row = [], 0
    for part in parts:
        values = part if isinstance(part, pa.Array) else pa.array(part)
        chunks.append(LabelChunk("a.parquet", row, values))
        row += len(values)
    return given_labels(chunks, column="label", **kwargs).tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["cat", "dog", None, "", "  "], ["cat", "dog", None, None, None]),
        ([1, 0, None], ["1", "0", None]),
        ([1.0, float("nan"), -2.0], ["1", None, "-2"]),
        ([True, False, None], ["true", "false", None]),
        ([None, None], [None, None]),
        (["1.5", "007"], ["1.5", "007"]),  # strings of a typed file are names
        ([decimal.Decimal("3.00")], ["3"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array(["ä", "猫", "ä"], pa.large_string()), ["ä", "猫", "ä"]),
    ],
)
def test_labels_become_strings_and_blanks_become_none(values, expected):
    assert _given(values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["3", "10", "3.0", ""], ["3", "10", "3.0", None]),
        (["1E2", "100", "+100", "-0"], ["1E2", "100", "+100", "-0"]),
        (["007", "7", " 7", "\t"], ["007", "7", " 7", None]),
        (["4.5", "4.5", "3.0", "3.0"], ["4.5", "4.5", "3.0", "3.0"]),
        (["nan", "NA", "x"], ["nan", "NA", "x"]),
        (["1", "cat"], ["1", "cat"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
    ],
)
def test_labels_of_a_csv_file_stay_as_written(values, expected):
    assert _given(values, is_untyped=True) == expected


def test_chunks_of_whole_numbers_and_floats_go_together():
    assert _given([1, 2], [None, None], [3.0]) == ["1", "2", None, None, "3"]


def test_names_of_a_class_label_replace_its_numbers():
    assert _given([1, 0, -1, None], label_names=("cat", "dog")) == ["dog", "cat", None, None]


def test_a_number_without_a_name_is_refused():
    with pytest.raises(DatasetError, match=r"Label 2 in column 'label' \(a.parquet, row 1\) has no name"):
        _given([0, 2], label_names=("cat", "dog"))


@pytest.mark.parametrize("is_untyped", [False, True])
def test_many_fractions_are_a_quantity(is_untyped):
    numbers = [float(number) for number in range(60)], [number / 4 for number in range(240, 260)]
    parts = [list(map(str, part)) for part in numbers] if is_untyped else numbers
    with pytest.raises(DatasetError, match=r"80 distinct numbers with fractions, such as 60\.25 \(a.parquet, row 61\)"):
        _given(*parts, is_untyped=is_untyped)


@pytest.mark.parametrize("is_untyped", [False, True])
def test_few_fractions_are_classes_and_whole_numbers_are_never_a_quantity(is_untyped):
    convert = str if is_untyped else float
    ratings = [convert(number) for number in [0.5, 4.5, 3.0] * 4]
    assert _given(ratings, is_untyped=is_untyped) == ["0.5", "4.5", "3.0" if is_untyped else "3"] * 4
    whole = [str(number) if is_untyped else number for number in range(200)]
    assert _given(whole, is_untyped=is_untyped) == list(map(str, range(200)))


def test_names_of_a_class_label_belong_to_whole_numbers():
    with pytest.raises(DatasetError, match=r"Label 0\.5 in column 'label' .* has no name"):
        _given([0.0, 0.5], label_names=("cat", "dog"))


def test_infinity_is_refused():
    with pytest.raises(DatasetError, match=r"Label inf in column 'label' \(a.parquet, row 1\) is infinite"):
        _given([1.0, float("inf")])


def test_types_that_change_between_files_are_refused_with_both_values():
    with pytest.raises(DatasetError, match=r"have several types: 1 in a.parquet is a number, 'cat' .*row 2.* string"):
        _given([1, 2], ["cat"])


@pytest.mark.parametrize(
    "values", [[[1]], [{"a": 1}], [datetime.datetime(2024, 1, 1)], [datetime.date(2024, 1, 1)], [b"x"]]
)
def test_types_that_are_no_classes_are_refused(values):
    with pytest.raises(DatasetError, match="Column 'label' cannot be the label: its type is"):
        check_label_type("label", pa.array(values).type)


def test_class_names_are_sorted_by_number_or_by_code_point():
    assert sort_class_names(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert sort_class_names(["10.0", "9.5", "2.0"]) == ("2.0", "9.5", "10.0")
    assert sort_class_names(["010", "9"]) == ("010", "9")
    assert sort_class_names(["10", "9", "a"]) == ("10", "9", "a")
    assert sort_class_names(["b", "B", "ä"]) == ("B", "b", "ä")
    assert sort_class_names([]) == ()


@pytest.mark.parametrize(
    ("labels", "class_names", "expected"),
    [
        (["dog", "cat"], ["cat", "dog", "eel"], {"dog": "dog", "cat": "cat"}),
        (["0", "2"], ["cat", "dog", "eel"], {"0": "cat", "2": "eel"}),
        # Names win, even if they look like numbers of classes.
        (["1", "2"], ["1", "2", "3"], {"1": "1", "2": "2"}),
        (["0", "1"], ["1", "2", "3"], {"0": "1", "1": "2"}),
        ([], ["cat", "dog"], {}),
        (["cat", "1"], ["cat", "dog"], None),
        (["1", "2"], ["cat", "dog"], None),
        (["-1", "0"], ["cat", "dog"], None),
        (["01"], ["cat", "dog"], None),
    ],
)
def test_labels_are_names_or_numbers_of_classes(labels, class_names, expected):
    assert classes_of_labels(labels, class_names) == expected
