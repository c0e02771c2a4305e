"""Train the folds of a published audit again on cleaned labels: the plan, and the predictions of both trainings.

The plan is that of the audit, with the same folds and seeds. Only the labels differ, and some rows are held out but not
trained on. Its folds have their own training keys, so the audit's are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.audit_plan import RECORD, Plan, PlannedView, commit_record, output_store
from labelaudit.audits.fold_files import FoldFile
from labelaudit.audits.probabilities import read_fold_record
from labelaudit.audits.published import PublishedAudit
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.audits.stored_answers import ANSWERS_FILE
from labelaudit.audits.version import LEFT_OUT, ROWS
from labelaudit.audits.work_files import parquet_file, read_columns, unchanged_file
from labelaudit.detection.blending import FoldViews, fit_mixtures
from labelaudit.detection.probability_blocks import ArrayBlocks, PredProbs
from labelaudit.environment import package_version
from labelaudit.errors import ReviewError
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.plan import network_digest
from labelaudit.reviews.clean_labels import Action
from labelaudit.schemas import Status
from labelaudit.storage.layout import published_fold_key, work_folder
from labelaudit.storage.manifest import digest_of, sha256_hex
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.text import listing
from labelaudit.versions.discover import open_version

# Values per view that the weights of views are fitted on.
_FITTED_VALUES = 2**21


@dataclass(frozen=True)
class Retraining:
    """A training on cleaned labels that is ready to run."""

    reference: PlanReference
    plan: Plan
    digest: str  # of the cleaned labels
    example_ids: pa.ChunkedArray  # of the M scored rows
    labels: npt.NDArray[np.int64]  # (M,) class numbers that are trained on; -1 if the row is left out
    actions: dict[str, int]  # scored rows by Action

    @property
    def training_rows(self) -> int:
        return int((self.labels >= 0).sum())


def plan_retraining(audit: PublishedAudit, plan: Plan, clean: pa.Table, options: Mapping[str, object]) -> Retraining:
    """Store the plan of a training on cleaned labels.

    Args:
        audit: a published audit.
        plan: of `plan_to_repeat`.
        clean: what to do with its rows (`clean_labels.CLEAN`), in the order of EXAMPLES.
        options: `storage.options` of the config.

    Raises:
        ReviewError: if no label changes, or a class would be left without training rows.
    """
    files = TemporaryFiles()
    file = unchanged_file(audit.store, f"{plan.work_folder}/{ROWS}", plan.rows_sha256, files)
    rows = read_columns(file.path, None)
    labels, actions = _cleaned_labels(rows, clean, plan.class_names)
    is_scored = rows["label"].to_numpy() >= 0
    _check_labels(plan, rows, labels, is_scored, actions)
    is_left_out = is_scored & (labels < 0)
    trained = np.where(is_left_out, rows["label"].to_numpy(), labels)
    digest = sha256_hex(labels.astype("<i8").tobytes())[:16]
    cleaned = replace(
        plan,
        audit_id=f"{plan.audit_id}-{digest}",
        views=tuple(PlannedView(view.name, digest_of(view.training_key, digest)[:24]) for view in plan.views),
    )
    number = rows.column_names.index("label")
    rows = rows.set_column(number, "label", pa.array(trained, rows.schema.field("label").type))
    changed = parquet_file([rows.append_column(LEFT_OUT, pa.array(is_left_out))], files)
    cleaned = replace(cleaned, rows_sha256=changed.sha256)
    audit.store.write_file(f"{cleaned.work_folder}/{ROWS}", changed)
    if plan.annotations_sha256:
        # A machine that reads the dataset again needs the answers, if these are the labels.
        answers = unchanged_file(audit.store, f"{plan.work_folder}/{ANSWERS_FILE}", plan.annotations_sha256, files)
        audit.store.write_file(f"{cleaned.work_folder}/{ANSWERS_FILE}", answers)
    record = commit_record(audit.store, cleaned)
    config = plan.config
    reference = PlanReference(
        dataset_url=open_version(config).url,
        output_url=audit.store.url,
        storage_options=dict(options),
        cache_bytes=config.limits.cache,
        key=f"{cleaned.work_folder}/{RECORD}",
        sha256=sha256_hex(record),
        marker=config.versions.marker,
        state=None,
        checkpoint_minutes=config.workers.checkpoint_minutes,
    )
    return Retraining(
        reference, cleaned, digest, rows["example_id"].filter(pa.array(is_scored)), labels[is_scored], actions
    )


def plan_to_repeat(audit: PublishedAudit) -> Plan:
    """Return the plan of an audit that can be trained again.

    Raises:
        ReviewError: if it is missing, or training would not be the same today.
    """
    again = "Run the audit again, and prove that one."
    if audit.facts.deciding.kind == "probabilities":
        raise ReviewError(
            f"The probabilities of the audit at {audit.url} were made elsewhere, so its models cannot be trained "
            "again. Name an audit of `labelaudit run`."
        )
    key = f"{work_folder(audit.dataset, audit.version, audit.audit_id)}/{RECORD}"
    if not audit.store.exists(key):
        raise ReviewError(f"The plan of the audit is no longer at {audit.store.url_of(key)}. {again}")
    try:
        plan = Plan.from_json(audit.store.read(key))
    except ValueError as error:
        raise ReviewError(f"{audit.store.url_of(key)} is not a plan of this release ({error}). {again}") from error
    made_by = plan.versions.get("labelaudit")
    if made_by != package_version():
        raise ReviewError(
            f"The audit was made by labelaudit {made_by}, and this is {package_version()}, whose training may differ. "
            f"{again}"
        )
    if plan.code != (network_digest(plan.config) if plan.recipe is not None else None):
        raise ReviewError(f"The code or the weights of the network changed since the audit. {again}")
    return plan


def _cleaned_labels(
    rows: pa.Table, clean: pa.Table, class_names: Sequence[str]
) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    """Return the class number of the cleaned label of each row, -1 without one, and the scored rows by action.

    Raises:
        ReviewError: if the rows are others.
    """
    if not rows["example_id"].cast(pa.string()).combine_chunks().equals(clean["example_id"].combine_chunks()):
        raise ReviewError("The rows of the audit are not those of its plan. Run the audit again, and prove that one.")
    is_scored = pc.equal(rows["status"].cast(pa.string()), Status.SCORED.value).to_numpy(zero_copy_only=False)
    is_kept = pc.is_in(clean["action"], pa.array([Action.KEEP, Action.RELABEL], pa.string()))
    label = pc.if_else(is_kept, clean["label"], pa.scalar(None, pa.string()))
    numbers = pc.index_in(label, value_set=pa.array(class_names, pa.string())).combine_chunks()
    found = pc.fill_null(numbers, -1).to_numpy(zero_copy_only=False)
    labels = np.where(is_scored, found, -1).astype(np.int64)
    # A label that is not a class of the audit cannot be trained with.
    action = pc.if_else(pa.array(is_scored & (found < 0) & is_kept.to_numpy()), Action.UNSURE.value, clean["action"])
    of_scored = action.filter(pa.array(is_scored))
    counts = {one["values"]: one["counts"] for one in pc.value_counts(of_scored).to_pylist()}
    return labels, {action.value: counts.get(action.value, 0) for action in Action}


def _check_labels(
    plan: Plan, rows: pa.Table, labels: npt.NDArray[np.int64], is_scored: npt.NDArray[np.bool_], actions: dict[str, int]
) -> None:
    """Check that something changes, and that every class is left in the training rows of every fold.

    Raises:
        ReviewError: otherwise.
    """
    if np.array_equal(labels[is_scored], rows["label"].to_numpy()[is_scored]):
        raise ReviewError(
            f"The cleaned labels are the given ones: all {actions['keep']:,} scored rows are kept. There is nothing to "
            "compare."
        )
    size = len(plan.class_names)
    for repeat in range(plan.repeats):
        fold_of = rows[f"fold_of_repeat_{repeat}"].to_numpy()
        total = np.bincount(labels[labels >= 0], minlength=size)
        for fold in np.unique(fold_of[fold_of >= 0]):
            held_out = np.bincount(labels[(labels >= 0) & (fold_of == fold)], minlength=size)
            if missing := [plan.class_names[number] for number in np.flatnonzero(total == held_out)]:
                raise ReviewError(
                    f"No row is left to train these classes without fold {fold}: {listing(missing)}. Review their "
                    "flagged rows, so that fewer are left out."
                )


def published_predictions(
    audit: PublishedAudit, retraining: Retraining, positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the classes that the published models predict for some scored rows: (J,) class numbers."""
    files = TemporaryFiles()
    plan, ids = retraining.plan, pd.Index(retraining.example_ids.take(pa.array(positions)).to_pylist())
    total = np.zeros((len(ids), len(plan.class_names)))
    for fold in range(plan.folds * plan.repeats):
        name = published_fold_key(fold)
        path = unchanged_file(audit.store, f"{audit.folder}/{name}", audit.sha256[name], files).path
        for rows, pred_probs in _wanted(FoldFile(path), ids):
            total[rows] += pred_probs
    return np.asarray(total.argmax(axis=1), np.int64)


def _wanted(file: FoldFile, ids: pd.Index) -> Iterator[tuple[npt.NDArray[np.int64], PredProbs]]:
    """Yield the rows of a file that have one of the ids: their places in `ids`, and their probabilities."""
    place = np.asarray(ids.get_indexer(file.example_ids().arrow.to_pylist()), np.int64)
    for rows, pred_probs in file.blocks():
        is_wanted = place[rows] >= 0
        yield place[rows][is_wanted], pred_probs[is_wanted]


@with_one_blas_thread
def retrained_predictions(
    retraining: Retraining, folds: Sequence[FoldReference], positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the classes that the models of the cleaned labels predict for some scored rows: (J,) class numbers.

    Views are blended as in the audit: by their log loss on the cleaned labels of the other folds.
    """
    plan, ids = retraining.plan, retraining.example_ids.to_pylist()
    wanted = pd.Index([ids[position] for position in positions])
    label_of = pd.Series(retraining.labels, ids)
    parts = [_FoldPart.of(retraining, fold, wanted, label_of) for fold in folds]
    total = np.zeros((len(wanted), len(plan.class_names)))
    for part, pred_probs in zip(parts, _blended(parts), strict=True):
        total[part.wanted] += pred_probs
    return np.asarray(total.argmax(axis=1), np.int64)


@dataclass(frozen=True, eq=False)
class _FoldPart:
    """What is needed of one fold: V times the probabilities of the wanted rows, and of rows to fit the weights on."""

    fold: int
    repeat: int
    wanted: npt.NDArray[np.int64]  # (j,) places of the wanted rows
    of_wanted: tuple[PredProbs, ...]  # V times (j, K)
    labels: npt.NDArray[np.int64]  # (n,)
    of_fitted: tuple[PredProbs, ...]  # V times (n, K)

    @classmethod
    def of(cls, retraining: Retraining, fold: FoldReference, wanted: pd.Index, label_of: pd.Series) -> _FoldPart:
        plan, files = retraining.plan, TemporaryFiles()
        most = max(1, _FITTED_VALUES // (plan.folds * len(plan.class_names)))
        store = output_store(retraining.reference)
        views = []
        for key in fold.keys:
            record = read_fold_record(store, key)
            file = FoldFile(unchanged_file(store, record.key, record.sha256, files).path)
            ids = file.example_ids().arrow.to_pylist()
            place, labels = wanted.get_indexer(ids), label_of.reindex(ids).to_numpy()
            # The order of rows within a fold is random, so the first ones are a sample.
            is_fitted = (labels >= 0) & (np.cumsum(labels >= 0) <= most)
            kept = [(pred_probs[place[rows] >= 0], pred_probs[is_fitted[rows]]) for rows, pred_probs in file.blocks()]
            of_wanted, of_fitted = (np.concatenate(arrays) for arrays in zip(*kept, strict=True))
            views.append((place[place >= 0], of_wanted, labels[is_fitted], of_fitted))
        return cls(
            fold.fold,
            fold.fold // plan.folds,
            np.asarray(views[0][0], np.int64),
            tuple(view[1] for view in views),
            np.asarray(views[0][2], np.int64),
            tuple(view[3] for view in views),
        )


def _blended(parts: Sequence[_FoldPart]) -> list[PredProbs]:
    """Return the blended probabilities of the wanted rows of each fold."""
    if len(parts[0].of_wanted) == 1:
        return [part.of_wanted[0] for part in parts]
    starts = np.cumsum([0, *(len(part.labels) for part in parts)])
    folds = [
        FoldViews(
            part.fold,
            part.repeat,
            np.arange(start, start + len(part.labels)),
            tuple(ArrayBlocks(view) for view in part.of_fitted),
        )
        for part, start in zip(parts, starts[:-1], strict=True)
    ]
    mixtures = fit_mixtures(folds, np.concatenate([part.labels for part in parts]))
    return [mixtures[part.fold].mixed(mixtures[part.fold].calibrated(part.of_wanted)) for part in parts]
