"""Guesses which column is the label, the id or the split, by names, types and first values."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.file_layout import Layout
from labelaudit.data.inputs import InputSample
from labelaudit.data.split_names import are_splits
from labelaudit.data.values import family, parses_as_numbers, to_strings
from labelaudit.errors import DatasetError
from labelaudit.text import listing

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
SPLIT_NAMES = ("split", "subset", "partition", "data_split", "set", "usage")


def guess_label(
    sample: InputSample, others: Iterable[object], guesses: list[str], *, has_annotations: bool = False
) -> str | None:
    """Return the column of labels; None if there is none, but annotations.

    Raises:
        DatasetError: there is neither.
    """
    free: list[str] = [name for name in sample.rows.column_names if not _is_named(name, others)]
    features = [name for name in free if sample.features.get(name, {}).get("_type") == "ClassLabel"]
    by_name = sorted((name for name in free if name.lower() in LABEL_NAMES), key=_label_rank)
    ranked = sorted(features, key=_label_rank) or by_name
    if not ranked and has_annotations:
        guesses.append("labels: the majority of the annotations, because no column looks like the label")
        return None
    if not ranked:
        raise DatasetError(
            "No column looks like the label. Name it with dataset.label (--label). The columns are "
            f"{listing(map(repr, free), shown=20)}."
        )
    reason = "it is a ClassLabel feature" if features else "by its name"
    guesses.append(f"label column: {ranked[0]!r}, {reason}")
    return ranked[0]


def _label_rank(name: str) -> int:
    return LABEL_NAMES.index(name.lower()) if name.lower() in LABEL_NAMES else len(LABEL_NAMES)


def guess_id(sample: InputSample, others: Iterable[object], guesses: list[str]) -> str | None:
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


def guess_split(sample: InputSample, others: Iterable[object], guesses: list[str]) -> str | None:
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


def split_guesses(layout: Layout) -> list[str]:
    names = sorted({split for split in layout.splits if split is not None})
    return [f"splits: {listing(names)}, by the names of files and folders; all are audited together"] if names else []


def _is_named(name: str, others: Iterable[object]) -> bool:
    return any(name == other or (isinstance(other, list | tuple) and name in other) for other in others)
