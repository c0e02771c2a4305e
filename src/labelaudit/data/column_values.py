"""How the values of columns are read: bytes as text, numbers with separators, and texts for a missing label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from labelaudit.data.csv_dialect import PLAIN_NUMBERS, CsvOptions
from labelaudit.data.csv_labels import find_markers
from labelaudit.data.csv_numbers import (
    as_plain,
    candidates,
    check_configured,
    describe_numbers,
    find_format,
    scan_types,
)
from labelaudit.data.file_layout import Layout
from labelaudit.data.inputs import Inputs, InputSample
from labelaudit.data.parquet import text_columns, with_texts
from labelaudit.data.source import Source
from labelaudit.data.values import family, is_binary, to_strings
from labelaudit.errors import DatasetError

_FEATURE_OF_FAMILY = {"number": "number", "string": "category", "bool": "category", "null": None}


def with_strings(layout: Layout, schema: pa.Schema, rows: pa.Table) -> tuple[Layout, pa.Schema, pa.Table]:
    """Return layout, schema and sample with strings instead of bytes that are text, and of types that shards mix."""
    texts = text_columns(rows, schema) if layout.format == "parquet" else ()
    rows = with_texts(rows, texts, layout.tables[0].path if layout.tables else "")
    for index, column in enumerate(schema):
        if column.name in texts:
            schema = schema.set(index, column.with_type(pa.string()))
    for index, name in enumerate(rows.column_names):
        if family(schema.field(name).type) == "string" and family(rows.column(name).type) in ("number", "bool"):
            rows = rows.set_column(index, name, to_strings(rows.column(name)))
    return replace(layout, text_columns=texts), schema, rows


def names_in_hex(schema: pa.Schema, names: Iterable[str | None]) -> list[str]:
    """Return a sentence for each id or group that is bytes but not text."""
    binary = [name for name in names if name is not None and is_binary(schema.field(name).type)]
    return [f"column {name!r} contains bytes that are not text: they are written in hex" for name in binary]


def with_number_format(
    layout: Layout, rows: pa.Table, options: CsvOptions, kept: Sequence[str | None]
) -> tuple[Layout, pa.Table]:
    """Return the layout with the format of the numbers in a sample of CSV rows, and the sample with plain numbers."""
    if layout.dialect is None:
        return layout, rows
    free = rows.select([name for name in rows.column_names if name not in kept])
    numbers = find_format(free, candidates(options, layout.dialect.delimiter))
    check_configured(free, numbers, options)
    return replace(layout, dialect=replace(layout.dialect, numbers=numbers)), as_plain(rows, numbers, kept)


def with_label_markers(
    source: Source, layout: Layout, label: str | None, sample: InputSample, options: CsvOptions
) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout with the texts that mean no label in a CSV file, and a sentence if there are any."""
    if label is None or layout.dialect is None or options.missing is not None or label in layout.partitions:
        return layout, ()
    paths = [file.path for file in layout.tables]
    found = find_markers(source, paths, label, sample.rows.column(label), layout.dialect)
    return replace(layout, dialect=found.dialect), (found.sentence,) if found.sentence else ()


def feature_types(
    source: Source, layout: Layout, sample: InputSample, chosen: Inputs, options: CsvOptions, *, is_auto: bool
) -> tuple[Layout, tuple[str, ...], Inputs]:
    """Return number or category for each input of a table, from all its values; columns without any are dropped."""
    if chosen.kind != "table":
        return layout, (), chosen
    types: dict[str, str | None]
    sentences: tuple[str, ...] = ()
    if layout.dialect is not None:
        types, numbers, sentences = scan_types(source, layout, chosen.names, layout.dialect, options)
        layout = replace(layout, dialect=replace(layout.dialect, numbers=numbers))
        sentences = (*sentences, describe_numbers(numbers)) if numbers != PLAIN_NUMBERS else sentences
    else:
        families = {name: family(sample.schema.field(name).type) for name in chosen.names}
        types = {name: _FEATURE_OF_FAMILY[families[name]] for name in chosen.names}
    empty = [name for name, type in types.items() if type is None]
    if empty and (not is_auto or len(empty) == len(types)):
        raise DatasetError(f"Column {empty[0]!r} cannot be an input: it is empty in all rows. Name another one.")
    chosen = chosen.without(empty, "it has no value")
    kept = tuple(type for type in types.values() if type is not None)
    return layout, kept, chosen._replace(guesses=(*chosen.guesses, *sentences))
