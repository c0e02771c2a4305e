"""CSV files that people fill in, in whatever program: written safely, read strictly.

A cell whose text a spreadsheet would run as a formula gets an apostrophe before it, and so does one that begins
with an apostrophe; reading takes one apostrophe away. So every text comes back exactly, and none is a formula. The same
is done behind semicolons, tabs and line breaks within a text: a spreadsheet that separates cells by them, and not by
commas, begins a cell there, quotes or not.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from labelaudit.errors import ReviewError
from labelaudit.reviews.judging import Judgement
from labelaudit.reviews.words import as_judgement
from labelaudit.text import listing

MARK = "'"
# Where a cell may begin.
_BEGINNING = r"(?:\A|(?<=[;\t\r\n]))"
# With what a formula begins for spreadsheets (OWASP, "CSV Injection"), also in full width; and the mark itself.
_TO_MARK = re.compile(_BEGINNING + r"(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20'])")
_MARKED = re.compile(_BEGINNING + MARK)
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]+)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
REQUIRED = ("example_id", "verdict")


def guarded(text: str) -> str:
    """The text as a cell. Numbers, negative ones too, stay as they are."""
    return text if _NUMBER.fullmatch(text) else _TO_MARK.sub(MARK, text)


def unguarded(cell: str) -> str:
    """The text of a cell."""
    return _MARKED.sub("", cell)


def csv_bytes(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """A CSV file with a header, UTF-8, all cells in quotes; None is an empty cell, all other values as text."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([["" if value is None else guarded(str(value)) for value in row] for row in rows])
    return sink.getvalue().encode()


def read_judgements(data: bytes, name: str) -> list[Judgement]:
    """What a filled file says, line by line; lines without a verdict are left out.

    Columns `example_id` and `verdict`, where needed `right_label`, and `given_label` and `content_digest`, which are
    compared with the audit's; others are ignored, and so are empty cells beyond the last column, which spreadsheets
    leave. Commas, semicolons or tabs between the cells.
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
        if any(cells[len(header) :]):
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
        while header and not header[-1]:
            header.pop()
        named = list(filter(None, header))
        if all(column in named for column in REQUIRED) and len(set(named)) == len(named):
            return header, lines
    raise ReviewError(
        f"{name} has the columns {listing(map(repr, first), shown=10) or 'of an empty file'}; a review needs "
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
