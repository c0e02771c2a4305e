"""The role of each column: label, id, group and inputs of a dataset, as configured or guessed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from labelaudit.codec import JsonObject
from labelaudit.data.column_roles import guess_id, guess_label, guess_split, split_guesses
from labelaudit.data.column_values import (
    feature_types,
    names_in_hex,
    with_label_markers,
    with_number_format,
    with_strings,
)
from labelaudit.data.csv_dialect import CsvOptions, Dialect
from labelaudit.data.file_layout import IMAGE_FOLDER, Layout, find_layout
from labelaudit.data.image_columns import image_names, unreferenced_images
from labelaudit.data.image_depth import NO_RANGES, ValueRanges
from labelaudit.data.image_geometry import MAX_SIDE, Geometry, folder_geometry, table_geometry
from labelaudit.data.inputs import Inputs, InputSample, choose_auto, choose_named
from labelaudit.data.labels import check_label_type
from labelaudit.data.row_indexes import find_row_numbers
from labelaudit.data.source import NamedFile, Source
from labelaudit.data.table_survey import TableSurvey, survey_tables
from labelaudit.data.tables import read_sample
from labelaudit.data.values import to_strings
from labelaudit.data.vectors import typical_length
from labelaudit.errors import DatasetError
from labelaudit.findings import SHOWN_NAMES, LeftOut
from labelaudit.schemas import INPUT_KINDS
from labelaudit.text import closest, listing

# Roles that one column may have.
_TOGETHER = (("id", "group"), ("group", "slices"))


@dataclass(frozen=True)
class Columns:
    """How a dataset is read."""

    format: str  # parquet | arrow | csv | jsonl | image_folder
    kind: str  # image | text | vector | table
    label: str | None  # None: the folder is the label, or the majority of the annotations (`is_voted`)
    id: str | None  # None: the path in an image folder, else a hash of the content
    group: str | None
    inputs: tuple[str, ...]
    input_types: tuple[str, ...]  # number | category, one for each input of a table
    label_names: tuple[str, ...]  # names of the integer labels 0, 1, … (Hugging Face ClassLabel)
    image_size: tuple[int, int]  # (height, width) of decoded images; (0, 0) if kind is not image
    image_channels: int  # 1 or 3; 0 if kind is not image
    guesses: tuple[str, ...]  # one sentence for each guess, for people
    image_ranges: ValueRanges = NO_RANGES  # black and white of images with more than 8 bits
    image_side: int = 0  # median of the longer sides of sampled images as they are stored; 0 if kind is not image
    left_out: tuple[LeftOut, ...] = ()  # files and columns that are not read, by reason
    split: str | None = None  # column; None: files and folders name the splits, or there are none
    partitions: tuple[str, ...] = ()  # columns in the names of folders
    excluded: tuple[str, ...] = ()  # paths of tables that are not read
    rename: dict[str, str] = field(default_factory=dict)  # other names for given labels
    csv: Dialect | None = None  # how CSV files are written
    text_columns: tuple[str, ...] = ()  # columns of a Parquet file whose bytes are text
    stored_rows: int = 0  # rows in storage, counted without reading their values
    vector_length: int = 0  # numbers in each vector; 0 if kind is not vector
    slices: tuple[str, ...] = ()  # columns whose values are compared

    @property
    def is_voted(self) -> bool:
        """Whether the labels are the majority of the annotations."""
        return self.label is None and self.format != IMAGE_FOLDER

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

    def layout_of(self, tables: Iterable[str]) -> Layout:
        """Return the layout of some of the tables, by their paths, without a listing of the dataset."""
        files = tuple(map(NamedFile, sorted(tables)))
        return Layout(
            format=self.format,
            tables=files,
            splits=(None,) * len(files),
            partitions=self.partitions,
            images=(),
            left_out=(),
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
    slices: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    skips_unreadable: bool = False,
    csv: CsvOptions = CsvOptions(),  # noqa: B008, it is immutable
    has_annotations: bool = False,
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
        kind: auto | image | text | vector | table.
        ignore: columns that are not read.
        slices: columns whose values are compared; they are not inputs.
        image_size: (height, width) to decode images to.
        skips_unreadable: leave out files that look like data but cannot be read.
        csv: how CSV files are written; what is None is detected.
        has_annotations: the answers of annotators are the labels if no column looks like the label.

    Raises:
        DatasetError: files cannot be read, a named column does not exist, or no column fits.
    """
    _check_options(kind, image_size)
    found = find_layout(source, skips_unreadable=skips_unreadable)
    if found.format == IMAGE_FOLDER:
        roles = (label, id, group, None if input == "auto" else input, *ignore, *slices)
        named = [name for name in roles if name is not None]
        return _image_folder(source, found, named, kind, image_size)
    survey = survey_tables(source, found, label=label, csv=csv, skips_unreadable=skips_unreadable)
    _check_named(survey.schema, source, {"label": label, "id": id, "group": group}, input, ignore, slices)
    layout, sample = _read_sample(source, survey, ignore, csv, [label, id, group, *slices])
    guesses = [*survey.sentences]
    label = label or guess_label(sample, [id, group, input, slices], guesses, has_annotations=has_annotations)
    if label is not None:
        check_label_type(label, sample.schema.field(label).type)
    id = id or guess_id(sample, [label, group, input, slices], guesses)
    _check_names(sample, [id, group, *slices])
    guesses += names_in_hex(sample.schema, [id, group, *slices])
    split = guess_split(sample, [label, id, group, input], guesses)
    guesses += split_guesses(layout)
    chosen = _choose_inputs(sample, input, kind, {label, id, group, split, *slices})
    if input == "auto" and chosen.kind == "table":
        chosen = chosen.without(find_row_numbers(source, layout, sample.rows, chosen.names), "it numbers the rows")
    layout, types, chosen = feature_types(source, layout, sample, chosen, csv, is_auto=input == "auto")
    layout, marker_guesses = with_label_markers(source, layout, label, sample, csv)
    geometry = _geometry(source, layout, sample, chosen, image_size)
    return Columns(
        format=layout.format,
        kind=chosen.kind,
        label=label,
        id=id,
        group=group,
        inputs=chosen.names,
        input_types=types,
        label_names=_label_names(sample, label),
        image_size=geometry.size,
        image_channels=geometry.channels,
        image_ranges=geometry.ranges,
        image_side=geometry.side,
        guesses=(*guesses, *marker_guesses, *chosen.guesses, *geometry.guesses),
        left_out=(
            *layout.left_out,
            *_left_out_columns({**dict.fromkeys(ignore, "ignored by the config"), **chosen.left_out}),
            *(unreferenced_images(source, layout, chosen.names[0]) if chosen.kind == "image" else ()),
        ),
        split=split,
        partitions=layout.partitions,
        excluded=_excluded(found, survey),
        csv=layout.dialect,
        text_columns=layout.text_columns,
        stored_rows=survey.rows,
        vector_length=typical_length(sample.rows.column(chosen.names[0]))[0] if chosen.kind == "vector" else 0,
        slices=tuple(slices),
    )


def _check_options(kind: str, image_size: tuple[int, int] | None) -> None:
    if kind not in INPUT_KINDS:
        raise DatasetError(f"The kind {kind!r} is unknown. Use one of {', '.join(INPUT_KINDS)}.")
    if image_size is not None and not all(1 <= side <= MAX_SIDE for side in image_size):
        raise DatasetError(f"image_size {image_size} is out of range. Each side must be 1 to {MAX_SIDE} pixels.")


def _read_sample(
    source: Source, survey: TableSurvey, ignore: Sequence[str], csv: CsvOptions, kept: Sequence[str | None]
) -> tuple[Layout, InputSample]:
    """Return how the tables are read, and the first rows of all columns that are not ignored.

    The numbers of columns in `kept` stay as they are written.
    """
    rows = read_sample(source, survey.layout, [name for name in survey.schema.names if name not in set(ignore)])
    layout, schema, rows = with_strings(survey.layout, survey.schema, rows)
    layout, rows = with_number_format(layout, rows, csv, kept)
    sample = InputSample(
        rows,
        schema,
        hugging_face_features(schema),
        is_untyped=layout.format == "csv",
        image_names=image_names(source, layout, rows),
    )
    return layout, sample


def _label_names(sample: InputSample, label: str | None) -> tuple[str, ...]:
    names = None if label is None else sample.features.get(label, {}).get("names")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _excluded(found: Layout, survey: TableSurvey) -> tuple[str, ...]:
    kept = {file.path for file in survey.layout.tables}
    return tuple(file.path for file in found.tables if file.path not in kept)


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
            "and its paths the ids. Leave label, id, group, input, ignore and slices out."
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
        image_side=geometry.side,
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
    slices: Sequence[str],
) -> None:
    inputs = [] if input == "auto" else [input] if isinstance(input, str) else list(input)
    named = [
        *((role, name) for role, name in roles.items() if name is not None),
        *(("input", n) for n in inputs),
        *(("slices", n) for n in slices),
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
        if name in taken and (taken[name], role) not in _TOGETHER:
            raise DatasetError(f"Column {name!r} is both dataset.{taken[name]} and dataset.{role}. Name another one.")
        taken[name] = role


def _check_names(sample: InputSample, names: Iterable[str | None]) -> None:
    for name in names:
        if name is None:
            continue
        try:
            to_strings(sample.rows.column(name))
        except pa.ArrowException as error:
            raise DatasetError(
                f"Column {name!r} cannot be an id, a group or a slice: its type is {sample.schema.field(name).type}. "
                "Use a column of strings or whole numbers."
            ) from error


def _choose_inputs(sample: InputSample, input: str | Sequence[str], kind: str, taken: set[str | None]) -> Inputs:
    # Ids are often the names of image files. They are the inputs too, then.
    free = [name for name in sample.rows.column_names if name not in taken or name in sample.image_names]
    unassigned = sample._replace(rows=sample.rows.select(free))
    if input != "auto":
        return choose_named(unassigned, [input] if isinstance(input, str) else list(input), kind)
    return choose_auto(unassigned, kind)


def hugging_face_features(schema: pa.Schema) -> dict[str, JsonObject]:
    """Return feature descriptions by column, from the schema metadata that the `datasets` library writes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _list(names: Sequence[str]) -> str:
    return listing(map(repr, names), shown=20)
