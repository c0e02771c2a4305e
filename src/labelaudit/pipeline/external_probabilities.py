"""Read external probabilities with their ids and labels."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.audits.version import Version
from labelaudit.data.dataset import Examples
from labelaudit.data.labels import LabelChunk, given_labels, sort_class_names
from labelaudit.detection.external import check_external
from labelaudit.errors import DatasetError
from labelaudit.schemas import Status
from labelaudit.storage.manifest import digest_of, sha256_hex
from labelaudit.storage.store import open_dataset
from labelaudit.text import listing

NO_IDS = (
    "ids: row numbers, because no id column is named. They mean other rows in another version, so this audit uses no "
    "verdicts and is not compared with others. Name the ids with --id."
)


@dataclass(frozen=True)
class ExternalProbabilities:
    """The locations of ids, labels and probabilities: columns of a Parquet file, or `.npy` files."""

    url: str  # a Parquet file, or a .npy file of probabilities
    label: str | None = None  # column, or URL of a .npy file
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


@dataclass(frozen=True)
class _Loaded:
    example_ids: np.ndarray  # (N,) object of str
    given_labels: np.ndarray  # (N,) object of str or None
    pred_probs: np.ndarray  # (N, K)
    positions: np.ndarray  # (N,) int64, the row number in the file
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
    loaded = _load(probabilities, storage_options or {})
    rows = _version_of(loaded, probabilities)
    scored = rows.scored
    examples = rows.examples
    pred_probs, notes = check_external(
        examples.example_id[scored], examples.label[scored], loaded.pred_probs[scored], loaded.class_names
    )
    return LoadedProbabilities(rows, pred_probs, loaded.has_made_up_ids, (*loaded.notes, *notes))


def _load(probabilities: ExternalProbabilities, options: Mapping[str, object]) -> _Loaded:
    table, stored_names = None, None
    if not _is_npy(probabilities.url):
        table = _read_table(probabilities.url, options)
        stored_names = _stored_class_names(table)
    label = probabilities.label or "label"
    pred_probs = _probabilities(probabilities, table, options)
    raw_labels = _column(label, probabilities.url, table, options)
    given = given_labels([LabelChunk(probabilities.url, 0, raw_labels)], column=label)
    if len(given) != len(pred_probs):
        raise DatasetError(
            f"There are {len(given):,} labels but {len(pred_probs):,} rows of probabilities. "
            "Both must be of the same examples, in the same order."
        )
    if all(name is None for name in given):
        raise DatasetError(f"No row of {probabilities.url} has a label. Name the column of labels with --label.")
    ids = _ids(probabilities, table, options)
    notes: tuple[str, ...] = ()
    has_made_up_ids = ids is None
    if ids is None:
        ids, notes = _row_numbers(len(given)), (NO_IDS,)
    if len(ids) != len(given):
        raise DatasetError(
            f"There are {len(ids):,} ids but {len(given):,} labels. "
            "Both must be of the same examples, in the same order."
        )
    names = probabilities.class_names or stored_names
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
    return _Loaded(
        ids[order], _as_names(given, names)[order], pred_probs[order], order, tuple(names), has_made_up_ids, notes
    )


def _ids(
    probabilities: ExternalProbabilities, table: pa.Table | None, options: Mapping[str, object]
) -> np.ndarray | None:
    """Return the ids, (N,) object of str; None if none are named and there is no column `id`."""
    name = probabilities.id or ("id" if table is not None and "id" in table.column_names else None)
    if name is None:
        return None
    column = _column(name, probabilities.url, table, options)
    if column.null_count:
        raise DatasetError(
            f"{column.null_count:,} of {len(column):,} rows have no id in {name!r}. Give every row an id."
        )
    return np.array([str(value) for value in column.to_pylist()], dtype=object)


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


def _version_of(loaded: _Loaded, probabilities: ExternalProbabilities) -> Version:
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
        file=np.full(count, probabilities.url.rpartition("/")[2], dtype=object),
        row=loaded.positions.astype(np.int64),
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


def _probabilities(
    probabilities: ExternalProbabilities, table: pa.Table | None, options: Mapping[str, object]
) -> np.ndarray:
    """Return the probabilities, (N, K) floats."""
    if table is None:
        return _checked_matrix(_read_npy(probabilities.url, options), probabilities.url)
    name = probabilities.pred_probs or "pred_probs"
    if _is_npy(name):
        return _checked_matrix(_read_npy(name, options), name)
    column = _column(name, probabilities.url, table, options)
    lengths = {len(row) if row is not None else 0 for row in column} if pa.types.is_nested(column.type) else {0}
    if len(lengths) != 1 or 0 in lengths:
        raise DatasetError(
            f"{name!r} of {probabilities.url} must contain one list of K probabilities in every row, but its type is "
            f"{column.type} and its lengths are {sorted(lengths)[:5]}. Name another column with --pred-probs."
        )
    values: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.float64).reshape(len(column), -1)


def _checked_matrix(array: np.ndarray, url: str) -> np.ndarray:
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(
            f"{url} contains an array of shape {array.shape} and dtype {array.dtype}. "
            "Save probabilities as floats of shape (rows, classes)."
        )
    return array


def _column(name: str, url: str, table: pa.Table | None, options: Mapping[str, object]) -> pa.Array:
    if _is_npy(name):
        array = _read_npy(name, options)
        if array.ndim != 1:
            raise DatasetError(f"{name} contains an array of shape {array.shape}. Save one value per row.")
        return pa.array(array)
    if table is None:
        raise DatasetError(
            f"{url} contains only probabilities, so it has no column {name!r}. "
            "Name a .npy file, for example --label labels.npy."
        )
    if name not in table.column_names:
        raise DatasetError(
            f"{url} has no column {name!r}. Name one of its columns: {listing(table.column_names, shown=20)}."
        )
    column = table[name].combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_npy(name: str) -> bool:
    return name.lower().endswith(".npy")


def _read(url: str, options: Mapping[str, object]) -> bytes:
    source = open_dataset(url, options)
    with source.open(source.files()[0].path) as file:
        return file.read()


def _read_npy(url: str, options: Mapping[str, object]) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(_read(url, options)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DatasetError(
            f"{url} is not a .npy file of numbers or strings ({str(error)[:120]}). Write it with numpy.save."
        ) from error
    return np.asarray(array)


def _read_table(url: str, options: Mapping[str, object]) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(_read(url, options)))
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0][:200]
        raise DatasetError(f"{url} cannot be read as Parquet ({reason}). Write the file again.") from error


def _stored_class_names(table: pa.Table) -> tuple[str, ...] | None:
    stored = (table.schema.metadata or {}).get(b"class_names")
    if stored is None:
        return None
    try:
        names = json.loads(stored)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetError(
            "class_names in the file's metadata must be a JSON list of strings. Name the classes with --classes."
        )
    return tuple(names)
