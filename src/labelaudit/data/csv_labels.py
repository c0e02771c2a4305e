"""Which texts in the label column of CSV files, such as NA, mean that a row has no label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.csv_dialect import Dialect
from labelaudit.data.delimited import read_tables
from labelaudit.data.labels import NUMBER
from labelaudit.data.source import Source
from labelaudit.data.values import MISSING_NUMBERS
from labelaudit.text import listing

MARKERS = frozenset(MISSING_NUMBERS.to_pylist()) - {""}


class Markers(NamedTuple):
    """A dialect that names the texts without a label, and a sentence if there are any."""

    dialect: Dialect
    sentence: str | None


def find_markers(
    source: Source, paths: Sequence[str], label: str, sample: pa.ChunkedArray, dialect: Dialect
) -> Markers:
    """Return which texts mean that a row has no label.

    NA is a class like any other, unless all other labels are numbers, or all other labels are quoted and NA is not, as
    R writes it. The column is read completely if the sample suggests one of these.

    Args:
        source: the dataset's files.
        paths: its CSV files.
        label: the label column.
        sample: its first values.
        dialect: how the files are written.
    """
    names = [name for name in pc.unique(sample).to_pylist() if name and name.strip() and not _is_marker(name)]
    is_numeric = _are_numbers(names)
    if not is_numeric and not _is_quoted(source, paths[:1], label, names, dialect):
        return Markers(dialect, None)
    counts = _counts(read_label(source, paths, label, dialect))
    markers = tuple(sorted(name for name in counts if _is_marker(name)))
    names = [name for name in counts if name.strip() and name not in markers]
    if not markers or not names:
        return Markers(dialect, None)
    if _are_numbers(names):
        count = sum(counts[name] for name in markers)
        found = replace(dialect, no_label=markers)
        return Markers(found, _sentence(count, markers, "the other labels are numbers"))
    if not _is_quoted(source, paths, label, names, dialect):
        return Markers(dialect, None)
    found = replace(dialect, no_label=markers, no_label_is_unquoted=True)
    count = sum(column.null_count for column in read_label(source, paths, label, found))
    if not count:
        return Markers(dialect, None)
    return Markers(found, _sentence(count, markers, "the other labels are quoted"))


def read_label(source: Source, paths: Iterable[str], label: str, dialect: Dialect) -> Iterator[pa.ChunkedArray]:
    """Yield the label column, block by block."""
    for path in paths:
        for table in read_tables(source, path, [label], dialect, label=label):
            yield table.column(label)


def _sentence(count: int, markers: Sequence[str], reason: str) -> str:
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    return (
        f"labels: {rows} no label, because {listing(markers)} means a missing value if {reason}. "
        "If it is a class, set dataset.csv.missing to []"
    )


def _is_marker(name: str) -> bool:
    return name.strip().lower() in MARKERS


def _are_numbers(names: Sequence[str]) -> bool:
    return bool(names) and all(NUMBER.fullmatch(name.strip()) for name in names)


def _counts(columns: Iterable[pa.ChunkedArray]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for column in columns:
        for entry in pc.value_counts(column).to_pylist():
            counts[entry["values"]] += entry["counts"]
    return counts


def _is_quoted(source: Source, paths: Sequence[str], label: str, names: Sequence[str], dialect: Dialect) -> bool:
    """Return whether each label that is not missing is in quotation marks."""
    if dialect.quote is None or not names:
        return False
    # Arrow returns null for such values if they are not quoted.
    probe = replace(dialect, no_label=tuple(names), no_label_is_unquoted=True)
    return all(column.null_count == 0 for column in read_label(source, paths, label, probe))
