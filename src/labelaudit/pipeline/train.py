"""Train one fold and commit the probabilities of the rows that it holds out."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable

import numpy as np

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.fold_files import pred_probs_table
from labelaudit.audits.probabilities import FoldRecord, read_fold_record
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.audits.stored_dynamics import dynamics_bytes
from labelaudit.audits.version import load_version
from labelaudit.audits.work_files import parquet_bytes
from labelaudit.codec import to_record
from labelaudit.detection.rows import ids_digest
from labelaudit.errors import StorageError
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.device import limited_threads
from labelaudit.model.fold import FoldData, FoldFit, FoldInputs, fit_fold, rehearse_fold
from labelaudit.model.recipes import Recipe
from labelaudit.pipeline.decoded_inputs import model_inputs, open_inputs
from labelaudit.storage.folder import StoredFolder
from labelaudit.storage.layout import fold_checkpoints_folder, fold_data_key, fold_dynamics_key, fold_record_key
from labelaudit.storage.manifest import dump_json, sha256_hex
from labelaudit.storage.store import Store
from labelaudit.strings import Strings


def train_and_commit(
    reference: PlanReference,
    fold: int,
    on_epoch: Callable[[int, int, float], None] | None = None,
    *,
    threads: int | None = None,
    is_pinned: bool = False,
) -> FoldReference:
    """Train fold `fold` on all rows of the other folds; return at once if it is already committed.

    The fold's seed depends only on the run's seed, the repeat and the fold.

    Args:
        threads: limit of CPU threads; None keeps those of the process.
        is_pinned: this process sees only the GPUs of its fold, so `cuda:<n>` means the GPU that it sees.

    Raises:
        TrainingError: the device is missing, or the loss is not finite.
    """
    store = output_store(reference)
    plan = load_plan(reference)
    key = fold_record_key(plan.dataset, plan.training_key, fold)
    unfinished = StoredFolder(store, fold_checkpoints_folder(plan.dataset, plan.training_key, fold))
    if is_committed(store, key):
        _remove_checkpoints(unfinished)
        return FoldReference(fold, key)
    rows = load_version(reference, plan)
    held_out = _shuffled(rows.held_out(fold, plan.folds), rows.examples.example_id)
    training = rows.training(fold, plan.folds)
    started = time.monotonic()
    checkpoints = _checkpoints(reference, plan, unfinished)
    with open_inputs(reference, plan) as folder, limited_threads(threads):
        inputs = model_inputs(folder, plan.kind)
        fit = fit_fold(
            _fold_data(plan, inputs, rows.examples.label, training, held_out),
            _recipe(plan),
            device=_device(plan, is_pinned),
            precision=plan.config.training.precision,
            seed=fold_seed(plan, fold),
            on_epoch=on_epoch,
            checkpoints=checkpoints,
        )
    ids = rows.examples.example_id
    seconds = time.monotonic() - started
    _commit(store, plan, fold, fit, ids[held_out], ids_digest(ids[training]), len(training), seconds)
    _remove_checkpoints(unfinished)
    return FoldReference(fold, key)


def rehearse_training(reference: PlanReference) -> None:
    """Do what `train_and_commit` does for the first fold, but with few training steps, and commit nothing.

    This measures how much memory a fold needs; all folds are equally large. The process must see only the GPUs of its
    fold.
    """
    plan = load_plan(reference)
    rows = load_version(reference, plan)
    ids = rows.examples.example_id
    held_out = _shuffled(rows.held_out(0, plan.folds), ids)
    training = rows.training(0, plan.folds)
    with open_inputs(reference, plan) as folder:
        inputs = model_inputs(folder, plan.kind)
        drawn = rehearse_fold(
            _fold_data(plan, inputs, rows.examples.label, training, held_out),
            _recipe(plan),
            device=_device(plan, is_pinned=True),
            precision=plan.config.training.precision,
            seed=fold_seed(plan, 0),
        )
    ids_digest(ids[training])
    parquet_bytes(pred_probs_table(ids[held_out], drawn, plan.class_names))


def _fold_data(
    plan: Plan, inputs: FoldInputs, labels: np.ndarray, train_rows: np.ndarray, held_out_rows: np.ndarray
) -> FoldData:
    return FoldData(plan.kind, inputs, labels, len(plan.class_names), train_rows, held_out_rows)


def _device(plan: Plan, is_pinned: bool) -> str:
    device = plan.config.training.device
    return device.partition(":")[0] if is_pinned else device


def _recipe(plan: Plan) -> Recipe:
    assert plan.recipe is not None, "nothing is trained for external probabilities"
    return plan.recipe


def missing_folds(reference: PlanReference, plan: Plan, folds: list[int]) -> list[int]:
    """Return those of the folds that are not committed yet."""
    store = output_store(reference)
    keys = {fold: fold_record_key(plan.dataset, plan.training_key, fold) for fold in folds}
    return [fold for fold in folds if not is_committed(store, keys[fold])]


def fold_seed(plan: Plan, fold: int) -> int:
    """Return the seed of one fold, 31 bits."""
    text = f"{plan.config.training.seed}/{fold // plan.folds}/{fold % plan.folds}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def is_committed(store: Store, record_key: str) -> bool:
    """Return whether a fold's record and the files that it points to exist."""
    if not store.exists(record_key):
        return False
    record = read_fold_record(store, record_key)
    if all(store.exists(key) for key in (record.key, record.dynamics_key) if key is not None):
        return True
    # Without its files the record is useless, so the fold is trained again.
    store.remove(record_key)
    return False


def _checkpoints(reference: PlanReference, plan: Plan, unfinished: StoredFolder) -> Checkpoints | None:
    if reference.checkpoint_minutes is None:
        return None
    # After the last member, little is left to do, and storing a checkpoint would take longer.
    finished = "keep" if _recipe(plan).members > 1 else "leave"
    return Checkpoints(unfinished, reference.checkpoint_minutes, finished=finished)


def _remove_checkpoints(unfinished: StoredFolder) -> None:
    # Checkpoints that cannot be listed or removed do no harm.
    with contextlib.suppress(StorageError):
        unfinished.clear()


def _shuffled(held_out: np.ndarray, ids: Strings) -> np.ndarray:
    """Return held-out rows in the order of their ids' hashes.

    Sorted ids often sort the classes too (paths of image folders do); probabilities shifted by one row would
    then still agree with most labels, and the integrity gate could not see the shift.
    """
    digests = (hashlib.blake2b(example_id.encode(), digest_size=8).digest() for example_id in ids[held_out])
    hashes = np.frombuffer(b"".join(digests), np.uint64)
    return held_out[np.argsort(hashes, kind="stable")]


def _commit(
    store: Store,
    plan: Plan,
    fold: int,
    fit: FoldFit,
    example_ids: Strings,
    trained_on: str,
    training_examples: int,
    seconds: float,
) -> None:
    data = parquet_bytes(pred_probs_table(example_ids, fit.pred_probs, plan.class_names))
    sha256 = sha256_hex(data)
    data_key = fold_data_key(plan.dataset, plan.training_key, fold, sha256)
    store.write(data_key, data)
    dynamics = dynamics_bytes(fit.dynamics)
    dynamics_sha256 = sha256_hex(dynamics)
    dynamics_key = fold_dynamics_key(plan.dataset, plan.training_key, fold, dynamics_sha256)
    store.write(dynamics_key, dynamics)
    record = FoldRecord(
        fold=fold,
        repeat=fold // plan.folds,
        key=data_key,
        sha256=sha256,
        training_examples=training_examples,
        held_out_examples=len(example_ids),
        trained_on=trained_on,
        training_loss=fit.training_loss,
        losses=fit.losses,
        epochs=fit.epochs,
        members=fit.members,
        seconds=round(seconds, 3),
        device=fit.device,
        precision=fit.precision,
        threads=fit.threads,
        seed=fit.seed,
        dynamics_key=dynamics_key,
        dynamics_sha256=dynamics_sha256,
    )
    store.create(fold_record_key(plan.dataset, plan.training_key, fold), dump_json(to_record(record)))
