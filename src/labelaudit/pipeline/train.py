"""Train the views of one fold and commit the probabilities of the rows that it holds out."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from labelaudit.audits.audit_plan import Plan, PlannedView, load_plan, output_store
from labelaudit.audits.fold_files import pred_probs_table
from labelaudit.audits.probabilities import FoldRecord, read_fold_record
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.audits.stored_dynamics import dynamics_bytes
from labelaudit.audits.version import IDS_AND_LABELS, Version, load_version
from labelaudit.audits.work_files import parquet_bytes
from labelaudit.codec import to_record
from labelaudit.detection.rows import ids_digest
from labelaudit.errors import StorageError
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.device import limited_threads
from labelaudit.model.feature_fold import FeatureFold
from labelaudit.model.fold import FoldData, FoldFit, OnEpoch, fit_fold, rehearse_fold
from labelaudit.model.neighbours import fit_neighbours
from labelaudit.model.probe import fit_probe
from labelaudit.model.recipes import Recipe
from labelaudit.pipeline.decoded_inputs import model_inputs, open_inputs
from labelaudit.pipeline.version_features import features_digest, open_features
from labelaudit.schemas import ViewName
from labelaudit.storage.folder import StoredFolder
from labelaudit.storage.layout import fold_checkpoints_folder, fold_data_key, fold_dynamics_key
from labelaudit.storage.manifest import dump_json, sha256_hex
from labelaudit.storage.store import Store
from labelaudit.strings import Strings


def train_and_commit(
    reference: PlanReference,
    fold: int,
    on_epoch: OnEpoch | None = None,
    *,
    threads: int | None = None,
    is_pinned: bool = False,
) -> FoldReference:
    """Train each view of fold `fold` on all rows of the other folds.

    Views that are already committed are kept, unless the version's features were encoded again since then. The seed of
    a fold depends only on the run's seed, the repeat and the fold.

    Args:
        on_epoch: receives the progress of the first view that is trained, which takes the longest.
        threads: limit of CPU threads; None keeps those of the process.
        is_pinned: this process sees only the GPUs of its fold, so `cuda:<n>` means the GPU that it sees.

    Raises:
        TrainingError: the device is missing, or the loss is not finite.
    """
    store = output_store(reference)
    plan = load_plan(reference)
    missing = _missing_views(store, plan, fold, _present_features(store, plan))
    if missing:
        part = _Part.of_fold(reference, plan, fold, is_pinned=is_pinned)
        with limited_threads(threads):
            for view in missing:
                _train_view(store, part, view, on_epoch if view == missing[0] else None)
    for view in plan.views:
        _remove_checkpoints(_checkpoints_folder(store, plan, view, fold))
    return plan.fold_reference(fold)


@dataclass(frozen=True)
class _Part:
    """One fold of a plan: its rows, and its device."""

    reference: PlanReference
    plan: Plan
    fold: int
    rows: Version
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    device: str
    is_pinned: bool

    @classmethod
    def of_fold(cls, reference: PlanReference, plan: Plan, fold: int, *, is_pinned: bool) -> _Part:
        needs_groups = any(view.name != "network" for view in plan.views)
        columns = (*IDS_AND_LABELS, "group") if needs_groups else IDS_AND_LABELS
        rows = load_version(reference, plan, columns)
        held_out = _shuffled(rows.held_out(fold, plan.folds), rows.examples.example_id)
        device = plan.config.training.device
        return cls(
            reference=reference,
            plan=plan,
            fold=fold,
            rows=rows,
            train_rows=rows.training(fold, plan.folds),
            held_out_rows=held_out,
            device=device.partition(":")[0] if is_pinned else device,
            is_pinned=is_pinned,
        )

    @property
    def seed(self) -> int:
        return fold_seed(self.plan, self.fold)

    @contextlib.contextmanager
    def network_data(self) -> Iterator[FoldData]:
        """Yield the data of the network: the decoded inputs of this machine."""
        with open_inputs(self.reference, self.plan) as folder:
            yield FoldData(
                self.plan.kind,
                model_inputs(folder, self.plan.kind),
                self.rows.examples.label,
                len(self.plan.class_names),
                self.train_rows,
                self.held_out_rows,
            )

    @contextlib.contextmanager
    def feature_data(self) -> Iterator[tuple[FeatureFold, str | None]]:
        """Yield the data of the other views, and the digest of the features of an encoder.

        It is None for vectors, which are features already.
        """
        with contextlib.ExitStack() as stack:
            digest = None
            if self.plan.encoder is not None:
                opened = stack.enter_context(open_features(self.reference, self.plan, is_pinned=self.is_pinned))
                features, digest = opened.values, opened.digest
            else:
                folder = stack.enter_context(open_inputs(self.reference, self.plan))
                features = np.asarray(model_inputs(folder, self.plan.kind))
            data = FeatureFold(
                features,
                self.rows.examples.label,
                len(self.plan.class_names),
                self.train_rows,
                self.held_out_rows,
                groups=self.rows.examples.group.numbers(),
            )
            yield data, digest

    @property
    def training_ids(self) -> Strings:
        return self.rows.examples.example_id[self.train_rows]

    @property
    def held_out_ids(self) -> Strings:
        return self.rows.examples.example_id[self.held_out_rows]


@dataclass(frozen=True)
class _Trained:
    """A trained view, and the digest of the features that it learned from; None if these are not of an encoder."""

    fit: FoldFit
    features: str | None = None


def _train_view(store: Store, part: _Part, view: PlannedView, on_epoch: OnEpoch | None) -> None:
    started = time.monotonic()
    trained = _FIT[view.name](store, part, view, on_epoch)
    _commit(store, part, view, trained, time.monotonic() - started)


def _fit_network(store: Store, part: _Part, view: PlannedView, on_epoch: OnEpoch | None) -> _Trained:
    with part.network_data() as data:
        fit = fit_fold(
            data,
            _recipe(part.plan),
            device=part.device,
            precision=part.plan.config.training.precision,
            seed=part.seed,
            on_epoch=on_epoch,
            checkpoints=_checkpoints(part, _checkpoints_folder(store, part.plan, view, part.fold)),
        )
    return _Trained(fit)


def _fit_features(store: Store, part: _Part, view: PlannedView, on_epoch: OnEpoch | None) -> _Trained:
    fit = fit_probe if view.name == "probe" else fit_neighbours
    with part.feature_data() as (data, digest):
        return _Trained(fit(data, device=part.device, seed=part.seed, on_epoch=on_epoch), digest)


_FIT: dict[ViewName, Callable[[Store, _Part, PlannedView, OnEpoch | None], _Trained]] = {
    "network": _fit_network,
    "probe": _fit_features,
    "neighbours": _fit_features,
}


def rehearse_training(reference: PlanReference) -> None:
    """Do what `train_and_commit` does for the first fold, but with few training steps, and commit nothing.

    This measures how much memory a fold needs; all folds are equally large. The process must see only the GPUs of its
    fold.
    """
    plan = load_plan(reference)
    part = _Part.of_fold(reference, plan, 0, is_pinned=True)
    for view in plan.views:
        drawn = _rehearse_view(part, view)
        ids_digest(part.training_ids)
        parquet_bytes(pred_probs_table(part.held_out_ids, drawn, plan.class_names))


def _rehearse_view(part: _Part, view: PlannedView) -> np.ndarray:
    if view.name != "network":
        # It has no epochs to leave out, and takes seconds for 50,000 rows.
        return _FIT[view.name](output_store(part.reference), part, view, None).fit.pred_probs
    with part.network_data() as data:
        return rehearse_fold(
            data,
            _recipe(part.plan),
            device=part.device,
            precision=part.plan.config.training.precision,
            seed=part.seed,
        )


def _recipe(plan: Plan) -> Recipe:
    assert plan.recipe is not None, "nothing is trained for external probabilities"
    return plan.recipe


def missing_folds(reference: PlanReference, plan: Plan, folds: list[int]) -> list[int]:
    """Return the folds that lack a committed view."""
    store = output_store(reference)
    features = _present_features(store, plan)
    return [fold for fold in folds if _missing_views(store, plan, fold, features)]


def _present_features(store: Store, plan: Plan) -> str | None:
    """Return the digest of the features that a fold would open now; None if no fold has opened any."""
    return None if plan.encoder is None else features_digest(store, plan)


def _missing_views(store: Store, plan: Plan, fold: int, features: str | None) -> list[PlannedView]:
    def is_done(view: PlannedView) -> bool:
        expected = None if view.name == "network" else features
        return is_committed(store, plan.fold_record_key(view, fold), expected)

    return [view for view in plan.views if not is_done(view)]


def fold_seed(plan: Plan, fold: int) -> int:
    """Return the seed of one fold, 31 bits."""
    text = f"{plan.config.training.seed}/{fold // plan.folds}/{fold % plan.folds}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def is_committed(store: Store, record_key: str, features: str | None = None) -> bool:
    """Return whether a fold's record and the files that it points to exist.

    Args:
        features: digest of the features that it must have been trained on; None: any, or none.
    """
    if not store.exists(record_key):
        return False
    record = read_fold_record(store, record_key)
    has_features = features is None or record.features == features
    if has_features and all(store.exists(key) for key in (record.key, record.dynamics_key) if key is not None):
        return True
    # Without its files the record is useless, and all folds need the same features. So the fold is trained again.
    store.remove(record_key)
    return False


def _checkpoints_folder(store: Store, plan: Plan, view: PlannedView, fold: int) -> StoredFolder:
    return StoredFolder(store, fold_checkpoints_folder(plan.dataset, view.training_key, fold))


def _checkpoints(part: _Part, unfinished: StoredFolder) -> Checkpoints | None:
    if part.reference.checkpoint_minutes is None:
        return None
    # After the last member, little is left to do, and storing a checkpoint would take longer.
    finished = "keep" if _recipe(part.plan).members > 1 else "leave"
    return Checkpoints(unfinished, part.reference.checkpoint_minutes, finished=finished)


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


def _commit(store: Store, part: _Part, view: PlannedView, trained: _Trained, seconds: float) -> None:
    plan, fold, key, fit = part.plan, part.fold, view.training_key, trained.fit
    data = parquet_bytes(pred_probs_table(part.held_out_ids, fit.pred_probs, plan.class_names))
    sha256 = sha256_hex(data)
    data_key = fold_data_key(plan.dataset, key, fold, sha256)
    store.write(data_key, data)
    dynamics_key = dynamics_sha256 = None
    if fit.dynamics is not None:
        dynamics = dynamics_bytes(fit.dynamics)
        dynamics_sha256 = sha256_hex(dynamics)
        dynamics_key = fold_dynamics_key(plan.dataset, key, fold, dynamics_sha256)
        store.write(dynamics_key, dynamics)
    record = FoldRecord(
        fold=fold,
        repeat=fold // plan.folds,
        key=data_key,
        sha256=sha256,
        training_examples=len(part.train_rows),
        held_out_examples=len(part.held_out_rows),
        trained_on=ids_digest(part.training_ids),
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
        view=view.name,
        chosen=fit.chosen,
        features=trained.features,
    )
    store.create(plan.fold_record_key(view, fold), dump_json(to_record(record)))
