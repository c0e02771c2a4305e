"""The answers of several annotators: a long table with a row for each answer, next to the dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelaudit.data.column_roles import ID_NAMES, LABEL_NAMES
from labelaudit.data.column_values import with_label_markers, with_strings
from labelaudit.data.columns import hugging_face_features
from labelaudit.data.csv_dialect import CsvOptions
from labelaudit.data.file_layout import IMAGE_FOLDER, Layout, find_layout, printable_path
from labelaudit.data.inputs import InputSample
from labelaudit.data.labels import LabelChunk, check_label_type, classes_of_labels, given_labels, sort_class_names
from labelaudit.data.named_classes import check_class_names
from labelaudit.data.readers import names_of
from labelaudit.data.source import Source
from labelaudit.data.table_survey import survey_tables
from labelaudit.data.tables import read_sample, read_tables
from labelaudit.data.values import family, without_encoding
from labelaudit.errors import DatasetError
from labelaudit.strings import Strings
from labelaudit.text import closest, listing

_ID_NAMES = (*ID_NAMES, "item", "item_id", "task", "task_id", "example", "row_id", "question", "question_id")
_ANNOTATOR_NAMES = (
    *("annotator", "annotator_id", "worker", "worker_id", "workerid", "rater", "rater_id", "labeler", "labeler_id"),
    *("labeller", "labeller_id", "user", "user_id", "coder", "judge", "expert", "annotated_by", "labeled_by"),
    *("completed_by", "created_by"),
)
_LABEL_NAMES = (*LABEL_NAMES, "answer", "annotation", "response", "vote", "choice", "rating")
_SCHEMA = pa.schema([("example_id", pa.large_string()), ("annotator", pa.large_string()), ("label", pa.large_string())])


class AnswerColumns(NamedTuple):
    """The columns of a table of answers; None: found by their names."""

    id: str | None = None
    annotator: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class AnswerTable:
    """The answers to U rows, ordered by id and annotator, A in all. An annotator answers a row at most once.

    Attributes:
        ids: U distinct ids, sorted.
        id: (A,) int64, the position of each answer's id in `ids`.
        annotator: (A,) int32, the position of its annotator in `annotators`.
        label: (A,) int32, the position of its label in `labels`.
        annotators: names, sorted.
        labels: names in class order.
        guesses: a sentence on how the table is read.
        notes: sentences on answers that are not used.
    """

    ids: Strings
    id: npt.NDArray[np.int64]
    annotator: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    annotators: tuple[str, ...]
    labels: tuple[str, ...]
    guesses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.id)

    @property
    def digest(self) -> str:
        """A sha256 in hex of all answers. It does not depend on the order of rows and files."""
        hasher = hashlib.sha256(json.dumps([self.annotators, self.labels]).encode())
        hasher.update(json.dumps(self.ids.tolist()).encode())
        for numbers, kind in ((self.id, "<i8"), (self.annotator, "<i4"), (self.label, "<i4")):
            hasher.update(np.ascontiguousarray(numbers, kind).data)
        return hasher.hexdigest()

    def to_table(self) -> pa.Table:
        """Return an Arrow table with a row for each answer: example_id, annotator and label."""
        names = [self.ids.arrow, pa.array(self.annotators, pa.large_string()), pa.array(self.labels, pa.large_string())]
        numbers = [self.id, self.annotator, self.label]
        columns = [values.take(pa.array(codes)) for values, codes in zip(names, numbers, strict=True)]
        return pa.Table.from_arrays(columns, schema=_SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> AnswerTable:
        """Return the answers of a table that `to_table` made."""
        return _sorted(*(_encoded(Strings(table[name])) for name in _SCHEMA.names))


def read_answers(
    source: Source,
    named: AnswerColumns = AnswerColumns(),  # noqa: B008, it is immutable
    *,
    id_name: str | None = None,
    rename: Mapping[str, str] | None = None,
    is_rename_checked: bool = False,
    label_names: Sequence[str] = (),
) -> AnswerTable:
    """Read a table of answers.

    Answers without an id, an annotator or a label do not count. If an annotator answered a row several times, equal
    answers count once, and different ones do not count, because the order of the table does not say which is the last.

    Args:
        source: the files.
        named: its columns.
        id_name: the column of ids in the dataset; a column of the same name contains the ids here.
        rename: other names for labels.
        is_rename_checked: whether an answer must have each label that is renamed.
        label_names: the names of the labels 0, 1, … if the table contains numbers and does not name them.

    Raises:
        DatasetError: it cannot be read, a column or a renamed label is missing, or no answer can be used.
    """
    layout, schema, sample = _open(source)
    columns = _choose(source, schema.names, named, id_name)
    check_label_type(columns[2], schema.field(columns[2]).type)
    layout, marker_guesses = with_label_markers(source, layout, columns[2], sample, CsvOptions())
    is_untyped = layout.format == "csv"
    stored_names = _label_names(schema, columns[2], () if is_untyped else label_names)
    ids, annotators, chunks = [], [], []
    for file, _, first_row, rows in read_tables(source, layout, columns, label=columns[2]):
        ids.append(names_of(rows, columns[0], file))
        annotators.append(names_of(rows, columns[1], file))
        chunks.append(LabelChunk(printable_path(file), first_row, without_encoding(rows.column(columns[2]))))
    labels = given_labels(chunks, column=columns[2], label_names=stored_names, is_untyped=is_untyped)
    label = _encoded(labels)
    if rename:
        label = _renamed(label, rename, is_checked=is_rename_checked)
    found = _sorted(_encoded(Strings.joined(ids)), _encoded(Strings.joined(annotators)), label)
    if not len(found):
        raise DatasetError(
            f"None of the {len(labels):,} rows of {source.url} has an id, an annotator and a label. "
            "Check dataset.annotations and dataset.annotation_columns."
        )
    read = f"annotations: ids in {columns[0]!r}, annotators in {columns[1]!r}, labels in {columns[2]!r}"
    return replace(found, guesses=(read, *marker_guesses))


def classes_of_answers(answers: AnswerTable, class_names: Sequence[str]) -> dict[str, str]:
    """Return the class of each distinct answer. Answers are names or numbers of classes, 0..K-1.

    If some are names, the others stay as they are: they name no class.

    Raises:
        DatasetError: no answer is the name of a class, and some are not the number of one either.
    """
    classes = classes_of_labels(answers.labels, class_names)
    if classes is not None:
        return classes
    if set(answers.labels).isdisjoint(class_names):
        raise _no_classes(answers, class_names)
    return {label: label for label in answers.labels}


def with_class_names(answers: AnswerTable, classes: Mapping[str, str]) -> AnswerTable:
    """Return the same answers with the class of each distinct one."""
    names = [classes[label] for label in answers.labels]
    labels = sort_class_names(names)
    position = {name: rank for rank, name in enumerate(labels)}
    rank = np.array([position[name] for name in names], np.int32)
    return replace(answers, labels=labels, label=rank[answers.label])


def _no_classes(answers: AnswerTable, class_names: Sequence[str]) -> DatasetError:
    numbers = {str(number) for number in range(len(class_names))}
    is_unknown = np.array([label not in numbers for label in answers.labels])
    unknown = [label for label in answers.labels if label not in numbers]
    return DatasetError(
        f"{int(is_unknown[answers.label].sum()):,} of {len(answers):,} answers in dataset.annotations "
        f"({listing(map(repr, unknown))}) are neither a class of the probabilities "
        f"({listing(map(repr, class_names))}) nor the number of one, 0 to {len(class_names) - 1}. Correct them, name "
        "the column of labels with dataset.annotation_columns.label, or name the class of each column of probabilities "
        "with --classes."
    )


def _open(source: Source) -> tuple[Layout, pa.Schema, InputSample]:
    found = find_layout(source)
    if found.format == IMAGE_FOLDER:
        raise DatasetError(
            f"{source.url} contains images but no table of answers. Point dataset.annotations at a table with a row "
            "for each answer."
        )
    survey = survey_tables(source, found)
    layout, schema, rows = with_strings(
        survey.layout, survey.schema, read_sample(source, survey.layout, survey.schema.names)
    )
    return layout, schema, InputSample(rows, schema, {}, is_untyped=layout.format == "csv")


def _choose(source: Source, names: Sequence[str], named: AnswerColumns, id_name: str | None) -> list[str]:
    """Return the columns of id, annotator and label."""
    known = {
        "id": ((id_name,) if id_name else ()) + _ID_NAMES,
        "annotator": _ANNOTATOR_NAMES,
        "label": _LABEL_NAMES,
    }
    chosen: list[str] = []
    for role, wanted in named._asdict().items():
        if wanted is None:
            chosen.append(_guess(source, role, [name for name in names if name not in {*chosen, *named}], known[role]))
            continue
        if wanted not in names:
            close = closest(wanted, names)
            hint = f" Did you mean {close!r}?" if close else ""
            raise DatasetError(
                f"Column {wanted!r} (dataset.annotation_columns.{role}) is not in {source.url}.{hint} The columns are "
                f"{listing(map(repr, names), shown=20)}."
            )
        chosen.append(wanted)
    return chosen


def _guess(source: Source, role: str, names: Sequence[str], known: Sequence[str]) -> str:
    for candidate in known:
        for name in names:
            if name == candidate or name.lower() == candidate:
                return name
    what = {"id": "the ids of the rows", "annotator": "the annotators", "label": "their labels"}[role]
    raise DatasetError(
        f"No column of {source.url} looks like {what}. Name it with dataset.annotation_columns.{role}. "
        f"The columns are {listing(map(repr, names), shown=20)}."
    )


class _Encoded(NamedTuple):
    """A column as numbers: -1 if missing."""

    codes: npt.NDArray[np.int64]
    names: pa.Array


def _encoded(values: Strings | npt.NDArray[np.object_]) -> _Encoded:
    array = values.arrow if isinstance(values, Strings) else pa.array(values, pa.large_string())
    encoded = array.cast(pa.large_string()).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return _Encoded(codes, encoded.dictionary)


def _label_names(schema: pa.Schema, column: str, of_numbers: Sequence[str]) -> tuple[str, ...]:
    """Return the names that the table gives to the labels 0, 1, …; else `of_numbers` if the labels are numbers."""
    names = hugging_face_features(schema).get(column, {}).get("names")
    if isinstance(names, list):
        return tuple(map(str, names))
    return tuple(of_numbers) if family(schema.field(column).type) == "number" else ()


def _renamed(label: _Encoded, rename: Mapping[str, str], *, is_checked: bool) -> _Encoded:
    if is_checked:
        uses = {old: f"dataset.rename renames to {new!r}" for old, new in rename.items()}
        check_class_names(uses, dict.fromkeys(label.names.to_pylist()))
    merged = _encoded(np.array([rename.get(name, name) for name in label.names.to_pylist()], dtype=object))
    return _Encoded(np.append(merged.codes, -1)[label.codes], merged.names)


def _sorted(id: _Encoded, annotator: _Encoded, label: _Encoded) -> AnswerTable:
    """Return the answers that count in their order, with sentences on the others."""
    is_complete = (id.codes >= 0) & (annotator.codes >= 0) & (label.codes >= 0)
    notes = _incomplete_notes(id, annotator, label)
    ids, id_rank = _ranked(id, Strings(id.names).order())
    annotators, annotator_rank = _ranked(annotator, Strings(annotator.names).order())
    names = label.names.to_pylist()
    position = {name: rank for rank, name in enumerate(sort_class_names(names))}
    labels, label_rank = _ranked(label, np.argsort([position[name] for name in names], kind="stable"))
    columns = [
        ranks[codes[is_complete]]
        for ranks, (codes, _) in zip((id_rank, annotator_rank, label_rank), (id, annotator, label), strict=True)
    ]
    key = (columns[0] * max(1, len(annotators)) + columns[1]) * max(1, len(labels)) + columns[2]
    key.sort()
    pair, label_of = np.divmod(key, max(1, len(labels)))
    is_counted, repeat_notes = _counted(key, pair)
    id_of, annotator_of = np.divmod(pair[is_counted], max(1, len(annotators)))
    used = np.unique(id_of)
    return AnswerTable(
        ids=Strings(ids.take(pa.array(used))),
        id=np.searchsorted(used, id_of),
        annotator=annotator_of.astype(np.int32),
        label=label_of[is_counted].astype(np.int32),
        annotators=tuple(annotators.to_pylist()),
        labels=tuple(labels.to_pylist()),
        notes=(*notes, *repeat_notes),
    )


def _ranked(column: _Encoded, order: npt.NDArray[np.int64]) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return the names in an order, and the rank of each code."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return column.names.take(pa.array(order)), rank


def _incomplete_notes(id: _Encoded, annotator: _Encoded, label: _Encoded) -> tuple[str, ...]:
    counts = {
        "no label": int((label.codes < 0).sum()),
        "no annotator": int(((annotator.codes < 0) & (label.codes >= 0)).sum()),
        "no id": int(((id.codes < 0) & (annotator.codes >= 0) & (label.codes >= 0)).sum()),
    }
    return tuple(
        f"{_rows(count)} of the annotations {'has' if count == 1 else 'have'} {what} and "
        f"{'does' if count == 1 else 'do'} not count."
        for what, count in counts.items()
        if count
    )


def _counted(key: npt.NDArray[np.int64], pair: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Return which answers count. `key` has the pair of id and annotator, and the label; sorted."""
    is_first = np.ones(len(key), bool)
    is_first[1:] = pair[1:] != pair[:-1]
    is_new_label = np.ones(len(key), bool)
    is_new_label[1:] = key[1:] != key[:-1]
    group = np.cumsum(is_first) - 1
    has_one_label = np.bincount(group, is_new_label) == 1 if len(key) else np.zeros(0, bool)
    is_counted = is_first & has_one_label[group]
    equal = int((~is_first & has_one_label[group]).sum())
    different = int((~has_one_label[group]).sum())
    notes = []
    if equal:
        notes.append(f"{equal:,} repeated equal answers of an annotator to a row count once.")
    if different:
        notes.append(
            f"{different:,} answers do not count, because an annotator gave several different answers to one row."
        )
    return is_counted, tuple(notes)


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
