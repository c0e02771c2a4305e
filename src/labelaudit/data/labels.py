"""Label columns to label strings, and the list of classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.values import family, to_strings
from labelaudit.errors import DatasetError

# Class names in this form are sorted by value. Longer runs of digits are names: as floats, two could be equal.
SORTED_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?")
NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
FRACTION = re.compile(r"[+-]?[0-9]*\.[0-9]*[1-9][0-9]*([eE][+-]?[0-9]+)?")
# Ratings such as 4.5 are classes. More distinct numbers, some with a fraction, are a quantity.
MANY_NUMBERS = 50


class LabelChunk(NamedTuple):
    """Labels of consecutive rows of one file."""

    file: str
    first_row: int
    values: pa.Array


def check_label_type(column: str, type: pa.DataType) -> None:
    """Check that a column can contain classes.

    Raises:
        DatasetError: the type is a list, a struct, a time, bytes, …
    """
    if family(type) == "other":
        raise DatasetError(
            f"Column {column!r} cannot be the label: its type is {type}. "
            "Labels must be strings, whole numbers or booleans."
        )


def given_labels(
    chunks: Sequence[LabelChunk], *, column: str, label_names: Sequence[str] = (), is_untyped: bool = False
) -> np.ndarray:
    """Return label strings in the order of the chunks.

    Strings stay as they are. Numbers become their shortest form (1.0 is "1"), booleans "true" and "false". Null, NaN
    and blank values are not labels.

    Args:
        chunks: the column, piece by piece.
        column: its name, for messages.
        label_names: names of the integers 0, 1, … (a Hugging Face ClassLabel; -1: no label), or empty.
        is_untyped: values come from a CSV file, where numbers are strings too.

    Returns:
        (N,) object of str, None if a row has no label.

    Raises:
        DatasetError: values have several types, a number is infinite or has no name, or the numbers are a quantity.
    """
    _check_one_family(chunks, column)
    parts = [_chunk_labels(chunk, column, label_names) for chunk in chunks]
    labels = np.concatenate(parts) if parts else np.empty(0, dtype=object)
    if is_untyped or any(family(chunk.values.type) == "number" for chunk in chunks):
        _check_no_quantity(labels, chunks, column)
    return labels


def sort_class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in their order: by value if all are numbers, else by code point."""
    names = sorted(set(names))
    if all(SORTED_NUMBER.fullmatch(name) for name in names):
        names.sort(key=float)
    return tuple(names)


def classes_of_labels(labels: Collection[str], class_names: Sequence[str]) -> dict[str, str] | None:
    """Return the class of each distinct label; None if one has no class.

    Labels are names of classes. If they are not, they may be the numbers of classes, 0..K-1.
    """
    by_number = {str(number): name for number, name in enumerate(class_names)}
    for known in (dict(zip(class_names, class_names, strict=True)), by_number):
        if all(label in known for label in labels):
            return {label: known[label] for label in labels}
    return None


def _check_one_family(chunks: Sequence[LabelChunk], column: str) -> None:
    seen: tuple[str, LabelChunk] | None = None
    for chunk in chunks:
        check_label_type(column, chunk.values.type)
        name = family(chunk.values.type)
        if name == "null" or chunk.values.null_count == len(chunk.values):
            continue
        if seen is not None and seen[0] != name:
            first = seen[1]
            raise DatasetError(
                f"Labels in column {column!r} have several types: {_first_value(first)} in {first.file} "
                f"is a {seen[0]}, {_first_value(chunk)} in {chunk.file} (row {chunk.first_row} or later) "
                f"is a {name}. Write all of them as strings."
            )
        seen = seen or (name, chunk)


def _first_value(chunk: LabelChunk) -> str:
    return repr(chunk.values.drop_null()[0].as_py())[:80]


def _chunk_labels(chunk: LabelChunk, column: str, label_names: Sequence[str]) -> np.ndarray:
    name = family(chunk.values.type)
    if name == "number":
        _check_finite(chunk, column)
    if name == "number" and label_names:
        return _named(chunk, column, label_names)
    strings = to_strings(chunk.values)
    return _blank_to_none(strings)


def _blank_to_none(strings: pa.Array) -> np.ndarray:
    blank = pc.equal(pc.utf8_trim_whitespace(strings), "")
    values = pc.if_else(blank, pa.scalar(None, strings.type), strings).dictionary_encode()
    # One string object per class, not per row.
    names = np.array([*values.dictionary.to_pylist(), None], dtype=object)
    labels: np.ndarray = names[values.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return labels


def _check_finite(chunk: LabelChunk, column: str) -> None:
    if not pa.types.is_floating(chunk.values.type):
        return
    infinite = np.flatnonzero(pc.is_inf(chunk.values).fill_null(False).to_numpy(zero_copy_only=False))
    if len(infinite):
        raise DatasetError(
            f"Label {chunk.values[int(infinite[0])].as_py()} in column {column!r} ({chunk.file}, row "
            f"{chunk.first_row + int(infinite[0])}) is infinite. Correct the value."
        )


def _check_no_quantity(labels: np.ndarray, chunks: Sequence[LabelChunk], column: str) -> None:
    """Check that numbers with fractions are few enough to be classes, such as ratings."""
    distinct = {label for label in labels if label is not None}
    if len(distinct) <= min(MANY_NUMBERS, len(labels) / 2) or not all(NUMBER.fullmatch(label) for label in distinct):
        return
    fraction = next((index for index, label in enumerate(labels) if label and FRACTION.fullmatch(label)), None)
    if fraction is not None:
        file, row = _place(chunks, fraction)
        raise DatasetError(
            f"Column {column!r} contains {len(distinct)} distinct numbers with fractions, such as {labels[fraction]} "
            f"({file}, row {row}). These are quantities, not classes. Name the column of classes with dataset.label."
        )


def _named(chunk: LabelChunk, column: str, label_names: Sequence[str]) -> np.ndarray:
    numbers = chunk.values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    codes = np.nan_to_num(numbers, nan=-1).astype(np.int64)
    is_fraction = ~np.isnan(numbers) & (numbers != codes)
    wrong = np.flatnonzero((codes < -1) | (codes >= len(label_names)) | is_fraction)
    if len(wrong):
        raise DatasetError(
            f"Label {numbers[wrong[0]]:g} in column {column!r} "
            f"({chunk.file}, row {chunk.first_row + int(wrong[0])}) has no name: the schema names "
            f"{len(label_names)} classes, 0 to {len(label_names) - 1}. Correct the value or the schema."
        )
    named: np.ndarray = np.array([*label_names, None], dtype=object)[codes]
    return named


def _place(chunks: Sequence[LabelChunk], position: int) -> tuple[str, int]:
    for chunk in chunks:
        if position < len(chunk.values):
            return chunk.file, chunk.first_row + position
        position -= len(chunk.values)
    raise IndexError(position)
