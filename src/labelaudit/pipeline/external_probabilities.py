"""Audit probabilities that were made elsewhere: no dataset is read, nothing is trained."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.audits.comparison import compare_with_predecessor, find_predecessor
from labelaudit.audits.decisive_settings import MADE_UP_IDS
from labelaudit.audits.finished import existing_audit
from labelaudit.audits.prepared import Prepared, Rows, commit_record, parquet_bytes
from labelaudit.audits.references import AuditReference
from labelaudit.config import AuditConfig
from labelaudit.data.dataset import Examples
from labelaudit.data.labels import LabelChunk, given_labels, sort_class_names
from labelaudit.detection.external import check_external
from labelaudit.detection.issues import find_issues
from labelaudit.detection.rows import row_digests
from labelaudit.environment import machine, package_versions
from labelaudit.errors import DatasetError
from labelaudit.pipeline.detect import audit_tables
from labelaudit.pipeline.gating import with_gate
from labelaudit.pipeline.publish import publish_audit
from labelaudit.report.summary import Findings
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.snapshot_store import snapshot_sha256, store_snapshot, take_snapshot
from labelaudit.schemas import Status, pred_probs_schema
from labelaudit.storage.layout import published_fold_key
from labelaudit.storage.manifest import digest_of, sha256_hex
from labelaudit.storage.store import Store, open_dataset
from labelaudit.versions.named import audited_name

NO_IDS = (
    "ids: the row numbers, because no column of ids is named. They mean other rows in another version: verdicts do not "
    "hold for them, and no audit is compared with this one. Name the ids with --id."
)


@dataclass(frozen=True)
class ExternalProbabilities:
    """Where ids, labels and probabilities are: columns of a Parquet file, or `.npy` files."""

    url: str  # a Parquet file, or a .npy file of probabilities
    label: str | None = None  # column, or URL of a .npy file
    id: str | None = None
    pred_probs: str | None = None
    class_names: tuple[str, ...] | None = None  # None: from the file's metadata, else the sorted labels


@dataclass(frozen=True)
class _Loaded:
    example_ids: np.ndarray  # (N,) object of str
    given_labels: np.ndarray  # (N,) object of str or None
    pred_probs: np.ndarray  # (N, K)
    positions: np.ndarray  # (N,) int64, where each row was read
    class_names: tuple[str, ...]
    has_made_up_ids: bool
    notes: tuple[str, ...]


def audit_probabilities(config: AuditConfig, probabilities: ExternalProbabilities) -> AuditReference:
    """Check probabilities from outside, find label issues in them, and publish the audit.

    Raises `DatasetError` when the files cannot be used, `IntegrityError` when the probabilities cannot be
    out-of-fold probabilities of these rows.
    """
    loaded = _load(config, probabilities)
    rows = _rows(loaded, probabilities)
    scored = rows.scored
    examples = rows.examples
    pred_probs, notes = check_external(
        examples.example_ids[scored], examples.labels[scored], loaded.pred_probs[scored], loaded.class_names
    )
    store = Store(config.output.url, config.storage.options)
    # Verdicts on row numbers of another version are verdicts on other rows.
    snapshot = (
        ReviewSnapshot({})
        if loaded.has_made_up_ids
        else take_snapshot(store, audited_name(config).name, examples.fingerprint)
    )
    prepared = _prepared(config, loaded, rows, snapshot)
    published = existing_audit(store, prepared)
    if published is not None:
        return published
    # The URL is that of a file: there is no template to read a version from.
    before = find_predecessor(store, prepared.dataset, prepared.version, has_version_in_url=False)
    prepared = replace(prepared, predecessor=before)
    store_snapshot(store, prepared, snapshot)
    # Of two runs at once, both write the files of the one whose record stands.
    prepared = Prepared.from_json(commit_record(store, prepared))
    row_verdicts = snapshot.for_rows(examples.example_ids, examples.digests, examples.given_labels)
    found = find_issues(
        examples.labels[scored],
        pred_probs,
        loaded.class_names,
        filter_by=config.detection.filter,
        is_fine=row_verdicts.is_fine[scored],
    )
    files = audit_tables(prepared, rows, pred_probs, found, {"folds": []}, row_verdicts)
    compared = compare_with_predecessor(store, prepared, files)
    files |= compared.files
    files[published_fold_key(0)] = _pred_probs_file(examples.example_ids[scored], pred_probs, loaded.class_names)
    findings: dict[str, Any] = {
        "issues": int(found.is_label_issue.sum()),
        "estimated_error_rate": found.error_rate,
        "notes": [*compared.notes, *loaded.notes, *notes, *found.notes],
        "changes": compared.changes,
        "review": asdict(snapshot.findings(row_verdicts, dismissed=int(found.is_dismissed.sum()))),
    }
    files, findings = with_gate(prepared, rows, pred_probs, found, files, findings, not_compared=compared.problem)
    return publish_audit(store, prepared, files, Findings(**findings), previews=())


def _load(config: AuditConfig, probabilities: ExternalProbabilities) -> _Loaded:
    options = config.storage.options
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
            f"There are {len(given):,} labels but {len(pred_probs):,} rows of probabilities; "
            "both must be of the same examples, in the same order."
        )
    if all(name is None for name in given):
        raise DatasetError(f"No row of {probabilities.url} has a label; name the column of labels with --label.")
    ids = _ids(probabilities, table, options)
    notes: tuple[str, ...] = ()
    has_made_up_ids = ids is None
    if ids is None:
        ids, notes = _row_numbers(len(given)), (NO_IDS,)
    if len(ids) != len(given):
        raise DatasetError(
            f"There are {len(ids):,} ids but {len(given):,} labels; "
            "both must be of the same examples, in the same order."
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
            f"classes ({', '.join(names[:5])}, …); name the class of each column with --classes."
        )
    # Canonical order, as everywhere: tables are sorted by example_id.
    order = np.asarray(pc.sort_indices(pa.array(ids, pa.string())))
    return _Loaded(
        ids[order], _as_names(given, names)[order], pred_probs[order], order, tuple(names), has_made_up_ids, notes
    )


def _ids(probabilities: ExternalProbabilities, table: pa.Table | None, options: dict[str, Any]) -> np.ndarray | None:
    """(N,) object of str; None where no ids are named, nor found as a column `id`."""
    name = probabilities.id or ("id" if table is not None and "id" in table.column_names else None)
    if name is None:
        return None
    column = _column(name, probabilities.url, table, options)
    if column.null_count:
        raise DatasetError(f"{column.null_count:,} of {len(column):,} rows have no id in {name!r}; fill it in.")
    return np.array([str(value) for value in column.to_pylist()], dtype=object)


def _row_numbers(rows: int) -> np.ndarray:
    width = len(str(max(rows - 1, 0)))
    return np.array([f"row-{row:0{width}d}" for row in range(rows)], dtype=object)


def _as_names(given: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Labels as class names; numbers 0..K-1 stand for the classes where these have names."""
    distinct = {label for label in given if label is not None}
    unknown = distinct - set(names)
    if not unknown:
        return given
    by_number = {str(number): name for number, name in enumerate(names)}
    if distinct <= by_number.keys():
        return np.array([None if label is None else by_number[label] for label in given], dtype=object)
    shown = ", ".join(sorted(unknown)[:5])
    raise DatasetError(
        f"{len(unknown)} labels are not among the {len(names)} classes of the probabilities "
        f"(first: {shown}); name the class of each column with --classes."
    )


def _rows(loaded: _Loaded, probabilities: ExternalProbabilities) -> Rows:
    count = len(loaded.example_ids)
    numbers = {name: number for number, name in enumerate(loaded.class_names)}
    labels = np.array([numbers.get(label, -1) for label in loaded.given_labels], dtype=np.int64)
    none = np.full(count, None, dtype=object)
    examples = Examples(
        example_ids=loaded.example_ids,
        given_labels=loaded.given_labels,
        status=np.where(labels >= 0, Status.SCORED.value, Status.UNLABELED.value).astype(object),
        groups=none,
        digests=none,
        files=np.full(count, probabilities.url.rpartition("/")[2], dtype=object),
        rows=loaded.positions.astype(np.int64),
        positions=loaded.positions.astype(np.int64),
        class_names=loaded.class_names,
        labels=labels,
        problems=none,
        fingerprint=_fingerprint(loaded),
    )
    return Rows(examples, np.full((1, count), -1, dtype=np.int16))


def _fingerprint(loaded: _Loaded) -> str:
    probabilities = sha256_hex(np.ascontiguousarray(loaded.pred_probs, "<f8").tobytes())
    ids_and_labels = [loaded.example_ids.tolist(), loaded.given_labels.tolist()]
    return digest_of(ids_and_labels, list(loaded.class_names), probabilities)


def _prepared(config: AuditConfig, loaded: _Loaded, rows: Rows, snapshot: ReviewSnapshot) -> Prepared:
    name = audited_name(config)
    fingerprint = rows.examples.fingerprint
    settings = config.model_dump(mode="json")
    prepared = Prepared(
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        dataset=name.name,
        version=name.version or fingerprint[:12],
        fingerprint=fingerprint,
        audit_id="",
        training_key="",
        config={part: settings[part] for part in ("dataset", "detection", "gate", "report", "output")},
        columns={"guesses": [], MADE_UP_IDS: loaded.has_made_up_ids},
        recipe={},
        kind="probabilities",
        class_names=loaded.class_names,
        folds=0,
        repeats=0,
        examples=len(loaded.example_ids),
        statuses=rows.examples.status_counts(),
        versions=package_versions(),
        machine=machine(),
        rows_sha256="",
        code=None,
        predecessor=None,
        review_sha256=snapshot_sha256(snapshot),
    )
    return prepared.with_audit_id(rows)


def _pred_probs_file(example_ids: np.ndarray, pred_probs: np.ndarray, class_names: tuple[str, ...]) -> bytes:
    columns = [
        pa.array(example_ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(pred_probs.ravel(), pred_probs.shape[1]),
        pa.array(row_digests(example_ids, pred_probs)),
    ]
    return parquet_bytes(pa.Table.from_arrays(columns, schema=pred_probs_schema(class_names)))


def _probabilities(probabilities: ExternalProbabilities, table: pa.Table | None, options: dict[str, Any]) -> np.ndarray:
    """(N, K) floats."""
    if table is None:
        return _matrix(_read_npy(probabilities.url, options), probabilities.url)
    name = probabilities.pred_probs or "pred_probs"
    if _is_npy(name):
        return _matrix(_read_npy(name, options), name)
    column = _column(name, probabilities.url, table, options)
    lengths = {len(row) if row is not None else 0 for row in column} if pa.types.is_nested(column.type) else {0}
    if len(lengths) != 1 or 0 in lengths:
        raise DatasetError(
            f"{name!r} of {probabilities.url} must hold one list of K probabilities in every row, "
            f"but its type is {column.type} and its lengths are {sorted(lengths)[:5]}."
        )
    values: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.float64).reshape(len(column), -1)


def _matrix(array: np.ndarray, url: str) -> np.ndarray:
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(
            f"{url} holds an array of shape {array.shape} and dtype {array.dtype}; "
            "probabilities are floats of shape (rows, classes)."
        )
    return array


def _column(name: str, url: str, table: pa.Table | None, options: dict[str, Any]) -> pa.Array:
    if _is_npy(name):
        array = _read_npy(name, options)
        if array.ndim != 1:
            raise DatasetError(f"{name} holds an array of shape {array.shape}; one value per row is needed.")
        return pa.array(array)
    if table is None:
        raise DatasetError(
            f"{url} holds probabilities alone, so {name!r} cannot be a column of it. "
            "Give a .npy file, for example --label labels.npy."
        )
    if name not in table.column_names:
        raise DatasetError(f"{url} has no column {name!r}; it has {', '.join(table.column_names[:20])}.")
    column = table[name].combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_npy(name: str) -> bool:
    return name.lower().endswith(".npy")


def _read(url: str, options: dict[str, Any]) -> bytes:
    source = open_dataset(url, options)
    with source.open(source.files()[0].path) as file:
        return file.read()


def _read_npy(url: str, options: dict[str, Any]) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(_read(url, options)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DatasetError(
            f"{url} is not a .npy file of numbers or strings ({str(error)[:120]}); write it with numpy.save."
        ) from error
    return np.asarray(array)


def _read_table(url: str, options: dict[str, Any]) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(_read(url, options)))
    except pa.ArrowException as error:
        raise DatasetError(f"{url} cannot be read as Parquet: {str(error).splitlines()[0][:200]}") from error


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
            "class_names in the file's metadata must be a JSON list of strings; name the classes with --classes."
        )
    return tuple(names)
