"""Gather the folds into one table of out-of-fold probabilities, after checking that they are out-of-fold."""

from __future__ import annotations

import pyarrow as pa

from labelaudit.audits.audit_plan import load_plan, output_store
from labelaudit.audits.probabilities import FoldRecord, Probabilities, StoredProbabilities, read_fold_record
from labelaudit.audits.references import FilesReference, FoldReference, PlanReference
from labelaudit.audits.version import load_version
from labelaudit.detection.out_of_fold import FoldHealth, FoldProbabilities, gather_folds
from labelaudit.errors import Fault, IntegrityError, StorageError
from labelaudit.pipeline.gather_dynamics import gather_dynamics
from labelaudit.report.audit_tables import FoldRow
from labelaudit.storage.manifest import sha256_hex
from labelaudit.storage.store import Store


def gather(reference: PlanReference, folds: list[FoldReference]) -> FilesReference:
    """Join all folds by example id, and store the probabilities in the work folder.

    Raises:
        IntegrityError: the folds do not contain exactly one valid row per example and repeat.
    """
    store = output_store(reference)
    plan = load_plan(reference)
    rows = load_version(reference, plan)
    scored = rows.scored
    example_ids = rows.examples.example_id[scored]
    records = [read_fold_record(store, fold.key) for fold in sorted(folds, key=lambda fold: fold.fold)]
    data = [_fold_bytes(store, record) for record in records]
    gathered = gather_folds(
        [_fold_probabilities(record, content) for record, content in zip(records, data, strict=True)],
        example_ids=example_ids,
        labels=rows.examples.label[scored],
        fold_of=rows.fold_of[:, scored],
        class_names=plan.class_names,
    )
    # Checked last, because the other checks report more precisely what changed since the fold was committed.
    for record, content in zip(records, data, strict=True):
        _check_unchanged(store, record, content)
    fold_rows = tuple(_fold_row(record, health) for record, health in zip(records, gathered.folds, strict=True))
    dynamics, notes = gather_dynamics(store, records, rows.fold_of[:, scored])
    probabilities = Probabilities(gathered.pred_probs, fold_rows, (*gathered.notes, *notes), dynamics)
    return probabilities.save(store, plan, example_ids)


def _fold_row(record: FoldRecord, health: FoldHealth) -> FoldRow:
    return FoldRow(
        fold=record.fold,
        repeat=record.repeat,
        training_examples=record.training_examples,
        held_out_examples=health.examples,
        agreement=health.agreement,
        mean_p_given=health.mean_p_given,
        training_loss=record.training_loss,
        epochs=record.epochs,
        seconds=record.seconds,
        device=record.device,
        precision=record.precision,
        threads=record.threads,
        seed=record.seed,
        sha256=record.sha256,
    )


def _fold_bytes(store: Store, record: FoldRecord) -> bytes:
    try:
        return store.read(record.key)
    except StorageError as error:
        raise IntegrityError(
            Fault.ROWS_MISSING,
            f"all {record.held_out_examples:,} rows are missing: {error}",
            "Run the audit again. Only this fold is trained again.",
            fold=record.fold,
            rows=record.held_out_examples,
        ) from error


def _fold_probabilities(record: FoldRecord, data: bytes) -> FoldProbabilities:
    try:
        stored = StoredProbabilities.from_bytes(data)
    except (pa.ArrowException, KeyError, ValueError) as error:
        problem = f"{record.key} is not the Parquet file that was committed ({type(error).__name__}: {error})"
        raise _altered(record, problem) from error
    return FoldProbabilities(
        fold=record.fold,
        repeat=record.repeat,
        example_ids=stored.example_ids,
        pred_probs=stored.pred_probs,
        class_names=stored.class_names,
        row_digests=stored.row_digests,
        trained_on=record.trained_on,
    )


def _check_unchanged(store: Store, record: FoldRecord, data: bytes) -> None:
    if sha256_hex(data) != record.sha256:
        raise _altered(record, f"{store.url_of(record.key)} does not have the checksum of its record")


def _altered(record: FoldRecord, problem: str) -> IntegrityError:
    return IntegrityError(
        Fault.ROWS_ALTERED,
        problem,
        "Remove that file and run the audit again. Only this fold is trained again.",
        fold=record.fold,
        rows=record.held_out_examples,
    )
