"""The role of each column: label, id, group and inputs of a dataset, as configured or guessed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import JsonObject
from labelaudit.data.csv_dialect import PLAIN_NUMBERS, CsvOptions, Dialect
from labelaudit.data.csv_labels import find_markers
from labelaudit.data.csv_numbers import (
    as_plain,
    candidates,
    check_configured,
    describe_numbers,
    find_format,
    scan_types,
)
from labelaudit.data.file_layout import IMAGE_FOLDER, Layout, files_left_out, find_layout
from labelaudit.data.image_depth import NO_RANGES, ValueRanges
from labelaudit.data.image_files import ImageFiles
from labelaudit.data.image_geometry import MAX_SIDE, Geometry, folder_geometry, table_geometry
from labelaudit.data.inputs import Inputs, InputSample, choose_auto, choose_named
from labelaudit.data.labels import check_label_type
from labelaudit.data.parquet import text_columns, with_texts
from labelaudit.data.row_indexes import find_row_numbers
from labelaudit.data.source import Source
from labelaudit.data.split_names import are_splits
from labelaudit.data.table_survey import TableSurvey, survey_tables
from labelaudit.data.tables import read_sample, read_tables
from labelaudit.data.values import family, is_binary, parses_as_numbers, to_strings
from labelaudit.errors import DatasetError
from labelaudit.findings import SHOWN_NAMES, LeftOut
from labelaudit.schemas import INPUT_KINDS
from labelaudit.text import closest, listing

LABEL_NAMES = (
    "label",
    "labels",
    "given_label",
    "target",
    "targets",
    "class",
    "class_name",
    "class_label",
    "category",
    "y",
)
ID_NAMES = ("id", "example_id", "sample_id", "uuid", "guid", "image_id", "key", "idx", "_id")
# An id column may contain a few duplicates, which the audit reports. A category named "key" has many.
MIN_UNIQUE_IDS = 0.9
# Values that must be names of image files, and how many are looked at.
MIN_NAMES = 0.9
SAMPLE_NAMES = 64
SPLIT_NAMES = ("split", "subset", "partition", "data_split", "set", "usage")


@dataclass(frozen=True)
class Columns:
    """How a dataset is read."""

    format: str  # parquet | arrow | csv | jsonl | image_folder
    kind: str  # image | text | table
    label: str | None  # None: the folder is the label
    id: str | None  # None: the path in an image folder, else a hash of the content
    group: str | None
    inputs: tuple[str, ...]
    input_types: tuple[str, ...]  # number | category, one for each input of a table
    label_names: tuple[str, ...]  # names of the integer labels 0, 1, … (Hugging Face ClassLabel)
    image_size: tuple[int, int]  # (height, width) of decoded images; (0, 0) if kind is not image
    image_channels: int  # 1 or 3; 0 if kind is not image
    guesses: tuple[str, ...]  # one sentence for each guess, for people
    image_ranges: ValueRanges = NO_RANGES  # black and white of images with more than 8 bits
    left_out: tuple[LeftOut, ...] = ()  # files and columns that are not read, by reason
    split: str | None = None  # column; None: files and folders name the splits, or there are none
    partitions: tuple[str, ...] = ()  # columns in the names of folders
    excluded: tuple[str, ...] = ()  # paths of tables that are not read
    rename: dict[str, str] = field(default_factory=dict)  # other names for given labels
    csv: Dialect | None = None  # how CSV files are written
    text_columns: tuple[str, ...] = ()  # columns of a Parquet file whose bytes are text
    stored_rows: int = 0  # rows in storage, counted without reading their values

    def find_layout(self, source: Source) -> Layout:
        """Return the files that are read.

        Raises:
            DatasetError: their format has changed.
        """
        layout = find_layout(source, skips_unreadable=True)
        if layout.format != self.format:
            raise DatasetError(
                f"{source.url} was {self.format} and is now {layout.format}. Publish changed data as a new version."
            )
        excluded = [file for file in layout.tables if file.path in set(self.excluded)]
        return replace(
            layout.without(excluded, ""),
            partitions=self.partitions,
            dialect=self.csv,
            text_columns=self.text_columns,
        )


def resolve_columns(
    source: Source,
    *,
    label: str | None = None,
    id: str | None = None,
    input: str | Sequence[str] = "auto",
    kind: str = "auto",
    group: str | None = None,
    ignore: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    skips_unreadable: bool = False,
    csv: CsvOptions = CsvOptions(),  # noqa: B008, it is immutable
) -> Columns:
    """Return how to read a dataset. What is not named is guessed from names, types and the first rows.

    Reads schemas and first rows. CSV and JSONL tables are read completely, because a column is a number
    only if all its values are.

    Args:
        source: the dataset's files.
        label: column name; None: guess.
        id: column name; None: guess.
        group: column name; None: no groups.
        input: "auto", a column name, or several.
        kind: auto | image | text | table.
        ignore: columns that are not read.
        image_size: (height, width) to decode images to.
        skips_unreadable: leave out files that look like data but cannot be read.
        csv: how CSV files are written; what is None is detected.

    Raises:
        DatasetError: files cannot be read, a named column does not exist, or no column fits.
    """
    if kind not in INPUT_KINDS:
        raise DatasetError(f"The kind {kind!r} is unknown. Use one of {', '.join(INPUT_KINDS)}.")
    if image_size is not None and not all(1 <= side <= MAX_SIDE for side in image_size):
        raise DatasetError(f"image_size {image_size} is out of range. Each side must be 1 to {MAX_SIDE} pixels.")
    found = find_layout(source, skips_unreadable=skips_unreadable)
    if found.format == IMAGE_FOLDER:
        layout = found
        named = [name for name in (label, id, group, None if input == "auto" else input, *ignore) if name is not None]
        return _image_folder(source, layout, named, kind, image_size)
    survey = survey_tables(source, found, label=label, csv=csv, skips_unreadable=skips_unreadable)
    _check_named(survey.schema, source, {"label": label, "id": id, "group": group}, input, ignore)
    rows = read_sample(source, survey.layout, [name for name in survey.schema.names if name not in set(ignore)])
    layout, schema, rows = _with_texts(survey.layout, survey.schema, rows)
    layout, rows = _with_number_format(layout, rows, csv, [label, id, group])
    sample = InputSample(
        rows,
        schema,
        _hugging_face_features(schema),
        is_untyped=layout.format == "csv",
        image_names=_image_names(source, layout, rows),
    )
    guesses = [*survey.sentences]
    label = label or _guess_label(sample, [id, group, input], guesses)
    check_label_type(label, schema.field(label).type)
    id = id or _guess_id(sample, [label, group, input], guesses)
    _check_names(sample, [id, group])
    guesses += _names_in_hex(schema, [id, group])
    split = _guess_split(sample, [label, id, group, input], guesses)
    guesses += _split_guesses(layout)
    chosen = _choose_inputs(sample, input, kind, {label, id, group, split})
    if input == "auto" and chosen.kind == "table":
        chosen = chosen.without(find_row_numbers(source, layout, rows, chosen.names), "it numbers the rows")
    layout, types, chosen = _feature_types(source, layout, sample, chosen, csv, is_auto=input == "auto")
    layout, marker_guesses = _with_markers(source, layout, label, sample, csv)
    geometry = _geometry(source, layout, sample, chosen, image_size)
    label_names = sample.features.get(label, {}).get("names")
    return Columns(
        format=layout.format,
        kind=chosen.kind,
        label=label,
        id=id,
        group=group,
        inputs=chosen.names,
        input_types=types,
        label_names=tuple(map(str, label_names)) if isinstance(label_names, list) else (),
        image_size=geometry.size,
        image_channels=geometry.channels,
        image_ranges=geometry.ranges,
        guesses=(*guesses, *marker_guesses, *chosen.guesses, *geometry.guesses),
        left_out=(
            *layout.left_out,
            *_left_out_columns({**dict.fromkeys(ignore, "ignored by the config"), **chosen.left_out}),
            *_unreferenced_images(source, layout, chosen),
        ),
        split=split,
        partitions=layout.partitions,
        excluded=_excluded(found, survey),
        csv=layout.dialect,
        text_columns=layout.text_columns,
        stored_rows=survey.rows,
    )


def _excluded(found: Layout, survey: TableSurvey) -> tuple[str, ...]:
    kept = {file.path for file in survey.layout.tables}
    return tuple(file.path for file in found.tables if file.path not in kept)


def _image_names(source: Source, layout: Layout, rows: pa.Table) -> frozenset[str]:
    """Return the columns of strings whose first values are names of image files of the dataset."""
    if not layout.images:
        return frozenset()
    images = ImageFiles(source, layout.images)
    table = layout.tables[0].path
    found = set()
    for name in rows.column_names:
        if family(rows.schema.field(name).type) != "string":
            continue
        values = [value for value in pc.unique(rows.column(name)).slice(0, SAMPLE_NAMES).to_pylist() if value]
        if values and sum(images.find(table, value) is not None for value in values) >= MIN_NAMES * len(values):
            found.add(name)
    return frozenset(found)


def _unreferenced_images(source: Source, layout: Layout, chosen: Inputs) -> tuple[LeftOut, ...]:
    """Return the image files that are in no row."""
    if not layout.images or chosen.kind != "image":
        return ()
    images = ImageFiles(source, layout.images)
    used: set[str | None] = set()
    for piece in read_tables(source, layout, chosen.names):
        column = piece.rows.column(0)
        values = column if family(column.type) == "string" else pc.struct_field(column, "path")
        used |= {images.find(piece.file, value) for value in values.to_pylist() if value}
    unused = [file.path for file in layout.images if file.path not in used]
    return (files_left_out(unused, "no row of the table names it"),) if unused else ()


def _with_texts(layout: Layout, schema: pa.Schema, rows: pa.Table) -> tuple[Layout, pa.Schema, pa.Table]:
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


def _names_in_hex(schema: pa.Schema, names: Iterable[str | None]) -> list[str]:
    """Return a sentence for each id or group that is bytes but not text."""
    binary = [name for name in names if name is not None and is_binary(schema.field(name).type)]
    return [f"column {name!r} contains bytes that are not text: they are written in hex" for name in binary]


def _with_number_format(
    layout: Layout, rows: pa.Table, options: CsvOptions, kept: Sequence[str | None]
) -> tuple[Layout, pa.Table]:
    """Return the layout with the format of the numbers in a sample of CSV rows, and the sample with plain numbers."""
    if layout.dialect is None:
        return layout, rows
    free = rows.select([name for name in rows.column_names if name not in kept])
    numbers = find_format(free, candidates(options, layout.dialect.delimiter))
    check_configured(free, numbers, options)
    return replace(layout, dialect=replace(layout.dialect, numbers=numbers)), as_plain(rows, numbers, kept)


def _with_markers(
    source: Source, layout: Layout, label: str, sample: InputSample, options: CsvOptions
) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout with the texts that mean no label in a CSV file, and a sentence if there are any."""
    if layout.dialect is None or options.missing is not None:
        return layout, ()
    paths = [file.path for file in layout.tables]
    found = find_markers(source, paths, label, sample.rows.column(label), layout.dialect)
    return replace(layout, dialect=found.dialect), (found.sentence,) if found.sentence else ()


def _left_out_columns(reasons: Mapping[str, str]) -> tuple[LeftOut, ...]:
    """Return the columns that are not used, grouped by the reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return tuple(LeftOut("column", reason, len(names), tuple(names[:SHOWN_NAMES])) for reason, names in groups.items())


def _image_folder(
    source: Source, layout: Layout, named: Sequence[object], kind: str, image_size: tuple[int, int] | None
) -> Columns:
    if named:
        raise DatasetError(
            f"{source.url} is an image folder, which has no column {named[0]!r}. Its folders are the labels "
            "and its paths the ids. Leave label, id, group, input and ignore out."
        )
    if kind not in ("auto", "image"):
        raise DatasetError(f"{source.url} is an image folder, but dataset.kind is {kind}. Leave dataset.kind out.")
    geometry = folder_geometry(source, layout, image_size)
    return Columns(
        format=IMAGE_FOLDER,
        kind="image",
        label=None,
        id=None,
        group=None,
        inputs=(),
        input_types=(),
        label_names=(),
        image_size=geometry.size,
        image_channels=geometry.channels,
        image_ranges=geometry.ranges,
        guesses=("labels: the names of the folders", *geometry.guesses),
        left_out=layout.left_out,
        stored_rows=len(layout.images),
    )


def _geometry(
    source: Source, layout: Layout, sample: InputSample, chosen: Inputs, image_size: tuple[int, int] | None
) -> Geometry:
    if chosen.kind == "image":
        column = sample.rows.column(chosen.names[0])
        return table_geometry(source, layout, chosen.names[0], column, image_size)
    if layout.images:
        raise DatasetError(
            f"{source.url} contains {layout.tables[0].path} and {len(layout.images)} images "
            f"({layout.images[0].path}), but no column contains image paths. Point dataset.url at the table or at "
            "the images, or name the column of image paths with dataset.input."
        )
    return Geometry((0, 0), 0, NO_RANGES, ())


def _check_named(
    schema: pa.Schema,
    source: Source,
    roles: Mapping[str, str | None],
    input: str | Sequence[str],
    ignore: Sequence[str],
) -> None:
    inputs = [] if input == "auto" else [input] if isinstance(input, str) else list(input)
    named = [
        *((role, name) for role, name in roles.items() if name is not None),
        *(("input", n) for n in inputs),
    ]
    if input != "auto" and not inputs:
        raise DatasetError("dataset.input is an empty list. Name at least one column, or use auto.")
    for role, name in [*named, *(("ignore", n) for n in ignore)]:
        if name not in schema.names:
            close = closest(name, schema.names)
            hint = f" Did you mean {close!r}?" if close else ""
            raise DatasetError(
                f"Column {name!r} (dataset.{role}) is not in {source.url}.{hint} The columns are {_list(schema.names)}."
            )
    taken: dict[str, str] = {}
    for role, name in named:
        if name in ignore:
            raise DatasetError(f"Column {name!r} is both dataset.{role} and in dataset.ignore. Remove one of the two.")
        if name in taken and {role, taken[name]} != {"id", "group"}:
            raise DatasetError(f"Column {name!r} is both dataset.{taken[name]} and dataset.{role}. Name another one.")
        taken[name] = role


def _guess_label(sample: InputSample, others: Iterable[object], guesses: list[str]) -> str:
    free: list[str] = [name for name in sample.rows.column_names if not _is_named(name, others)]
    features = [name for name in free if sample.features.get(name, {}).get("_type") == "ClassLabel"]
    by_name = sorted((name for name in free if name.lower() in LABEL_NAMES), key=_label_rank)
    ranked = sorted(features, key=_label_rank) or by_name
    if not ranked:
        raise DatasetError(
            f"No column looks like the label. Name it with dataset.label (--label). The columns are {_list(free)}."
        )
    reason = "it is a ClassLabel feature" if features else "by its name"
    guesses.append(f"label column: {ranked[0]!r}, {reason}")
    return ranked[0]


def _guess_split(sample: InputSample, others: Iterable[object], guesses: list[str]) -> str | None:
    for known in SPLIT_NAMES:
        for name in sample.rows.column_names:
            if name.lower() == known and not _is_named(name, others) and _contains_splits(sample, name):
                guesses.append(f"split column: {name!r}, by its name and values")
                return str(name)
    return None


def _contains_splits(sample: InputSample, name: str) -> bool:
    if family(sample.schema.field(name).type) != "string":
        return False
    values = {value for value in pc.unique(to_strings(sample.rows.column(name))).to_pylist() if value}
    return bool(values) and are_splits(values)


def _split_guesses(layout: Layout) -> list[str]:
    names = sorted({split for split in layout.splits if split is not None})
    return [f"splits: {listing(names)}, by the names of files and folders; all are audited together"] if names else []


def _label_rank(name: str) -> int:
    return LABEL_NAMES.index(name.lower()) if name.lower() in LABEL_NAMES else len(LABEL_NAMES)


def _guess_id(sample: InputSample, others: Iterable[object], guesses: list[str]) -> str | None:
    names: list[str] = sample.rows.column_names
    for known in ID_NAMES:
        for name in names:
            if name.lower() == known and not _is_named(name, others) and _is_plausible_id(sample, name):
                guesses.append(f"id column: {name!r}, by its name")
                return name
    guesses.append("ids: a hash of each input, because no column looks like an id")
    return None


def _is_plausible_id(sample: InputSample, name: str) -> bool:
    type = sample.schema.field(name).type
    is_whole = pa.types.is_integer(type) or (pa.types.is_decimal(type) and type.scale == 0)
    if not (family(type) == "string" or is_whole):
        return False
    values = to_strings(sample.rows.column(name))
    is_measured = sample.is_untyped and parses_as_numbers(values) and pc.any(pc.match_substring(values, ".")).as_py()
    is_full = values.null_count == 0 and not pc.any(pc.equal(values, "")).as_py()
    return is_full and not is_measured and len(pc.unique(values)) >= MIN_UNIQUE_IDS * len(values)


def _is_named(name: str, others: Iterable[object]) -> bool:
    return any(name == other or (isinstance(other, list | tuple) and name in other) for other in others)


def _check_names(sample: InputSample, names: Iterable[str | None]) -> None:
    for name in names:
        if name is None:
            continue
        try:
            to_strings(sample.rows.column(name))
        except pa.ArrowException as error:
            raise DatasetError(
                f"Column {name!r} cannot be an id or a group: its type is {sample.schema.field(name).type}. "
                "Use a column of strings or whole numbers."
            ) from error


def _choose_inputs(sample: InputSample, input: str | Sequence[str], kind: str, taken: set[str | None]) -> Inputs:
    # Ids are often the names of image files. They are the inputs too, then.
    free = [name for name in sample.rows.column_names if name not in taken or name in sample.image_names]
    unassigned = sample._replace(rows=sample.rows.select(free))
    if input != "auto":
        return choose_named(unassigned, [input] if isinstance(input, str) else list(input), kind)
    return choose_auto(unassigned, kind)


def _feature_types(
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
    kept = [(name, type) for name, type in types.items() if type is not None]
    left_out = {**chosen.left_out, **dict.fromkeys(empty, "it has no value")}
    names = tuple(name for name, _ in kept)
    guesses = (*chosen.guesses, *sentences)
    return layout, tuple(type for _, type in kept), Inputs("table", names, guesses, left_out)


_FEATURE_OF_FAMILY = {"number": "number", "string": "category", "bool": "category", "null": None}


def _hugging_face_features(schema: pa.Schema) -> dict[str, JsonObject]:
    """Return feature descriptions by column, from the schema metadata that the `datasets` library writes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _list(names: Sequence[str]) -> str:
    return listing(map(repr, names), shown=20)
