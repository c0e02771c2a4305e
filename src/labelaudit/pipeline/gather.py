"""Gather the folds: check that the probabilities of each view are out of fold, and blend the views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.fold_files import FoldFile
from labelaudit.audits.probabilities import FoldFileRecord, FoldRecord, GatheredFolds, read_fold_record
from labelaudit.audits.references import FilesReference, FoldReference, PlanReference
from labelaudit.audits.version import Version, load_version
from labelaudit.audits.work_files import file_on_this_machine
from labelaudit.detection.out_of_fold import FoldHealth, FoldProbabilities, gather_folds
from labelaudit.detection.probability_blocks import RawBlock
from labelaudit.errors import Fault, IntegrityError, StorageError
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.blend import GatheredView, blend_views
from labelaudit.pipeline.gather_dynamics import gather_dynamics
from labelaudit.report.audit_tables import FoldRow, ViewRow
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import ViewName
from labelaudit.storage.file_on_disk import sha256_of_file
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.text import listing


@with_one_blas_thread
def gather(reference: PlanReference, folds: list[FoldReference]) -> FilesReference:
    """Check all folds of each view, joined by example id, blend the views, and store what was found.

    Raises:
        IntegrityError: the folds of a view do not contain exactly one valid row per example and repeat.
    """
    store = output_store(reference)
    plan = load_plan(reference)
    rows = load_version(reference, plan)
    example_ids, labels = rows.of_scored(rows.examples.example_id), rows.of_scored(rows.examples.label)
    ordered = sorted(folds, key=lambda fold: fold.fold)
    files = TemporaryFiles()
    views = [
        _gather_view(store, plan, view.name, [fold.keys[number] for fold in ordered], rows, files)
        for number, view in enumerate(plan.views)
    ]
    dynamics, notes = _dynamics(store, views, rows.fold_of_scored)
    notes = (*(note for view in views for note in view.notes), *notes)
    fold_rows = tuple(row for view in views for row in view.fold_rows)
    if len(views) == 1:
        final = tuple(
            FoldFileRecord(record.fold, record.repeat, record.key, record.sha256) for record in views[0].records
        )
        gathered = GatheredFolds(final, fold_rows, notes, dynamics, (_only_view(views[0]),))
    else:
        blend = blend_views(store, plan, views, example_ids, labels, files)
        gathered = GatheredFolds(
            blend.files, (*fold_rows, *blend.folds), (*notes, *blend.notes), dynamics, blend.views, blend.views_agree
        )
    return gathered.save(store, plan)


def _gather_view(
    store: Store, plan: Plan, view: ViewName, keys: list[str], rows: Version, files: TemporaryFiles
) -> GatheredView:
    """Check the folds of one view, whose records are at `keys`."""
    records = [read_fold_record(store, key) for key in keys]
    try:
        _check_features(records)
        paths = [_fold_path(store, record, files) for record in records]
        gathered = gather_folds(
            [_fold_probabilities(record, path) for record, path in zip(records, paths, strict=True)],
            example_ids=rows.of_scored(rows.examples.example_id),
            labels=rows.of_scored(rows.examples.label),
            fold_of=rows.fold_of_scored,
            class_names=plan.class_names,
        )
        # Checked last, because the other checks report more precisely what changed since the fold was committed.
        for record, path in zip(records, paths, strict=True):
            _check_unchanged(store, record, path)
    except IntegrityError as error:
        raise error if len(plan.views) == 1 else error.of_view(view) from error
    fold_rows = [_fold_row(record, health) for record, health in zip(records, gathered.folds, strict=True)]
    notes = gathered.notes if len(plan.views) == 1 else tuple(f"View {view}: {note}" for note in gathered.notes)
    return GatheredView(view, tuple(records), tuple(fold_rows), notes, gathered.probabilities)


def _check_features(records: Sequence[FoldRecord]) -> None:
    """Check that all folds of a view were trained on the same features.

    Raises:
        IntegrityError: they were not. Features that are damaged or removed while folds train are encoded again, maybe
            on another device or in other batches, which changes them.
    """
    folds: dict[str | None, list[int]] = {}
    for record in records:
        folds.setdefault(record.features, []).append(record.fold)
    if len(folds) > 1:
        *others, most = sorted(folds.values(), key=len)
        differing = sorted(fold for group in others for fold in group)
        raise IntegrityError(
            Fault.FEATURES_DIFFER,
            f"{_named(differing)} and {_named(most)} were trained on different features of the encoder, but all folds "
            "of a view must see the same",
            "Run the audit again. The folds without the present features are trained again.",
            rows=sum(record.held_out_examples for record in records if record.fold in differing),
        )


def _named(folds: Sequence[int]) -> str:
    return f"fold{'s' * (len(folds) > 1)} {listing(folds)}"


def _dynamics(
    store: Store, views: Sequence[GatheredView], fold_of: np.ndarray
) -> tuple[Dynamics | None, tuple[str, ...]]:
    """Return how the network learned the rows; None if there is no network."""
    for view in views:
        if view.name == "network":
            return gather_dynamics(store, view.records, fold_of)
    return None, ()


def _only_view(view: GatheredView) -> ViewRow:
    rows = sum(row.held_out_examples for row in view.fold_rows)
    agreeing = sum(round(row.agreement * row.held_out_examples) for row in view.fold_rows)
    return ViewRow(view.name, 1.0, 1.0, agreeing / rows, None, rows - agreeing, 0)


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
        view=record.view,
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
