"""The quality of all inputs of a version, measured while it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from labelaudit.codec import from_record, to_record
from labelaudit.findings import LabelRelation
from labelaudit.quality.image_quality import IMAGE_MEASURES, image_measures
from labelaudit.quality.input_issues import (
    FoundIssue,
    image_issues,
    table_issues,
    text_issues,
    vector_issues,
)
from labelaudit.quality.label_relations import label_relations
from labelaudit.quality.languages import trigram_surprise
from labelaudit.quality.text_quality import TextMeasures, text_measures
from labelaudit.strings import Strings

# Measures of images that a model could use in place of what the images show.
_RELATED_TO_IMAGES = ("brightness", "edge_width", "colour", "aspect_ratio", "side")
_STORED = pa.schema(
    [("position", pa.int64()), ("issue", pa.string()), ("value", pa.float32()), ("limit", pa.float32())]
)
# Arrays of n rows each.
_Columns = tuple[np.ndarray, ...]
_Examined = tuple[list[FoundIssue], dict[str, np.ndarray]]


@dataclass(frozen=True)
class InputQuality:
    """What was found of the inputs of a version.

    Attributes:
        position: (m,) int64, the row of each issue in canonical order; a row may have several.
        issue: (m,) object of str, values of `schemas.InputIssue`.
        value: (m,) float32, what was measured.
        limit: (m,) float32, the end of what is usual; NaN if the kind has no limit.
        normal: kinds of issues that too many inputs have to be issues of single rows, with their shares.
        relations: measures that predict a label.
    """

    position: npt.NDArray[np.int64]
    issue: npt.NDArray[np.object_]
    value: npt.NDArray[np.float32]
    limit: npt.NDArray[np.float32]
    normal: Mapping[str, float] = field(default_factory=dict)
    relations: tuple[LabelRelation, ...] = ()

    def to_table(self) -> pa.Table:
        """Return one row per issue; the rest is in the metadata."""
        rest = {"normal": dict(self.normal), "relations": [to_record(one) for one in self.relations]}
        columns = [pa.array(getattr(self, name.name), name.type) for name in _STORED]
        return pa.Table.from_arrays(columns, schema=_STORED.with_metadata({"rest": json.dumps(rest)}))

    @classmethod
    def from_table(cls, table: pa.Table) -> InputQuality:
        """Return what `to_table` made a table of."""
        rest = json.loads(table.schema.metadata[b"rest"])
        columns = [table[name].to_numpy() for name in _STORED.names]
        relations = tuple(from_record(LabelRelation, record) for record in rest["relations"])
        position, issue, value, limit = columns
        return cls(position, issue, value, limit, rest["normal"], relations)

    def among(self, counted: npt.NDArray[np.bool_]) -> InputQuality:
        """Return the quality with the issues of some rows only, (N,) bool. What is usual stays as it was measured."""
        chosen = counted[self.position]
        return replace(
            self,
            position=self.position[chosen],
            issue=self.issue[chosen],
            value=self.value[chosen],
            limit=self.limit[chosen],
        )

    def by_row(self, rows: int) -> npt.NDArray[np.object_]:
        """Return (N,) the kinds of issues of each of N rows with ", " between them; None if it has none."""
        found = np.full(rows, None, object)
        joined = pd.Series(self.issue).groupby(self.position).agg(", ".join)
        found[joined.index.to_numpy(np.int64)] = joined.to_numpy()
        return found

    @classmethod
    def none(cls) -> InputQuality:
        """Return the quality of no inputs."""
        empty = np.empty(0, np.float32)
        return cls(np.empty(0, np.int64), np.empty(0, object), empty, empty)


class InputMeasures:
    """Collects measures of the inputs of a version: 32 bytes per image, 169 per text, at most 12 per other row.

    Args:
        kind: of the inputs; a value of `schemas.InputKind` except `auto`.
    """

    def __init__(self, kind: str) -> None:
        self._method = _METHODS[kind]
        self._parts: list[_Columns] = []

    def add(self, inputs: np.ndarray | pa.Table, sizes: npt.NDArray[np.int32] | None) -> None:
        """Take the next rows.

        Args:
            inputs: as `data.readers.Batch.inputs` has them.
            sizes: (n, 2) original width and height of images; None for other kinds.
        """
        self._parts.append(self._method.measure(inputs, sizes))

    def quality(
        self,
        digests: Strings,
        order: npt.NDArray[np.int64],
        is_readable: npt.NDArray[np.bool_],
        labels: npt.NDArray[np.int64],
        class_names: tuple[str, ...],
    ) -> InputQuality:
        """Return what was found, and forget the measures. Equal contents count once, and unreadable ones do not.

        Args:
            digests: N content digests in canonical order.
            order: (N,) int64: row i was added as number order[i].
            is_readable: (N,) bool.
            labels: (N,) int64, class numbers; -1 without a label.
            class_names: K names.
        """
        rows = np.flatnonzero(is_readable)
        parts = list(zip(*self._parts, strict=True))
        self._parts.clear()
        if not len(rows):
            return InputQuality.none()
        # In the order of digests, so that the result depends on the contents alone.
        _, first, content = np.unique(digests.numbers()[rows], return_index=True, return_inverse=True)
        # One column after the other, so that only one exists twice.
        contents = tuple(np.concatenate(parts.pop(0))[order[rows[first]]] for _ in range(len(parts)))
        found, related = self._method.examine(contents)
        is_labeled = labels[rows] >= 0
        # Copies with one label count once.
        pairs = np.unique(content[is_labeled] * max(1, len(class_names)) + labels[rows][is_labeled])
        at, label = pairs // max(1, len(class_names)), pairs % max(1, len(class_names))
        relations = label_relations({name: values[at] for name, values in related.items()}, label, class_names)
        normal = {str(one.issue): one.normal_share for one in found if one.normal_share}
        return _of_rows(found, rows, content, len(first), normal, relations)


def _of_rows(
    found: Sequence[FoundIssue],
    rows: npt.NDArray[np.int64],
    content: npt.NDArray[np.int64],
    contents: int,
    normal: Mapping[str, float],
    relations: tuple[LabelRelation, ...],
) -> InputQuality:
    """Return the issues of all rows: those of their contents."""
    parts: list[_Columns] = []
    for one in found:
        value_of = np.full(contents, np.nan)
        is_listed = np.zeros(contents, bool)
        value_of[one.rows], is_listed[one.rows] = one.values, True
        at = np.flatnonzero(is_listed[content])
        issue = np.full(len(at), str(one.issue), object)
        parts.append(
            (rows[at], issue, value_of[content[at]].astype(np.float32), np.full(len(at), one.limit, np.float32))
        )
    position, issue, value, limit = (np.concatenate(column) for column in zip(*parts, strict=True))
    return InputQuality(position, issue, value, limit, normal, relations)


def _measure_images(pixels: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int32] | None) -> _Columns:
    return (image_measures(pixels, np.zeros((len(pixels), 2), np.int32) if sizes is None else sizes),)


def _examine_images(columns: _Columns) -> _Examined:
    measures = columns[0]
    return image_issues(measures), {name: measures[:, IMAGE_MEASURES.index(name)] for name in _RELATED_TO_IMAGES}


def _examine_texts(columns: _Columns) -> _Examined:
    texts = TextMeasures(*columns)
    surprise = trigram_surprise(texts.sample)
    return text_issues(texts, surprise), {"length": texts.length, "language": surprise}


def _examine_vectors(columns: _Columns) -> _Examined:
    return vector_issues(columns[0]), {}


def _examine_rows(columns: _Columns) -> _Examined:
    missing, equal, numbers = columns
    return table_issues(missing, equal, numbers), {"missing": missing}


def _measure_vectors(vectors: npt.NDArray[np.float32], _: object) -> _Columns:
    is_constant = vectors.max(axis=1, initial=-np.inf) == vectors.min(axis=1, initial=np.inf)
    first = vectors[:, 0] if vectors.shape[1] else np.zeros(len(vectors), np.float32)
    return (np.where(is_constant, first, np.nan).astype(np.float32),)


def _measure_rows(table: pa.Table, _: object) -> _Columns:
    """Return the share of missing columns, the number that all columns of numbers have, and how many these are."""
    present = np.zeros(len(table))
    low, high = np.full(len(table), np.inf), np.full(len(table), -np.inf)
    counted = np.zeros(len(table), np.int64)
    for column in table.columns:
        is_number = pa.types.is_floating(column.type)
        values = column.to_numpy(zero_copy_only=False) if is_number else None
        is_present = column.is_valid().to_numpy() if values is None else ~np.isnan(values)
        present += is_present
        if values is not None:
            low, high = np.fmin(low, values), np.fmax(high, values)
            counted += is_present
    missing = 1 - present / max(1, table.num_columns)
    is_equal = (low == high) & np.isfinite(low) & (counted > 0)
    equal = np.where(is_equal, low, np.nan)
    return missing.astype(np.float32), equal.astype(np.float32), counted.astype(np.int32)


@dataclass(frozen=True)
class _Method:
    """How the inputs of one kind are measured.

    Attributes:
        measure: returns the measures of inputs, arrays of n rows.
        examine: returns the issues of measured contents, and the measures that could predict a label by name.
    """

    measure: Callable[..., _Columns]
    examine: Callable[[_Columns], _Examined]


_METHODS = {
    "image": _Method(_measure_images, _examine_images),
    "text": _Method(lambda table, _: text_measures(table), _examine_texts),
    "vector": _Method(_measure_vectors, _examine_vectors),
    "table": _Method(_measure_rows, _examine_rows),
}
