"""The columns and the number of rows of all tables of a dataset, before their values are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from labelaudit.data import arrow_files, delimited, jsonl, parquet
from labelaudit.data.csv_detection import find_dialect
from labelaudit.data.csv_dialect import CsvOptions
from labelaudit.data.file_layout import Layout, printable_path
from labelaudit.data.formats import FileSurvey, Format, check_head
from labelaudit.data.source import Source, SourceFile
from labelaudit.data.split_names import TRAINING_SPLITS, split_in_name
from labelaudit.data.values import family, is_binary
from labelaudit.errors import DatasetError


@dataclass(frozen=True)
class TableSurvey:
    """The columns and the number of rows of all tables of a dataset, and the tables that are audited.

    `sentences` say how CSV files are written if that is unusual, and which columns have several types.
    """

    schema: pa.Schema
    rows: int
    layout: Layout
    sentences: tuple[str, ...]


def survey_tables(
    source: Source,
    layout: Layout,
    *,
    label: str | None = None,
    csv: CsvOptions = CsvOptions(),  # noqa: B008, it is immutable
    skips_unreadable: bool = False,
) -> TableSurvey:
    """Return the columns of a dataset, after checking that all shards have the same ones, and the number of its rows.

    A column whose type differs between shards becomes a string column (a float column if all are numbers). The columns
    in the names of folders come last. Files of a test split without the label column are left out, as are examples of
    submissions next to them.

    Args:
        source: the dataset's files.
        layout: its tables and their format.
        label: the label column, if it is known.
        csv: how CSV files are written; what is None is detected.
        skips_unreadable: leave out tables that cannot be read.

    Raises:
        DatasetError: a shard cannot be read or has other columns, or two columns have the same name.
    """
    if skips_unreadable:
        layout = layout.without(_unreadable(source, layout, csv), "it cannot be read")
    layout, sentences = _with_dialect(source, layout, csv)
    surveys = {file.path: _survey_file(source, layout, file) for file in layout.tables}
    schemas = {path: survey.schema for path, survey in surveys.items()}
    submissions = [file for file in layout.tables if _is_submission(file.path)]
    if len(submissions) < len(layout.tables):
        layout = layout.without(submissions, "it is an example of a submission, with labels that are made up")
    layout = layout.without(_without_label(layout, schemas, label), "it has no labels")
    first = schemas[layout.tables[0].path]
    fields = {field.name: field for field in first}
    mixed: dict[str, str] = {}
    for file in layout.tables[1:]:
        # JSON objects may leave out keys, so shards may differ in them.
        if layout.format != Format.JSONL:
            _check_same_columns(layout, file.path, first, schemas[file.path])
        for field in schemas[file.path]:
            known = fields.get(field.name, field)
            if _are_mixed(known.type, field.type):
                mixed[field.name] = f"column {field.name!r} is {known.type} in some files and {field.type} in others"
            fields[field.name] = _merge(known, field)
    # Some writers also store the column in the files.
    layout = replace(layout, partitions=tuple(name for name in layout.partitions if name not in fields))
    fields |= {name: pa.field(name, pa.string()) for name in layout.partitions}
    rows = sum(surveys[file.path].rows for file in layout.tables)
    schema = pa.schema(list(fields.values()), metadata=first.metadata)
    return TableSurvey(schema, rows, layout, (*sentences, *mixed.values()))


def first_column(source: Source, layout: Layout, file: SourceFile) -> str:
    """Return the name of the first column that a file contains."""
    return str(_survey_file(source, layout, file).schema.names[0])


def _unreadable(source: Source, layout: Layout, csv: CsvOptions) -> list[SourceFile]:
    """Return the tables that cannot be read by themselves.

    Raises:
        DatasetError: none of them can be read.
    """
    found = []
    for file in layout.tables:
        try:
            alone, _ = _with_dialect(source, replace(layout, tables=(file,)), csv)
            _survey_file(source, alone, file)
        except DatasetError:
            found.append(file)
    if len(found) == len(layout.tables):
        raise DatasetError(f"None of the {len(found)} tables of {source.url} can be read. Write them again.")
    return found


def _with_dialect(source: Source, layout: Layout, options: CsvOptions) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout with the dialect of its CSV files, and a sentence for each choice that is not the plain one.

    Raises:
        DatasetError: a file cannot be read, or its dialect differs from that of the others.
    """
    if layout.format != Format.CSV:
        return layout, ()
    for file in layout.tables:
        check_head(source, file, layout.format)
    found = find_dialect(source, [file.path for file in layout.tables], options)
    return replace(layout, dialect=found.dialect), found.sentences


def _survey_file(source: Source, layout: Layout, file: SourceFile) -> FileSurvey:
    check_head(source, file, layout.format)
    if layout.dialect is not None:
        survey = delimited.survey_file(source, file.path, layout.dialect)
    else:
        survey = _SURVEYS[layout.format](source, file.path)
    names = survey.schema.names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DatasetError(f"{file.path} has two columns named {repeated[0]!r}. Rename one of them.")
    return survey


def _without_label(layout: Layout, schemas: Mapping[str, pa.Schema], label: str | None) -> list[SourceFile]:
    """Return the files of a test split that have no labels by intention.

    Kaggle publishes datasets so: train.csv, test.csv without the column of labels, sample_submission.csv. A file of
    another name that lacks the column is a mistake, which must not pass silently.
    """
    labeled = [file for file in layout.tables if _may_be_labeled(file.path, schemas[file.path], label)]
    if not labeled:
        return []
    expected = set(schemas[labeled[0].path].names)
    return [
        file
        for file in layout.tables
        if not expected <= set(schemas[file.path].names) and split_in_name(file.path) not in (None, *TRAINING_SPLITS)
    ]


def _may_be_labeled(path: str, schema: pa.Schema, label: str | None) -> bool:
    return split_in_name(path) in TRAINING_SPLITS if label is None else label in schema.names


def _is_submission(path: str) -> bool:
    return "submission" in path.lower()


def _check_same_columns(layout: Layout, path: str, first: pa.Schema, schema: pa.Schema) -> None:
    missing = [name for name in first.names if name not in set(schema.names)]
    extra = [name for name in schema.names if name not in set(first.names)]
    if not missing and not extra:
        return
    difference = f"has no column {missing[0]!r}" if missing else f"has an extra column {extra[0]!r}"
    raise DatasetError(
        f"The shard {printable_path(path)} {difference}, unlike {printable_path(layout.tables[0].path)}. "
        "Write all shards with the same columns, or point dataset.url at one of them."
    )


def _are_mixed(known: pa.DataType, type: pa.DataType) -> bool:
    families = {family(known), family(type)} - {"null"}
    return len(families) > 1


def _merge(known: pa.Field, field: pa.Field) -> pa.Field:
    if known.type == field.type or pa.types.is_null(field.type):
        return known
    if pa.types.is_null(known.type):
        return field
    if pa.types.is_integer(known.type) and pa.types.is_integer(field.type):
        wide = pa.types.is_uint64(known.type) or pa.types.is_uint64(field.type)
        return known.with_type(pa.decimal128(38, 0) if wide else pa.int64())
    families = {family(known.type), family(field.type)}
    binary = [part for part in (known, field) if is_binary(part.type)]
    if families == {"string", "other"} and binary:
        return binary[0]  # perhaps its bytes are text
    if families == {"other"}:
        return known  # such as times in several zones
    if "other" in families:
        return pa.field(known.name, pa.dense_union([known, field]))
    return pa.field(known.name, pa.float64() if families == {"number"} else pa.string(), metadata=known.metadata)


_SURVEYS: Mapping[str, Callable[[Source, str], FileSurvey]] = {
    Format.PARQUET: parquet.survey_file,
    Format.ARROW: arrow_files.survey_file,
    Format.JSONL: jsonl.survey_file,
}
