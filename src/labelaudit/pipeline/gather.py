"""Gather the folds: check that their probabilities are out of fold, which stay in the folds' files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelaudit.audits.audit_plan import load_plan, output_store
from labelaudit.audits.fold_files import FoldFile
from labelaudit.audits.probabilities import FoldRecord, GatheredFolds, read_fold_record
from labelaudit.audits.references import FilesReference, FoldReference, PlanReference
from labelaudit.audits.version import load_version
from labelaudit.audits.work_files import file_on_this_machine
from labelaudit.detection.out_of_fold import FoldHealth, FoldProbabilities, gather_folds
from labelaudit.detection.probability_blocks import RawBlock
from labelaudit.errors import Fault, IntegrityError, StorageError
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.gather_dynamics import gather_dynamics
from labelaudit.report.audit_tables import FoldRow
from labelaudit.storage.file_on_disk import sha256_of_file
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles


@with_one_blas_thread
def gather(reference: PlanReference, folds: list[FoldReference]) -> FilesReference:
    """Check all folds, joined by example id, and store what was found in the work folder.

    Raises:
        IntegrityError: the folds do not contain exactly one valid row per example and repeat.
    """
    store = output_store(reference)
    plan = load_plan(reference)
    rows = load_version(reference, plan)
    example_ids, fold_of = rows.of_scored(rows.examples.example_id), rows.fold_of_scored
    records = [read_fold_record(store, fold.key) for fold in sorted(folds, key=lambda fold: fold.fold)]
    files = TemporaryFiles()
    paths = [_fold_path(store, record, files) for record in records]
    gathered = gather_folds(
        [_fold_probabilities(record, path) for record, path in zip(records, paths, strict=True)],
        example_ids=example_ids,
        labels=rows.of_scored(rows.examples.label),
        fold_of=fold_of,
        class_names=plan.class_names,
    )
    # Checked last, because the other checks report more precisely what changed since the fold was committed.
    for record, path in zip(records, paths, strict=True):
        _check_unchanged(store, record, path)
    fold_rows = tuple(_fold_row(record, health) for record, health in zip(records, gathered.folds, strict=True))
    dynamics, notes = gather_dynamics(store, records, fold_of)
    keys = tuple(record.key for record in records)
    return GatheredFolds(keys, fold_rows, (*gathered.notes, *notes), dynamics).save(store, plan)


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


def _fold_path(store: Store, record: FoldRecord, files: TemporaryFiles) -> Path:
    try:
        return file_on_this_machine(store, record.key, files)
    except StorageError as error:
        raise IntegrityError(
            Fault.ROWS_MISSING,
            f"all {record.held_out_examples:,} rows are missing: {error}",
            "Run the audit again. Only this fold is trained again.",
            fold=record.fold,
            rows=record.held_out_examples,
        ) from error


def _fold_probabilities(record: FoldRecord, path: Path) -> FoldProbabilities:
    with _named_damage(record):
        file = FoldFile(path)
    return FoldProbabilities(
        fold=record.fold,
        repeat=record.repeat,
        example_ids=file.example_ids(),
        raw=_FoldRows(record, file),
        class_names=file.class_names,
        row_digests=file.row_digests(),
        trained_on=record.trained_on,
    )


@dataclass(frozen=True)
class _FoldRows:
    """The rows of a fold's file. Damage that appears while they are read is an error that names the fold."""

    record: FoldRecord
    file: FoldFile

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.file.dtype

    def blocks(self) -> Iterator[RawBlock]:
        with _named_damage(self.record):
            yield from self.file.blocks()


@contextmanager
def _named_damage(record: FoldRecord) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        problem = f"{record.key} is not the Parquet file that was committed ({type(error).__name__}: {error})"
        raise record.altered(problem, record.held_out_examples) from error


def _check_unchanged(store: Store, record: FoldRecord, path: Path) -> None:
    if sha256_of_file(path) != record.sha256:
        raise record.altered(
            f"{store.url_of(record.key)} does not have the checksum of its record", record.held_out_examples
        )
