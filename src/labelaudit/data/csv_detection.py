"""The dialect of CSV files, detected from their content.

A sample chooses the delimiter. The quotation mark is chosen by reading every file completely (`csv_survey`), because
one mark that is text can swallow lines anywhere.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from labelaudit.data.csv_dialect import CsvOptions, Dialect
from labelaudit.data.csv_encoding import bom_encoding, guess_encoding, normalized_encoding, undecodable
from labelaudit.data.csv_survey import SEPARATOR_LINE, MisfitError, csv_reader, open_text, read_names, survey
from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

# In the order of preference if two fit equally well.
DELIMITERS = (",", "\t", ";", "|", "\x01")
NAMES = {"\t": "a tab", ",": "a comma", ";": "a semicolon", " ": "a space", "\x01": "the character 0x01"}
# Marks inside a quoted value.
DOUBLED_MARKS = re.compile(r'\s""\w|\w""\s')
SAMPLE_CHARACTERS = 1 << 20
DIALECT_ROWS = 1_000


class Found(NamedTuple):
    """A dialect, and a sentence for each choice that is not the plain one."""

    dialect: Dialect
    sentences: tuple[str, ...]


def find_dialect(source: Source, paths: Sequence[str], options: CsvOptions) -> Found:
    """Return how CSV files are written. All of them must fit the same dialect.

    Reads each file once. If the first guess does not fit, it reads them again.

    Args:
        source: the dataset's files.
        paths: the CSV files, at least one.
        options: what the config says.

    Raises:
        DatasetError: a file does not fit any dialect, or not the configured one.
    """
    encoding = normalized_encoding(options.encoding) if options.encoding else bom_encoding(source, paths[0]) or "utf-8"
    try:
        return _in_encoding(source, paths, options, encoding)
    except UnicodeError as error:
        # The configured encoding and a byte order mark are not guesses.
        if options.encoding or encoding != "utf-8":
            path = next(path for path in paths if not _is_readable(source, path, encoding))
            raise undecodable(source, path, encoding) from error
    encoding = guess_encoding(source, paths)
    sentence = f"CSV: the files are not UTF-8; {encoding} is a guess. If letters are wrong, set dataset.csv.encoding"
    try:
        found = _in_encoding(source, paths, options, encoding)
    except UnicodeError as error:
        path = next(path for path in paths if not _is_readable(source, path, encoding))
        raise undecodable(source, path, encoding) from error
    return Found(found.dialect, (sentence, *found.sentences))


def _in_encoding(source: Source, paths: Sequence[str], options: CsvOptions, encoding: str) -> Found:
    with open_text(source, paths[0], encoding) as text:
        sample = text.read(SAMPLE_CHARACTERS)
    path = paths[0]
    delimiter = _given_delimiter(options) or _delimiter(sample, path)
    dialect = Dialect(delimiter=delimiter, encoding=encoding, missing=options.missing or ())
    found = _quoted(source, paths, options, dialect, sample)
    names = read_names(source, path, found.dialect)
    if options.delimiter and len(names) == 1:
        raise DatasetError(
            f"dataset.csv.delimiter is {options.delimiter!r}, but the header of {path} does not contain it: "
            f"{names[0][:80]!r}. Set it to the character between the fields, or to auto."
        )
    sentences = list(found.sentences)
    if encoding == "utf-16" and not options.encoding:
        sentences.append(f"CSV: the encoding is {encoding}, by the byte order mark")
    if delimiter != _usual_delimiter(path) and not options.delimiter:
        sentences.insert(0, f"CSV: the delimiter is {NAMES.get(delimiter, repr(delimiter))}")
    return Found(found.dialect, tuple(sentences))


def _given_delimiter(options: CsvOptions) -> str | None:
    """Return the configured delimiter, after checking the lengths of the configured characters."""
    delimiter = "\t" if options.delimiter in ("\\t", "tab") else options.delimiter
    if delimiter is not None and len(delimiter) != 1:
        raise DatasetError(f"dataset.csv.delimiter is {delimiter!r}. Set it to one character, tab or auto.")
    if options.quote not in (None, "none") and len(str(options.quote)) != 1:
        raise DatasetError(f"dataset.csv.quote is {options.quote!r}. Set it to one character, none or auto.")
    return delimiter


def _usual_delimiter(path: str) -> str:
    return "\t" if ".tsv" in path.rpartition("/")[2].lower() else ","


def _delimiter(sample: str, path: str) -> str:
    """Return the delimiter that splits most rows of a sample into as many fields as the header."""
    separator = SEPARATOR_LINE.match(sample)
    if separator:
        return separator[1]
    usual = _usual_delimiter(path)
    ranked = sorted(DELIMITERS, key=lambda delimiter: (*_consistency(sample, delimiter), delimiter == usual))
    return ranked[-1] if _consistency(sample, ranked[-1])[1] > 1 else usual


def _consistency(sample: str, delimiter: str) -> tuple[float, int]:
    """Return the share of rows with as many fields as the header, and this number; (0, 1) if it is one."""
    best = (0.0, 1)
    lines = list(io.StringIO(sample, newline=""))
    if len(lines) > 2 and len(sample) >= SAMPLE_CHARACTERS:
        lines.pop()  # it may be cut off
    for quote in ('"', None):
        widths = [len(row) for row in islice(_rows(lines, Dialect(delimiter, quote)), DIALECT_ROWS) if row]
        if widths and widths[0] > 1:
            best = max(best, (sum(width == widths[0] for width in widths[1:]) / max(len(widths) - 1, 1), widths[0]))
    return best


def _rows(lines: Sequence[str], dialect: Dialect) -> Iterator[list[str]]:
    try:
        yield from csv_reader(iter(lines), dialect, strict=False)
    except csv.Error:  # a long field
        return


def _quoted(source: Source, paths: Sequence[str], options: CsvOptions, dialect: Dialect, sample: str) -> Found:
    """Return the first way of quoting that all rows of all files fit."""
    failures: list[MisfitError] = []
    is_plain = options.quote is None and not _encloses_values(sample, dialect) and not DOUBLED_MARKS.search(sample)
    for candidate, sentence in _ways_of_quoting(dialect, options, sample):
        try:
            rows = _survey_all(source, paths, candidate, suspects_text=is_plain)
        except MisfitError as error:
            failures.append(error)
            continue
        if rows is not None:
            return Found(replace(candidate, rows=rows), (sentence,) if sentence and not options.quote else ())
    raise _unfitting(failures)


def _ways_of_quoting(dialect: Dialect, options: CsvOptions, sample: str) -> Iterator[tuple[Dialect, str]]:
    marks = ['"'] if options.quote is None else [] if options.quote == "none" else [options.quote]
    if options.quote is None and _is_in_single_marks(sample, dialect.delimiter):
        marks.insert(0, "'")
    for mark in marks:
        sentence = "" if mark == '"' else f"CSV: values are quoted with {mark}"
        yield replace(dialect, quote=mark), sentence
        yield replace(dialect, quote=mark, escape="\\"), "CSV: a backslash escapes quotation marks inside values"
    if options.quote == "none" or (options.quote is None and not _encloses_values(sample, dialect)):
        sentence = (
            "CSV: quotation marks are text, because they do not enclose values. If this is wrong, set dataset.csv.quote"
        )
        yield replace(dialect, quote=None), sentence


def _encloses_values(sample: str, dialect: Dialect) -> bool:
    """Return whether most fields of a sample that begin with a quotation mark also end with one."""
    rows = _rows(list(io.StringIO(sample, newline="")), replace(dialect, quote=None))
    quoted = [field for row in islice(rows, DIALECT_ROWS) for field in row if field.startswith('"')]
    return sum(len(field) > 1 and field.endswith('"') for field in quoted) * 2 > len(quoted)


def _is_in_single_marks(sample: str, delimiter: str) -> bool:
    names = sample.partition("\n")[0].strip().split(delimiter)
    return all(len(name) > 1 and name[0] == name[-1] == "'" for name in names)


def _survey_all(
    source: Source, paths: Sequence[str], dialect: Dialect, *, suspects_text: bool
) -> dict[str, int] | None:
    """Return the rows of each file; None if quotation marks swallow lines that fit without quoting.

    Two marks that are text may enclose whole lines, and nothing else is wrong with such a file. Values that do contain
    line breaks hardly ever have the right number of fields on each of their lines.
    """
    rows = {}
    for path in paths:
        found = survey(source, path, dialect)
        if found.has_line_breaks and suspects_text and _fits(source, path, replace(dialect, quote=None, escape=None)):
            return None
        rows[path] = found.rows
    return rows


def _fits(source: Source, path: str, dialect: Dialect) -> bool:
    try:
        return len(read_names(source, path, dialect)) > 1 and survey(source, path, dialect).rows > 0
    except MisfitError:
        return False


def _unfitting(failures: Sequence[MisfitError]) -> DatasetError:
    """Return the error for files that fit no way of quoting, from the way that got furthest."""
    last = max(failures, key=lambda failure: (failure.line, "\\N" in failure.reason))
    return DatasetError(
        f"{last.path}, line {last.line} cannot be read as CSV: {last.reason}. "
        "Correct the file, or set dataset.csv.delimiter or dataset.csv.quote."
    )


def _is_readable(source: Source, path: str, encoding: str) -> bool:
    try:
        with open_text(source, path, encoding) as text:
            for _ in text:
                pass
    except UnicodeError:
        return False
    return True
