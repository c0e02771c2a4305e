"""How the numbers in CSV files are written: with a decimal point or comma, and separators of thousands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.csv_dialect import PLAIN_NUMBERS, CsvOptions, Dialect, NumberFormat
from labelaudit.data.file_layout import Layout
from labelaudit.data.source import Source
from labelaudit.data.tables import read_tables
from labelaudit.data.values import parses_as_numbers, to_numbers
from labelaudit.errors import DatasetError
from labelaudit.text import listing

PROBE = 200  # values that rule most formats out before all are parsed


def candidates(options: CsvOptions, delimiter: str) -> list[NumberFormat]:
    """Return the formats that the config allows, in the order of preference if several fit equally well.

    "1,234" alone is ambiguous. Only files with semicolons are taken for European ones, with a decimal comma.
    """
    point = [NumberFormat(), *(NumberFormat(".", mark) for mark in (",", " ", "'"))]
    comma = [NumberFormat(","), *(NumberFormat(",", mark) for mark in (".", " ", "'"))]
    ranked = [point[0], *comma, *point[1:]] if delimiter == ";" else [*point, *comma]
    thousands = None if options.thousands == "none" else options.thousands
    return [
        format
        for format in ranked
        if options.decimal in (None, format.decimal) and (options.thousands is None or format.thousands == thousands)
    ]


def find_format(rows: pa.Table, formats: Sequence[NumberFormat]) -> NumberFormat:
    """Return the format in which most columns contain only numbers, the first of those that tie."""
    return max(formats, key=lambda format: sum(is_numbers(column, format) for column in rows.columns))


def as_plain(rows: pa.Table, format: NumberFormat, kept: Iterable[str | None]) -> pa.Table:
    """Return a sample with its numbers in plain form, for guesses from values; columns in `kept` stay as written."""
    if format == PLAIN_NUMBERS:
        return rows
    for index, name in enumerate(rows.column_names):
        column = rows.column(name)
        if name not in set(kept) and is_numbers(column, format):
            plain = pc.fill_null(to_numbers(column, format).cast(column.type), "")
            rows = rows.set_column(index, name, pa.chunked_array([plain]))
    return rows


def describe_numbers(format: NumberFormat) -> str:
    """Return a sentence on a format that is not plain."""
    decimal = "a decimal comma" if format.decimal == "," else "a decimal point"
    names = {" ": "spaces", ",": "commas", ".": "points", "'": "apostrophes"}
    thousands = f" and {names[format.thousands]} between thousands" if format.thousands else ""
    return (
        f"CSV: numbers have {decimal}{thousands}. If this is wrong, set dataset.csv.decimal and dataset.csv.thousands"
    )


def check_configured(rows: pa.Table, format: NumberFormat, options: CsvOptions) -> None:
    """Check that the configured separators do not contradict the values.

    Raises:
        DatasetError: columns contain numbers with other separators, and none contains numbers with these.
    """
    if options.decimal is None and options.thousands is None:
        return
    wrong: tuple[str, object] | None = None
    for name in rows.column_names:
        column = rows.column(name)
        if is_numbers(column, format):
            if format != PLAIN_NUMBERS and not is_numbers(column, PLAIN_NUMBERS):
                return
        elif wrong is None and any(is_numbers(column, other) for other in candidates(CsvOptions(), ",")):
            values = column.to_pylist()
            wrong = name, next(value for value in values if not parses_as_numbers(pa.array([value]), format))
    if wrong is not None:
        raise DatasetError(
            f"Column {wrong[0]!r} contains {wrong[1]!r}, which is not a number with {_setting(format)}. "
            "Set them to the separators in the file, or to auto."
        )


def scan_types(
    source: Source, layout: Layout, names: Sequence[str], dialect: Dialect, options: CsvOptions
) -> tuple[dict[str, str | None], NumberFormat, tuple[str, ...]]:
    """Return number, category or None (no value) for each column, from all its values; the format; and sentences.

    The format of a sample is used unless numbers with other separators appear later.
    """
    first = _scan(source, layout, names, dialect.numbers, candidates(options, dialect.delimiter))
    differing = {name: formats for name, formats in first.others.items() if formats}
    if not differing:
        return first.types, dialect.numbers, ()
    formats = list(dict.fromkeys(format for found in differing.values() for format in found))
    best = max(formats, key=lambda format: sum(format in found for found in differing.values()))
    second = _scan(source, layout, names, best, ())
    if all(second.types[name] == type for name, type in first.types.items() if type != "category"):
        return second.types, best, ()
    return (
        first.types,
        dialect.numbers,
        (
            f"CSV: {listing(map(repr, differing))} are read as categories, because their numbers have other separators "
            "than those of the other columns. Write all numbers in the same way",
        ),
    )


class _Scan(NamedTuple):
    types: dict[str, str | None]
    others: dict[str, list[NumberFormat]]  # formats in which all values from the first failure are numbers


def _scan(
    source: Source, layout: Layout, names: Sequence[str], format: NumberFormat, formats: Sequence[NumberFormat]
) -> _Scan:
    scan = _Scan(dict.fromkeys(names), {})
    for piece in read_tables(source, layout, names):
        for name in names:
            if scan.types[name] != "category" or scan.others[name]:
                _add(scan, name, piece.rows.column(name), format, formats)
    return scan


def _add(
    scan: _Scan, name: str, column: pa.ChunkedArray, format: NumberFormat, formats: Sequence[NumberFormat]
) -> None:
    if pc.all(pc.equal(column, ""), min_count=0).as_py():
        return
    if scan.types[name] != "category" and is_numbers(column, format):
        scan.types[name] = "number"
        return
    scan.types[name] = "category"
    scan.others[name] = [other for other in scan.others.get(name, formats) if is_numbers(column, other)]


def _setting(format: NumberFormat) -> str:
    return f"dataset.csv.decimal {format.decimal!r} and dataset.csv.thousands {format.thousands or 'none'!r}"


def is_numbers(column: pa.ChunkedArray, format: NumberFormat) -> bool:
    """Return whether all values of a column are numbers in a format, or missing."""
    return parses_as_numbers(column.slice(0, PROBE), format) and parses_as_numbers(column, format)
