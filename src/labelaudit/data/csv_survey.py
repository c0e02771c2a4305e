"""One pass over a CSV file that checks how it is written and counts its rows.

Arrow reads the values, but it accepts a quotation mark in any place, so a lone one swallows lines. This pass uses
Python's csv module in strict mode. It is written in C, and it counts rows independently of Arrow.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TextIO

from labelaudit.data.compression import open_decompressed
from labelaudit.data.csv_dialect import Dialect
from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

if TYPE_CHECKING:
    from _csv import Reader

# The longest field in characters. Arrow cannot read a longer row either (`delimited.BLOCK_BYTES`).
MAX_FIELD = 8 << 20
# Excel understands a line that names the delimiter before the header.
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)


class Survey(NamedTuple):
    """The number of rows of a file, and whether a value contains a line break."""

    rows: int
    has_line_breaks: bool


class MisfitError(Exception):
    """A file does not fit a dialect: its path, the line (from 1), and the reason."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        super().__init__(f"{path}, line {line}: {reason}")
        self.path, self.line, self.reason = path, line, reason


def survey(source: Source, path: str, dialect: Dialect) -> Survey:
    """Return how many rows a file has, after checking that all of them fit the dialect.

    Raises:
        MisfitError: a quoted value is not closed at its end, or a row has another number of fields than the header.
        UnicodeError: the file has another encoding.
        DatasetError: there is no header, it is repeated, or a line contains a NUL character.
    """
    with open_text(source, path, dialect.encoding) as text, _long_fields():
        rows = csv_reader(_checked_lines(text, path), dialect)
        try:
            names = _header(rows, path)
            before = rows.line_num
            widths = Counter(map(len, rows))
        except csv.Error as error:
            raise _first_misfit(source, path, dialect) from error
    lines = widths.total()
    blank = widths.pop(0, 0)  # a blank line has no field
    if widths.keys() == {len(names) + 1}:
        reason = f"each row has {len(names) + 1} fields, but the header has {len(names)}. The header of a first column"
        raise MisfitError(path, before, f"{reason} of row names may be missing, or all rows end with a delimiter")
    if widths.keys() - {len(names)}:
        raise _first_misfit(source, path, dialect)
    if dialect.escape is not None:
        _check_no_null(source, path, dialect)
    return Survey(lines - blank, rows.line_num - before > lines)


def read_names(source: Source, path: str, dialect: Dialect) -> list[str]:
    """Return the column names of a file.

    Raises:
        MisfitError: the header line does not fit the dialect.
        DatasetError: there is no header.
    """
    with open_text(source, path, dialect.encoding) as text, _long_fields():
        rows = csv_reader(_checked_lines(text, path), dialect)
        try:
            return _header(rows, path)
        except csv.Error as error:
            raise MisfitError(path, rows.line_num, _explain(error)) from error


@contextmanager
def open_text(source: Source, path: str, encoding: str) -> Iterator[TextIO]:
    """Open a file as text with its line ends as they are, without a byte order mark."""
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with open_decompressed(source, path) as handle:
        text = io.TextIOWrapper(handle, encoding=codec, newline="")
        try:
            yield text
        finally:
            text.detach()


def csv_reader(lines: Iterable[str], dialect: Dialect, *, strict: bool = True) -> Reader:
    """Return Python's reader of rows for a dialect."""
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar=dialect.escape,
        quoting=csv.QUOTE_NONE if dialect.quote is None else csv.QUOTE_MINIMAL,
        strict=strict,
    )


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read fields of more than 128 KiB. Its limit applies to the whole process."""
    before = csv.field_size_limit(MAX_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _checked_lines(text: TextIO, path: str) -> Iterator[str]:
    header = ""
    for number, line in enumerate(text, start=1):
        if "\0" in line:
            raise DatasetError(
                f"{path}, line {number} contains a NUL character. If the file is UTF-16 without a byte order mark, "
                "set dataset.csv.encoding to utf-16-le. Otherwise the file is damaged: write it again."
            )
        if line == header:
            raise DatasetError(
                f"{path}, line {number} is the same as the header line {_short(line)}. "
                "Remove it. If the first line is not a header, add a line of column names."
            )
        if number == 1 and SEPARATOR_LINE.fullmatch(line):
            line = "\n"
        if not header and line.strip():
            header = line
        yield line


def _header(rows: Iterable[list[str]], path: str) -> list[str]:
    names = next((row for row in rows if row), None)
    if names is None:
        raise DatasetError(f"{path} has no header line. Add a line of column names.")
    return names


def _first_misfit(source: Source, path: str, dialect: Dialect) -> MisfitError:
    """Return the error for the first row that is not quoted as in a dialect or has another number of fields."""
    with open_text(source, path, dialect.encoding) as text, _long_fields():
        rows = csv_reader(_checked_lines(text, path), dialect)
        start = 1
        fields = 0
        try:
            for row in rows:
                fields = fields or len(row)
                if row and len(row) != fields:
                    return MisfitError(path, start, f"it has {len(row)} fields, but the header has {fields}")
                start = rows.line_num + 1
        except csv.Error as error:
            return MisfitError(path, start, _explain(error))
    return MisfitError(path, start, "the file changed while it was read")


def _check_no_null(source: Source, path: str, dialect: Dialect) -> None:
    r"""Check that no field is \\N, which MySQL writes for a missing value: the escape would make it the text N."""
    delimiter = re.escape(dialect.delimiter)
    null = re.compile(rf"(?:^|{delimiter})\\N(?:{delimiter}|\r?\n?$)")
    with open_text(source, path, dialect.encoding) as text:
        for number, line in enumerate(text, start=1):
            if null.search(line):
                reason = "it contains \\N for a missing value, but a backslash also escapes quotation marks"
                raise MisfitError(path, number, f"{reason}. Write missing values as empty fields")


def _explain(error: csv.Error) -> str:
    message = str(error)
    if "expected after" in message:
        return "a quotation mark is followed by text instead of the end of the field"
    if "unexpected end of data" in message:
        return "the file ends inside a quoted value"
    if "field larger" in message:
        return (
            f"a value is longer than {MAX_FIELD >> 20} Mi characters, perhaps because its quotation mark is not closed"
        )
    return message


def _short(line: str) -> str:
    line = line.strip()
    return repr(line if len(line) <= 60 else line[:57] + "...")
