"""Label columns to label strings, and the list of classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.values import family, to_strings
from labelaudit.errors import DatasetError

# Longer runs of digits are names: as floats, two of them could be equal.
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]+)?|nan|NaN")


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

    Whole numbers become their shortest form ("1.0" is "1"), booleans "true" and "false". Null, NaN
    and blank values are not labels.

    Args:
        chunks: the column, piece by piece.
        column: its name, for messages.
        label_names: names of the integers 0, 1, … (a Hugging Face ClassLabel; -1: no label), or empty.
        is_untyped: values come from a CSV file, where numbers are strings too.

    Returns:
        (N,) object of str, None if a row has no label.

    Raises:
        DatasetError: values have several types, or a number is not whole or has no name.
    """
    _check_one_family(chunks, column)
    parts = [_chunk_labels(chunk, column, label_names) for chunk in chunks]
    labels = np.concatenate(parts) if parts else np.empty(0, dtype=object)
    distinct = {label for label in labels if label is not None}
    if is_untyped and distinct and all(NUMBER.fullmatch(label) for label in distinct):
        labels = _whole_numbers(labels, distinct, chunks, column)
    return labels


def sort_class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in their order: by value if all are whole numbers, else by code point."""
    names = set(names)
    if all(INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


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
        _check_whole(chunk, column)
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


def _check_whole(chunk: LabelChunk, column: str) -> None:
    if pa.types.is_integer(chunk.values.type):
        return
    numbers = chunk.values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(~np.isnan(numbers) & (~np.isfinite(numbers) | (numbers != np.floor(numbers))))
    if len(wrong):
        _raise_fraction(numbers[wrong[0]], chunk.file, chunk.first_row + int(wrong[0]), column)


def _raise_fraction(value: object, file: str, row: int, column: str) -> None:
    raise DatasetError(
        f"Label {value} in column {column!r} ({file}, row {row}) is not a whole number, so it is not a class. "
        "Name the column of classes with dataset.label, or write classes as strings."
    )


def _named(chunk: LabelChunk, column: str, label_names: Sequence[str]) -> np.ndarray:
    numbers = chunk.values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    codes = np.nan_to_num(numbers, nan=-1).astype(np.int64)
    wrong = np.flatnonzero((codes < -1) | (codes >= len(label_names)))
    if len(wrong):
        raise DatasetError(
            f"Label {codes[wrong[0]]} in column {column!r} "
            f"({chunk.file}, row {chunk.first_row + int(wrong[0])}) has no name: the schema names "
            f"{len(label_names)} classes, 0 to {len(label_names) - 1}. Correct the value or the schema."
        )
    named: np.ndarray = np.array([*label_names, None], dtype=object)[codes]
    return named


def _whole_numbers(labels: np.ndarray, distinct: set[str], chunks: Sequence[LabelChunk], column: str) -> np.ndarray:
    """Apply the rule for numbers to numbers that were written as strings."""
    whole: dict[str | None, str | None] = {None: None}
    for label in distinct:
        if label.lower() == "nan":
            whole[label] = None
        elif INTEGER.fullmatch(label):
            whole[label] = label
        elif float(label).is_integer():
            whole[label] = str(int(float(label)))
        else:
            position = int(np.flatnonzero(labels == label)[0])
            _raise_fraction(label, *_place(chunks, position), column)
    return np.array([whole[label] for label in labels], dtype=object)


def _place(chunks: Sequence[LabelChunk], position: int) -> tuple[str, int]:
    for chunk in chunks:
        if position < len(chunk.values):
            return chunk.file, chunk.first_row + position
        position -= len(chunk.values)
    raise IndexError(position)
