"""Read external probabilities with their ids and labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.version import Version
from labelaudit.data.annotations import AnswerTable, classes_of_answers, with_class_names
from labelaudit.data.dataset import Examples
from labelaudit.data.labels import LabelChunk, classes_of_labels, given_labels, sort_class_names
from labelaudit.data.majority_vote import majority_of
from labelaudit.data.slice_values import SliceValues, check_slices, encoded_values
from labelaudit.data.values import reordered, repeated, to_strings
from labelaudit.detection.external import check_external
from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.errors import DatasetError
from labelaudit.findings import LeftOut
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.external_rows import ExternalRows, ScoredRows, rows_of_arrays, rows_of_column
from labelaudit.pipeline.probability_files import (
    ArrayParts,
    Parts,
    TableParts,
    find_parts,
    is_npy,
    is_npy_folder,
    open_arrays,
    open_tables,
    row_places,
)
from labelaudit.schemas import Status
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.strings import Strings
from labelaudit.text import listing

NO_IDS = (
    "ids: row numbers, because no id column is named. They mean other rows in another version, so this audit uses no "
    "verdicts and is not compared with others. Name the ids with --id."
)
# Rows whose ids are in one piece of JSON.
_DIGESTED_ROWS = 2**16


@dataclass(frozen=True)
class ExternalProbabilities:
    """The locations of ids, labels and probabilities: columns of Parquet files, or `.npy` files.

    Instead of a file, each may be a folder of files of the same kind.
    """

    url: str  # Parquet files, or .npy files of probabilities
    label: str | None = None  # column, or URL of .npy files
    id: str | None = None
    pred_probs: str | None = None
    slices: tuple[str, ...] = ()  # columns, or URLs of .npy files
    class_names: tuple[str, ...] | None = None  # None: from the file's metadata, else the sorted labels


@dataclass(frozen=True)
class LoadedProbabilities:
    """Checked external probabilities: all rows in canonical order, and the probabilities of the M scored ones."""

    rows: Version
    probabilities: ProbabilityBlocks
    has_made_up_ids: bool  # row numbers, because no id column is named
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]  # files in the folders that are not data
    answers: AnswerTable | None = None  # of annotators, with the names of the classes


@dataclass(frozen=True)
class _Loaded:
    example_ids: Strings  # N
    given_labels: np.ndarray  # (N,) object of str or None
    pred_probs: ExternalRows  # (N, K), in reading order
    positions: np.ndarray  # (N,) int64, position in reading order
    files: np.ndarray  # (N,) object of str
    file_rows: np.ndarray  # (N,) int64, the row number in the file
    class_names: tuple[str, ...]
    has_made_up_ids: bool
    notes: tuple[str, ...]
    slices: dict[str, SliceValues]
    answers: AnswerTable | None


@with_one_blas_thread
def read_probabilities(
    probabilities: ExternalProbabilities,
    storage_options: Mapping[str, object] | None = None,
    answers: AnswerTable | None = None,
) -> LoadedProbabilities:
    """Read ids, labels and probabilities, and check that they can be out-of-fold probabilities of these rows.

    Args:
        answers: of annotators, by id. Their labels are names or numbers of classes, like the labels of the rows.
            Without a column of labels, the majority of the answers is the label.

    Raises:
        DatasetError: the files cannot be used.
        IntegrityError: the probabilities cannot be out-of-fold probabilities of these rows.
    """
    reader = _Reader(probabilities, storage_options or {})
    loaded = _load(probabilities, reader, answers)
    numbers = pd.Index(loaded.class_names).get_indexer(pd.Index(loaded.given_labels, dtype=object))
    labels = np.asarray(numbers, np.int64)
    is_scored = labels >= 0
    scored = slice(None) if is_scored.all() else is_scored
    raw = ScoredRows(loaded.pred_probs, loaded.positions[scored])
    # The fingerprint is as much work as the checks, and needs nothing from them.
    with ThreadPoolExecutor(1) as pool:
        fingerprint = pool.submit(_fingerprint, loaded)
        checked, notes = check_external(loaded.example_ids[scored], labels[scored], raw, loaded.class_names)
    rows = _version_of(loaded, labels, fingerprint.result())
    notes = (*reader.notes, *loaded.notes, *notes)
    return LoadedProbabilities(rows, checked, loaded.has_made_up_ids, notes, tuple(reader.left_out), loaded.answers)


def _load(probabilities: ExternalProbabilities, reader: _Reader, answers: AnswerTable | None) -> _Loaded:
    pred_probs = reader.pred_probs()
    rows, num_classes = pred_probs.shape
    ids = reader.ids()
    if answers is not None and ids is None:
        raise DatasetError(
            "dataset.annotations names rows by id, but the probabilities have no ids. Name them with --id."
        )
    given, label_notes = _labels(probabilities, reader, ids, answers)
    _check_same_length(f"{len(given):,} labels", f"{rows:,} rows of probabilities", len(given), rows)
    has_made_up_ids = ids is None
    if ids is None:
        ids, label_notes = _row_numbers(len(given)), (NO_IDS,)
    _check_same_length(f"{len(ids):,} ids", f"{len(given):,} labels", len(ids), len(given))
    names, class_notes = _class_names(probabilities, reader, given, num_classes)
    slices = _slices(reader, len(given))
    # Canonical order, as everywhere: tables are sorted by example_id.
    order = ids.order()
    files, file_rows = reader.places()
    given, answers = _as_names(given, answers, names)
    return _Loaded(
        example_ids=ids[order],
        given_labels=given[order],
        pred_probs=pred_probs,
        positions=order,
        files=reordered(files, order),
        file_rows=file_rows[order],
        class_names=names,
        has_made_up_ids=has_made_up_ids,
        notes=(*label_notes, *class_notes),
        slices={name: values[order] for name, values in slices.items()},
        answers=answers,
    )


def _labels(
    probabilities: ExternalProbabilities, reader: _Reader, ids: Strings | None, answers: AnswerTable | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels, and a sentence if they are the majority of the annotations.

    Raises:
        DatasetError: no row has a label.
    """
    label = probabilities.label or "label"
    notes: tuple[str, ...] = ()
    if answers is not None and ids is not None and probabilities.label is None and not reader.has(label):
        majority = majority_of(answers)
        given, notes = majority.labels_of(ids), majority.notes
    else:
        chunks = [LabelChunk(file, 0, values) for file, values in reader.columns(label)]
        given = given_labels(chunks, column=label)
    if all(name is None for name in given):
        raise DatasetError(f"No row of {probabilities.url} has a label. Name the column of labels with --label.")
    return given, notes


def _class_names(
    probabilities: ExternalProbabilities, reader: _Reader, given: np.ndarray, num_classes: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns, and a sentence if these are the sorted labels.

    Raises:
        DatasetError: there are more or fewer names than columns.
    """
    notes: tuple[str, ...] = ()
    names = probabilities.class_names or reader.class_names()
    if names is None:
        names = sort_class_names({name for name in given if name is not None})
        notes = (f"classes: the {len(names)} labels, sorted (neither --classes nor metadata names them)",)
    if len(names) != num_classes:
        raise DatasetError(
            f"{probabilities.url} has {num_classes} columns of probabilities for {len(names)} "
            f"classes ({listing(names)}). Name the class of each column with --classes."
        )
    return names, notes


def _slices(reader: _Reader, rows: int) -> dict[str, SliceValues]:
    slices = reader.slices()
    for name, values in slices.items():
        _check_same_length(f"{len(values):,} values of {name!r}", f"{rows:,} labels", len(values), rows)
    check_slices(slices)
    return slices


def _check_same_length(first: str, second: str, ours: int, others: int) -> None:
    if ours != others:
        raise DatasetError(f"There are {first} but {second}. Both must be of the same examples, in the same order.")


class _Reader:
    """Reads the arguments of an audit: columns of the main files, or `.npy` files of their own."""

    def __init__(self, probabilities: ExternalProbabilities, options: Mapping[str, object]) -> None:
        self._named = probabilities
        self._url = probabilities.url
        self._options = options
        self.notes: list[str] = []
        self.left_out: list[LeftOut] = []
        self._files = TemporaryFiles()
        parts = self._parts(self._url)
        self._main: TableParts | ArrayParts = (
            open_arrays(parts, self._files) if parts.is_npy else open_tables(parts, self._files)
        )
        self._note(parts, sum(self._main.lengths))

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the file of each row, (N,), and its number in the file, (N,)."""
        return row_places(self._main.parts, self._main.lengths)

    def class_names(self) -> tuple[str, ...] | None:
        """Return the class names in the files' metadata; None if there are none."""
        return self._main.class_names() if isinstance(self._main, TableParts) else None

    def pred_probs(self) -> ExternalRows:
        """Return the probabilities, (N, K) floats."""
        if isinstance(self._main, ArrayParts):
            return rows_of_arrays(self._main, self._url, self._files)
        name = self._named.pred_probs or "pred_probs"
        if self._is_array(name):
            return rows_of_arrays(self._open_array(name), name, self._files)
        self._check_column(name)
        return rows_of_column(self._main, name, self._url, self._files)

    def ids(self) -> Strings | None:
        """Return the N ids; None if none are named and there is no column `id`."""
        has_id = isinstance(self._main, TableParts) and "id" in self._main.columns
        name = self._named.id or ("id" if has_id else None)
        if name is None:
            return None
        values = Strings.joined(Strings(to_strings(column)) for _, column in self.columns(name))
        missing = values.arrow.null_count
        if missing:
            raise DatasetError(f"{missing:,} of {len(values):,} rows have no id in {name!r}. Give every row an id.")
        return values

    def has(self, name: str) -> bool:
        """Return whether the files have a column."""
        return isinstance(self._main, TableParts) and name in self._main.columns

    def slices(self) -> dict[str, SliceValues]:
        """Return the values of the columns that are compared, by column. A `.npy` file is named without its folder."""
        found: dict[str, SliceValues] = {}
        for name in self._named.slices:
            short = PurePosixPath(name).stem if self._is_array(name) else name
            columns = [column for _, column in self.columns(name)]
            if short in found or any(pa.types.is_nested(column.type) for column in columns):
                problem = "is named twice" if short in found else f"contains {columns[0].type} values"
                raise DatasetError(
                    f"{name!r} (slices) {problem}. Name each column or file once, with one number or text per row."
                )
            found[short] = SliceValues.joined(encoded_values(column) for column in columns)
        return found

    def columns(self, name: str) -> list[tuple[str, pa.Array]]:
        """Return the values of a column or of `.npy` files, each array with its file."""
        if self._is_array(name):
            array = self._open_array(name)
            if len(array.shape) != 1:
                raise DatasetError(f"{name} contains an array of shape {array.shape}. Save one value per row.")
            return [(name, pa.array(array.read()))]
        if isinstance(self._main, ArrayParts):
            raise DatasetError(
                f"{self._url} contains only probabilities, so it has no column {name!r}. "
                "Name a .npy file, for example --label labels.npy."
            )
        self._check_column(name)
        paths = self._main.parts.paths
        return [
            (self._main.parts.place(path), values) for path, values in zip(paths, self._main.chunks(name), strict=True)
        ]

    def _check_column(self, name: str) -> None:
        if isinstance(self._main, TableParts) and name not in self._main.columns:
            columns = listing(self._main.columns, shown=20)
            raise DatasetError(f"{self._url} has no column {name!r}. Name one of its columns: {columns}.")

    def _is_array(self, name: str) -> bool:
        if is_npy(name):
            return True
        is_column = isinstance(self._main, TableParts) and name in self._main.columns
        return not is_column and is_npy_folder(name, self._options)

    def _open_array(self, name: str) -> ArrayParts:
        array = open_arrays(self._parts(name), self._files)
        self._note(array.parts, sum(array.lengths))
        return array

    def _parts(self, url: str) -> Parts:
        parts = find_parts(url, self._options)
        self.left_out += parts.left_out
        return parts

    def _note(self, parts: Parts, rows: int) -> None:
        self.notes += [note for note in parts.note(rows) if note not in self.notes]


def _row_numbers(rows: int) -> Strings:
    numbers = pc.utf8_lpad(pa.array(np.arange(rows)).cast(pa.string()), len(str(max(rows - 1, 0))), "0")
    return Strings(pc.binary_join_element_wise("row-", numbers, ""))


def _as_names(
    given: np.ndarray, answers: AnswerTable | None, names: tuple[str, ...]
) -> tuple[np.ndarray, AnswerTable | None]:
    """Return labels and answers as class names. What is not a class name may be the number of a class, 0..K-1.

    Raises:
        DatasetError: a label has no class, or it is not clear what the labels and answers mean.
    """
    distinct = {label for label in given if label is not None}
    # Numbers may be names of classes too, so labels and answers are read in the same way if that is possible.
    together = classes_of_labels(distinct.union(() if answers is None else answers.labels), names)
    if together is not None:
        return _renamed(given, together), None if answers is None else with_class_names(answers, together)
    # The answers first: an error then names those that are wrong, even if their majority is the label.
    of_answers = {} if answers is None else classes_of_answers(answers, names)
    of_labels = classes_of_labels(distinct, names)
    if of_labels is None:
        unknown = sorted(distinct - set(names))
        raise DatasetError(
            f"{len(unknown)} labels are not among the {len(names)} classes of the probabilities "
            f"({listing(unknown)}). Name the class of each column with --classes."
        )
    if answers is None:
        return _renamed(given, of_labels), None
    contradiction = sorted(
        label for label in of_labels.keys() & of_answers.keys() if of_labels[label] != of_answers[label]
    )
    if contradiction:
        raise DatasetError(
            f"The labels are names of classes and the answers in dataset.annotations are numbers of classes, or the "
            f"other way round, so {contradiction[0]!r} would mean {of_labels[contradiction[0]]!r} as a label and "
            f"{of_answers[contradiction[0]]!r} as an answer. Use names in both, and leave the other answers empty."
        )
    return _renamed(given, of_labels), with_class_names(answers, of_answers)


def _renamed(given: np.ndarray, classes: Mapping[str, str]) -> np.ndarray:
    if all(label == name for label, name in classes.items()):
        return given
    return np.array([None if label is None else classes[label] for label in given], dtype=object)


def _version_of(loaded: _Loaded, labels: np.ndarray, fingerprint: str) -> Version:
    count = len(loaded.example_ids)
    none = repeated(None, count)
    examples = Examples(
        example_id=loaded.example_ids,
        given_label=loaded.given_labels,
        status=_statuses(labels),
        group=Strings.missing(count),
        content_digest=Strings.missing(count),
        file=loaded.files,
        row=loaded.file_rows,
        position=loaded.positions,
        class_names=loaded.class_names,
        label=labels,
        problem=none,
        split=none,
        fingerprint=fingerprint,
        cluster=np.broadcast_to(np.int64(-1), count),
        copy_distance=np.broadcast_to(np.float32(np.inf), count),
        slices=loaded.slices,
    )
    return Version(examples, np.full((1, count), -1, dtype=np.int16))


def _statuses(labels: np.ndarray) -> np.ndarray:
    is_scored = labels >= 0
    if is_scored.all():
        return repeated(Status.SCORED.value, len(labels))
    # One string object per status, not per row.
    return np.array([Status.UNLABELED.value, Status.SCORED.value], dtype=object)[is_scored.astype(np.int8)]


def _fingerprint(loaded: _Loaded) -> str:
    """Return `digest_of` of ids with labels, class names, and the sha256 of the probabilities."""
    hasher = hashlib.sha256(b"[[")
    for column, end in ((loaded.example_ids, b", "), (loaded.given_labels, b"], ")):
        hasher.update(b"[")
        for start in range(0, len(column), _DIGESTED_ROWS):
            values = json.dumps(column[start : start + _DIGESTED_ROWS].tolist(), ensure_ascii=True)
            hasher.update((", " if start else "").encode() + values[1:-1].encode())
        hasher.update(b"]" + end)
    rest = json.dumps([list(loaded.class_names), loaded.pred_probs.sha256(loaded.positions)], ensure_ascii=True)
    hasher.update(rest[1:].encode())
    return hasher.hexdigest()
