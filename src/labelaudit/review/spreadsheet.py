"""CSV files that people fill in, in whatever program: written safely, read strictly.

A cell whose text a spreadsheet would run as a formula gets an apostrophe before it, and so does one that begins
with an apostrophe; reading takes one apostrophe away. So every text comes back exactly, and none is a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from labelaudit.errors import ReviewError
from labelaudit.review.judging import Judgement
from labelaudit.review.words import as_judgement

# What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection"), also in full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]+)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
MARK = "'"
REQUIRED = ("example_id", "verdict")


def guarded(text: str) -> str:
    """The text as a cell. Numbers, negative ones too, stay as they are."""
    is_formula = text.startswith(_FORMULA) and _NUMBER.fullmatch(text) is None
    return MARK + text if is_formula or text.startswith(MARK) else text


def unguarded(cell: str) -> str:
    """The text of a cell."""
    return cell.removeprefix(MARK)


def csv_bytes(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """A CSV file with a header, UTF-8; None is an empty cell, all other values as text."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(columns)
    writer.writerows([["" if value is None else guarded(str(value)) for value in row] for row in rows])
    return sink.getvalue().encode()


def read_judgements(data: bytes, name: str) -> list[Judgement]:
    """What a filled file says, line by line; lines without a verdict are left out.

    Columns `example_id` and `verdict`, where needed `right_label`, and `given_label` and `content_digest`, which are
    compared with the audit's; others are ignored. Commas, semicolons or tabs between the cells.
    Raises `ReviewError` where it is no such file.
    """
    header, lines = _header(_decoded(data, name), name)
    judgements = []
    for number, cells in lines:
        values = dict(zip(header, map(unguarded, cells), strict=False))
        judgement = as_judgement(
            f"line {number}",
            values.get("example_id", ""),
            values.get("verdict", ""),
            values.get("right_label", ""),
            values.get("given_label"),
            values.get("content_digest"),
        )
        if len(cells) > len(header):
            problem = f"{len(cells)} cells under {len(header)} columns"
            judgement = Judgement(values["example_id"], None, place=f"line {number}", problem=problem)
        if judgement is not None:
            judgements.append(judgement)
    return judgements


def _decoded(data: bytes, name: str) -> str:
    try:
        # Spreadsheets write a mark of the encoding at the beginning.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReviewError(
            f"{name} is not UTF-8 text (byte {error.start}). Save it as CSV with the encoding UTF-8."
        ) from error


def _header(text: str, name: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    first: list[str] = []
    for delimiter in ",;\t":
        lines = _lines(text, delimiter, name)
        _, cells = next(lines, (0, []))
        first = first or [cell.strip() for cell in cells]
        header = [cell.strip() for cell in cells]
        if all(header.count(column) == 1 for column in REQUIRED) and len(set(header)) == len(header):
            return header, lines
    raise ReviewError(
        f"{name} has the columns {', '.join(map(repr, first[:10])) or 'of an empty file'}; a review needs "
        f"{' and '.join(REQUIRED)}, and right_label for what is wrong, once each, in the first line."
    )


def _lines(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not empty, with the number at which each begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            if any(cells):
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ReviewError(f"{name} is no CSV file ({error}, line {reader.line_num}). Save it as CSV again.") from error
