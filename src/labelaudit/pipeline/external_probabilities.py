"""Read external probabilities with their ids and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.version import Version
from labelaudit.data.dataset import Examples
from labelaudit.data.labels import LabelChunk, given_labels, sort_class_names
from labelaudit.data.values import to_strings
from labelaudit.detection.external import check_external
from labelaudit.errors import DatasetError
from labelaudit.findings import LeftOut
from labelaudit.pipeline.probability_files import (
    ArrayParts,
    Parts,
    TableParts,
    find_parts,
    is_npy,
    is_npy_folder,
    read_arrays,
    read_tables,
    row_places,
)
from labelaudit.schemas import Status
from labelaudit.storage.manifest import digest_of, sha256_hex
from labelaudit.text import listing

NO_IDS = (
    "ids: row numbers, because no id column is named. They mean other rows in another version, so this audit uses no "
    "verdicts and is not compared with others. Name the ids with --id."
)


@dataclass(frozen=True)
class ExternalProbabilities:
    """The locations of ids, labels and probabilities: columns of Parquet files, or `.npy` files.

    Instead of a file, each may be a folder of files of the same kind.
    """

    url: str  # Parquet files, or .npy files of probabilities
    label: str | None = None  # column, or URL of .npy files
    id: str | None = None
    pred_probs: str | None = None
    class_names: tuple[str, ...] | None = None  # None: from the file's metadata, else the sorted labels


@dataclass(frozen=True)
class LoadedProbabilities:
    """Checked external probabilities: all rows in canonical order, and `pred_probs` (M, K) of the scored ones."""

    rows: Version
    pred_probs: np.ndarray
    has_made_up_ids: bool  # row numbers, because no id column is named
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]  # files in the folders that are not data


@dataclass(frozen=True)
class _Loaded:
    example_ids: np.ndarray  # (N,) object of str
    given_labels: np.ndarray  # (N,) object of str or None
    pred_probs: np.ndarray  # (N, K)
    positions: np.ndarray  # (N,) int64, position in reading order
    files: np.ndarray  # (N,) object of str
    file_rows: np.ndarray  # (N,) int64, the row number in the file
    class_names: tuple[str, ...]
    has_made_up_ids: bool
    notes: tuple[str, ...]


def read_probabilities(
    probabilities: ExternalProbabilities, storage_options: Mapping[str, object] | None = None
) -> LoadedProbabilities:
    """Read ids, labels and probabilities, and check that they can be out-of-fold probabilities of these rows.

    Raises:
        DatasetError: the files cannot be used.
        IntegrityError: the probabilities cannot be out-of-fold probabilities of these rows.
    """
    reader = _Reader(probabilities, storage_options or {})
    loaded = _load(probabilities, reader)
    rows = _version_of(loaded)
    scored = rows.scored
    examples = rows.examples
    pred_probs, notes = check_external(
        examples.example_id[scored], examples.label[scored], loaded.pred_probs[scored], loaded.class_names
    )
    notes = (*reader.notes, *loaded.notes, *notes)
    return LoadedProbabilities(rows, pred_probs, loaded.has_made_up_ids, notes, tuple(reader.left_out))


def _load(probabilities: ExternalProbabilities, reader: _Reader) -> _Loaded:
    pred_probs = reader.pred_probs()
    label = probabilities.label or "label"
    chunks = [LabelChunk(file, 0, values) for file, values in reader.columns(label)]
    given = given_labels(chunks, column=label)
    _check_same_length(f"{len(given):,} labels", f"{len(pred_probs):,} rows of probabilities", given, pred_probs)
    if all(name is None for name in given):
        raise DatasetError(f"No row of {probabilities.url} has a label. Name the column of labels with --label.")
    ids = reader.ids()
    notes: tuple[str, ...] = ()
    has_made_up_ids = ids is None
    if ids is None:
        ids, notes = _row_numbers(len(given)), (NO_IDS,)
    _check_same_length(f"{len(ids):,} ids", f"{len(given):,} labels", ids, given)
    names = probabilities.class_names or reader.class_names()
    if names is None:
        names = sort_class_names({name for name in given if name is not None})
        notes = (
            *notes,
            f"classes: the {len(names)} labels, sorted (neither --classes nor metadata names them)",
        )
    if len(names) != pred_probs.shape[1]:
        raise DatasetError(
            f"{probabilities.url} has {pred_probs.shape[1]} columns of probabilities for {len(names)} "
            f"classes ({listing(names)}). Name the class of each column with --classes."
        )
    # Canonical order, as everywhere: tables are sorted by example_id.
    order = np.asarray(pc.sort_indices(pa.array(ids, pa.string())))
    files, file_rows = reader.places()
    return _Loaded(
        example_ids=ids[order],
        given_labels=_as_names(given, names)[order],
        pred_probs=pred_probs[order],
        positions=order,
        files=files[order],
        file_rows=file_rows[order],
        class_names=tuple(names),
        has_made_up_ids=has_made_up_ids,
        notes=notes,
    )


def _check_same_length(first: str, second: str, ours: np.ndarray, others: np.ndarray) -> None:
    if len(ours) != len(others):
        raise DatasetError(f"There are {first} but {second}. Both must be of the same examples, in the same order.")


class _Reader:
    """Reads the arguments of an audit: columns of the main files, or `.npy` files of their own."""

    def __init__(self, probabilities: ExternalProbabilities, options: Mapping[str, object]) -> None:
        self._named = probabilities
        self._url = probabilities.url
        self._options = options
        self.notes: list[str] = []
        self.left_out: list[LeftOut] = []
        parts = self._parts(self._url)
        self._main: TableParts | ArrayParts = read_arrays(parts) if parts.is_npy else read_tables(parts)
        self._note(parts, sum(map(len, self._tables())))

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the file of each row, (N,), and its number in the file, (N,)."""
        return row_places(self._main.parts, self._tables())

    def class_names(self) -> tuple[str, ...] | None:
        """Return the class names in the files' metadata; None if there are none."""
        return self._main.class_names() if isinstance(self._main, TableParts) else None

    def pred_probs(self) -> np.ndarray:
        """Return the probabilities, (N, K) floats."""
        if isinstance(self._main, ArrayParts):
            return _checked_matrix(self._main.rows, self._url)
        name = self._named.pred_probs or "pred_probs"
        if self._is_array(name):
            return _checked_matrix(self._array(name), name)
        return _matrix([values for _, values in self.columns(name)], name, self._url)

    def ids(self) -> np.ndarray | None:
        """Return the ids, (N,) object of str; None if none are named and there is no column `id`."""
        has_id = isinstance(self._main, TableParts) and "id" in self._main.columns
        name = self._named.id or ("id" if has_id else None)
        if name is None:
            return None
        values = [value for _, column in self.columns(name) for value in to_strings(column).to_pylist()]
        missing = values.count(None)
        if missing:
            raise DatasetError(f"{missing:,} of {len(values):,} rows have no id in {name!r}. Give every row an id.")
        return np.array(values, dtype=object)

    def columns(self, name: str) -> list[tuple[str, pa.Array]]:
        """Return the values of a column or of `.npy` files, each array with its file."""
        if self._is_array(name):
            array = self._array(name)
            if array.ndim != 1:
                raise DatasetError(f"{name} contains an array of shape {array.shape}. Save one value per row.")
            return [(name, pa.array(array))]
        if isinstance(self._main, ArrayParts):
            raise DatasetError(
                f"{self._url} contains only probabilities, so it has no column {name!r}. "
                "Name a .npy file, for example --label labels.npy."
            )
        if name not in self._main.columns:
            columns = listing(self._main.columns, shown=20)
            raise DatasetError(f"{self._url} has no column {name!r}. Name one of its columns: {columns}.")
        paths = self._main.parts.paths
        return [
            (self._main.parts.place(path), values) for path, values in zip(paths, self._main.chunks(name), strict=True)
        ]

    def _is_array(self, name: str) -> bool:
        if is_npy(name):
            return True
        is_column = isinstance(self._main, TableParts) and name in self._main.columns
        return not is_column and is_npy_folder(name, self._options)

    def _array(self, name: str) -> np.ndarray:
        array = read_arrays(self._parts(name))
        self._note(array.parts, len(array.rows) if array.rows.ndim else 1)
        return array.rows

    def _parts(self, url: str) -> Parts:
        parts = find_parts(url, self._options)
        self.left_out += parts.left_out
        return parts

    def _note(self, parts: Parts, rows: int) -> None:
        self.notes += [note for note in parts.note(rows) if note not in self.notes]

    def _tables(self) -> Sequence[pa.Table | np.ndarray]:
        return self._main.tables if isinstance(self._main, TableParts) else self._main.arrays


def _matrix(chunks: Sequence[pa.Array], name: str, url: str) -> np.ndarray:
    """Return a column of lists as (N, K) float64."""
    lengths = set()
    # A part without rows has any type.
    filled = [column for column in chunks if len(column)] or chunks[:1]
    for column in filled:
        is_nested = pa.types.is_nested(column.type)
        lengths |= {len(row) if row is not None else 0 for row in column} if is_nested else {0}
    if len(lengths) != 1 or 0 in lengths:
        raise DatasetError(
            f"{name!r} of {url} must contain one list of K probabilities in every row, but its type is "
            f"{filled[0].type} and its lengths are {sorted(lengths)[:5]}. Name another column with --pred-probs."
        )
    values = [column.flatten().to_numpy(zero_copy_only=False).astype(np.float64) for column in filled]
    return np.concatenate(values).reshape(-1, lengths.pop())


def _checked_matrix(array: np.ndarray, url: str) -> np.ndarray:
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(
            f"{url} contains an array of shape {array.shape} and dtype {array.dtype}. "
            "Save probabilities as floats of shape (rows, classes)."
        )
    return array


def _row_numbers(rows: int) -> np.ndarray:
    width = len(str(max(rows - 1, 0)))
    return np.array([f"row-{row:0{width}d}" for row in range(rows)], dtype=object)


def _as_names(given: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return labels as class names. Labels 0..K-1 are class numbers if they are not class names."""
    distinct = {label for label in given if label is not None}
    unknown = distinct - set(names)
    if not unknown:
        return given
    by_number = {str(number): name for number, name in enumerate(names)}
    if distinct <= by_number.keys():
        return np.array([None if label is None else by_number[label] for label in given], dtype=object)
    raise DatasetError(
        f"{len(unknown)} labels are not among the {len(names)} classes of the probabilities "
        f"({listing(sorted(unknown))}). Name the class of each column with --classes."
    )


def _version_of(loaded: _Loaded) -> Version:
    count = len(loaded.example_ids)
    numbers = {name: number for number, name in enumerate(loaded.class_names)}
    labels = np.array([numbers.get(label, -1) for label in loaded.given_labels], dtype=np.int64)
    none = np.full(count, None, dtype=object)
    examples = Examples(
        example_id=loaded.example_ids,
        given_label=loaded.given_labels,
        status=np.where(labels >= 0, Status.SCORED.value, Status.UNLABELED.value).astype(object),
        group=none,
        content_digest=none,
        file=loaded.files,
        row=loaded.file_rows,
        position=loaded.positions.astype(np.int64),
        class_names=loaded.class_names,
        label=labels,
        problem=none,
        split=none,
        fingerprint=_fingerprint(loaded),
    )
    return Version(examples, np.full((1, count), -1, dtype=np.int16))


def _fingerprint(loaded: _Loaded) -> str:
    probabilities = sha256_hex(np.ascontiguousarray(loaded.pred_probs, "<f8").tobytes())
    ids_and_labels = [loaded.example_ids.tolist(), loaded.given_labels.tolist()]
    return digest_of(ids_and_labels, list(loaded.class_names), probabilities)
