"""Out-of-fold probabilities in storage: those of one committed fold, and those of all folds."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.fold_files import FoldFile
from labelaudit.audits.references import FilesReference
from labelaudit.audits.stored_dynamics import dynamics_bytes, dynamics_from_bytes
from labelaudit.audits.work_files import file_on_this_machine, load_file, store_files
from labelaudit.codec import from_record, to_record
from labelaudit.detection.joined_folds import JoinedFolds, PlacedRows
from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.detection.rows import Place, check_distributions
from labelaudit.errors import Fault, IntegrityError, StorageError
from labelaudit.report.audit_tables import FoldRow
from labelaudit.row_dynamics import Dynamics
from labelaudit.storage.file_on_disk import sha256_of_file
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

HEALTH = "health.json"
DYNAMICS_FILE = "dynamics.parquet"


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
        folds: a row for each fold that was trained here.
        notes: sentences for people.
        dynamics: how the M rows were learned; None if they were not trained here.
    """

    probabilities: ProbabilityBlocks
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]
    dynamics: Dynamics | None = None


@dataclass(frozen=True)
class GatheredFolds:
    """The result of checking all folds. The probabilities stay in the files of the folds.

    Attributes:
        keys: of the folds' Parquet files below the output URL, in the order of `folds`.
        folds: a row for each fold.
        notes: sentences for people.
        dynamics: how the M rows were learned; None if an earlier release trained a fold.
    """

    keys: tuple[str, ...]
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]
    dynamics: Dynamics | None = None

    def save(self, store: Store, plan: Plan) -> FilesReference:
        """Store it in the work folder of an audit."""
        files = {HEALTH: dump_json(to_record(_Health(self.keys, self.folds, self.notes)))}
        if self.dynamics is not None:
            files[DYNAMICS_FILE] = dynamics_bytes(self.dynamics)
        return store_files(store, plan.work_folder, files)

    @classmethod
    def load(cls, store: Store, reference: FilesReference) -> GatheredFolds:
        """Read what `save` stored.

        Raises:
            StorageError: it was changed since.
        """
        health = from_record(_Health, json.loads(load_file(store, reference, HEALTH)))
        dynamics = None
        if DYNAMICS_FILE in reference.sha256:
            dynamics = dynamics_from_bytes(load_file(store, reference, DYNAMICS_FILE))
        return cls(health.keys, health.folds, health.notes, dynamics)

    def open(self, store: Store, fold_of: np.ndarray) -> Probabilities:
        """Open the files of the folds. Those in another storage are fetched.

        Args:
            fold_of: (repeats, M) the folds that hold out the scored rows, in canonical order.

        Raises:
            StorageError: a file was changed since it was checked.
        """
        files = TemporaryFiles()
        placed = []
        for key, row in zip(self.keys, self.folds, strict=True):
            path = file_on_this_machine(store, key, files)
            if sha256_of_file(path) != row.sha256:
                raise StorageError(
                    f"{store.url_of(key)} was changed after it was checked. Remove it and run the audit again."
                )
            fold = FoldFile(path, files)
            example_ids = fold.example_ids()
            probabilities, _ = check_distributions(example_ids, fold, fold.shape[1], Place(row.fold, ""))
            # Its ids are those of the rows that it holds out, as was checked. The canonical order is that of ids.
            positions = np.empty(len(example_ids), np.int64)
            positions[example_ids.order()] = np.flatnonzero(fold_of[row.repeat] == row.fold)
            placed.append(PlacedRows(probabilities, positions))
        joined = JoinedFolds(tuple(placed), fold_of.shape[1], len(fold_of))
        return Probabilities(joined, self.folds, self.notes, self.dynamics)


@dataclass(frozen=True)
class _Health:
    keys: tuple[str, ...]
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]


def read_fold_record(store: Store, key: str) -> FoldRecord:
    """Return the record of a committed fold.

    Raises:
        StorageError: there is none.
    """
    return from_record(FoldRecord, read_json(store, key))
