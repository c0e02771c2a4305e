"""CSV files that people fill in with any program: written safely, read strictly.

A text that a spreadsheet would run as a formula gets an apostrophe in front, and so does a text that begins with an
apostrophe. Reading removes one apostrophe. So every text comes back exactly, and none is a formula. The same is done
after semicolons, tabs and line breaks inside a text, because a spreadsheet that separates cells by them begins a cell
there, with or without quotes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from labelaudit.errors import ReviewError
from labelaudit.reviews.drafts import Draft, parse_draft

MARK = "'"
# A cell may begin here.
_BEGINNING = r"(?:\A|(?<=[;\t\r\n]))"
# The characters that begin a formula (OWASP, "CSV Injection"), also in full width, and the mark itself.
_TO_MARK = re.compile(_BEGINNING + r"(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20'])")
_SEPARATORS = re.compile("[;\t\r\n]")
_MARKED = re.compile(_BEGINNING + MARK)
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]+)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
REQUIRED = ("example_id", "verdict")


def guarded(text: str) -> str:
    """Return the text as a cell. Numbers stay as they are, even negative ones."""
    # Nearly all texts, which matters for millions of rows.
    if not _TO_MARK.match(text) and not _SEPARATORS.search(text):
        return text
    return text if _NUMBER.fullmatch(text) else _TO_MARK.sub(MARK, text)


def unguarded(cell: str) -> str:
    """Return the text of a cell."""
    return _MARKED.sub("", cell)


def csv_bytes(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """Return a CSV file with a header: UTF-8, all cells in quotes, None as an empty cell, other values as text."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return sink.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    # A number is never a formula.
    return guarded(value) if isinstance(value, str) else str(value)


def read_spreadsheet(data: bytes, name: str) -> list[Draft]:
    """Return the drafts in a filled CSV file, without lines that have no verdict.

    The columns are `example_id`, `verdict`, and optionally `right_label`, `remove_reason`, `given_label` and
    `content_digest`. Other columns are ignored, and so are empty cells after the last column. Cells are separated by
    commas, semicolons or tabs.

    Raises:
        ReviewError: if it is not such a file.
    """
    header, lines = _header(_decoded(data, name), name)
    drafts = []
    for number, cells in lines:
        values = dict(zip(header, map(unguarded, cells), strict=False))
        draft = parse_draft(
            f"line {number}",
            values.get("example_id", ""),
            values.get("verdict", ""),
            values.get("right_label", ""),
            values.get("remove_reason", ""),
            values.get("given_label"),
            values.get("content_digest"),
        )
        if any(cells[len(header) :]):
            problem = f"{len(cells)} cells under {len(header)} columns"
            draft = Draft(values["example_id"], None, place=f"line {number}", problem=problem)
        if draft is not None:
            drafts.append(draft)
    return drafts


def _decoded(data: bytes, name: str) -> str:
    try:
        # Spreadsheets write a byte order mark at the beginning.
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
        f"{name} {'has the columns ' + ', '.join(map(repr, first[:10])) if first else 'is empty'}. The first line must "
        f"name {' and '.join(REQUIRED)} once each, right_label if a label is wrong, and "
        "remove_reason if a row is to be removed."
    )


def _lines(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, each with its line number."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            if any(cells):
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ReviewError(
            f"{name} is not a CSV file ({error}, line {reader.line_num}). Save it as CSV again."
        ) from error
