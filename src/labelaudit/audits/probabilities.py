"""Out-of-fold probabilities in storage: those of one committed fold, and those of all folds."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.fold_files import FoldFile
from labelaudit.audits.references import FilesReference
from labelaudit.audits.stored_dynamics import dynamics_bytes, dynamics_from_bytes
from labelaudit.audits.work_files import file_on_this_machine, load_file, parquet_bytes, store_files
from labelaudit.codec import from_record, to_record
from labelaudit.detection.joined_folds import JoinedFolds, PlacedRows
from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.detection.rows import Place, check_distributions
from labelaudit.errors import Fault, IntegrityError, StorageError
from labelaudit.report.audit_tables import FoldRow, ViewRow
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import ViewName
from labelaudit.storage.file_on_disk import sha256_of_file
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

HEALTH = "health.json"
DYNAMICS_FILE = "dynamics.parquet"
VIEWS_AGREE = "views_agree.parquet"


@dataclass(frozen=True)
class FoldRecord:
    """The record of a committed fold, written after the Parquet file that it points to."""

    fold: int  # repeat * folds + the fold within the repeat
    repeat: int
    key: str  # of its Parquet file below the output URL
    sha256: str  # of that file
    training_examples: int
    held_out_examples: int
    trained_on: str  # `ids_digest` of the training rows
    training_loss: float
    losses: list[float]
    epochs: int
    members: int
    seconds: float
    device: str
    precision: str
    threads: int
    seed: int
    # The training dynamics of its training rows, in canonical order. None: an earlier release trained it.
    dynamics_key: str | None = None
    dynamics_sha256: str | None = None
    view: ViewName = "network"
    chosen: dict[str, float] = field(default_factory=dict)  # settings that were chosen within the fold
    features: str | None = None  # `VersionFeatures.digest` of what it was trained on; None: not on those of an encoder

    def altered(self, problem: str, rows: int) -> IntegrityError:
        """Return the error of a file that is not the one that was committed.

        Args:
            problem: what differs.
            rows: the rows of that file.
        """
        return IntegrityError(
            Fault.ROWS_ALTERED,
            problem,
            "Remove that file and run the audit again. Only this fold is trained again.",
            fold=self.fold,
            rows=rows,
        )


@dataclass(frozen=True)
class Probabilities:
    """Checked out-of-fold probabilities of the M scored rows.

    Attributes:
        probabilities: M rows of K classes, with columns in the order of the plan's `class_names`. Positions are in
            canonical order.
        folds: a row for each fold and view that was trained here.
        notes: sentences for people.
        dynamics: how the M rows were learned; None if they were not trained here.
        views: a row for each view that was trained here.
        views_agree: (M,) float32, how many views predict the same other label than the given one; None if there are
            not several views.
    """

    probabilities: ProbabilityBlocks
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]
    dynamics: Dynamics | None = None
    views: tuple[ViewRow, ...] = ()
    views_agree: np.ndarray | None = None

    @property
    def ranking_dynamics(self) -> Dynamics | None:
        """The dynamics, if they help to rank the rows; None if several views are blended.

        They describe how the network alone learned a row, and made rankings worse than those of the blend.
        """
        return self.dynamics if self.views_agree is None else None


@dataclass(frozen=True)
class FoldFileRecord:
    """The Parquet file with the final probabilities of one fold: those of the only view, or the blend of several."""

    fold: int
    repeat: int
    key: str  # below the output URL
    sha256: str


@dataclass(frozen=True)
class GatheredFolds:
    """The result of checking all folds. The probabilities stay in files.

    Attributes:
        files: the final probabilities of each fold.
        folds: a row for each fold and view.
        notes: sentences for people.
        dynamics: how the network learned the M rows; None if there is no network, or an earlier release trained a fold.
        views: a row for each view.
        views_agree: as in `Probabilities`.
    """

    files: tuple[FoldFileRecord, ...]
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]
    dynamics: Dynamics | None = None
    views: tuple[ViewRow, ...] = ()
    views_agree: np.ndarray | None = None

    def save(self, store: Store, plan: Plan) -> FilesReference:
        """Store it in the work folder of an audit."""
        files = {HEALTH: dump_json(to_record(_Health(self.files, self.folds, self.notes, self.views)))}
        if self.dynamics is not None:
            files[DYNAMICS_FILE] = dynamics_bytes(self.dynamics)
        if self.views_agree is not None:
            files[VIEWS_AGREE] = parquet_bytes(pa.table({"views_agree": pa.array(self.views_agree, pa.float32())}))
        return store_files(store, plan.work_folder, files)

    @classmethod
    def load(cls, store: Store, reference: FilesReference) -> GatheredFolds:
        """Read what `save` stored.

        Raises:
            StorageError: it was changed since.
        """
        health = from_record(_Health, json.loads(load_file(store, reference, HEALTH)))
        dynamics = views_agree = None
        if DYNAMICS_FILE in reference.sha256:
            dynamics = dynamics_from_bytes(load_file(store, reference, DYNAMICS_FILE))
        if VIEWS_AGREE in reference.sha256:
            table = pq.read_table(io.BytesIO(load_file(store, reference, VIEWS_AGREE)))
            views_agree = table["views_agree"].to_numpy()
        return cls(health.files, health.folds, health.notes, dynamics, health.views, views_agree)

    def open(self, store: Store, fold_of: np.ndarray) -> Probabilities:
        """Open the files of the folds. Those in another storage are fetched.

        Args:
            fold_of: (repeats, M) the folds that hold out the scored rows, in canonical order.

        Raises:
            StorageError: a file was changed since it was checked.
        """
        files = TemporaryFiles()
        placed = []
        for record in self.files:
            path = file_on_this_machine(store, record.key, files)
            if sha256_of_file(path) != record.sha256:
                raise StorageError(
                    f"{store.url_of(record.key)} was changed after it was checked. Remove it and run the audit again."
                )
            fold = FoldFile(path, files)
            example_ids = fold.example_ids()
            probabilities, _ = check_distributions(example_ids, fold, fold.shape[1], Place(record.fold, ""))
            # Its ids are those of the rows that it holds out, as was checked. The canonical order is that of ids.
            positions = np.empty(len(example_ids), np.int64)
            positions[example_ids.order()] = np.flatnonzero(fold_of[record.repeat] == record.fold)
            placed.append(PlacedRows(probabilities, positions))
        joined = JoinedFolds(tuple(placed), fold_of.shape[1], len(fold_of))
        return Probabilities(joined, self.folds, self.notes, self.dynamics, self.views, self.views_agree)


@dataclass(frozen=True)
class _Health:
    files: tuple[FoldFileRecord, ...]
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]
    views: tuple[ViewRow, ...]


def read_fold_record(store: Store, key: str) -> FoldRecord:
    """Return the record of a committed fold.

    Raises:
        StorageError: there is none.
    """
    return from_record(FoldRecord, read_json(store, key))
