"""Out-of-fold probabilities in storage: those of one committed fold, and those of all folds."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import FilesReference
from labelaudit.audits.stored_dynamics import dynamics_bytes, dynamics_from_bytes
from labelaudit.audits.work_files import load_file, parquet_bytes, store_files
from labelaudit.codec import from_record, to_record
from labelaudit.detection.rows import row_digests
from labelaudit.report.audit_tables import FoldRow
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import pred_probs_schema
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.store import Store

PRED_PROBS = "pred_probs.parquet"
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


@dataclass(frozen=True)
class Probabilities:
    """Checked out-of-fold probabilities of the M scored rows, in canonical order.

    Attributes:
        pred_probs: (M, K) float32, with columns in the order of the plan's `class_names`.
        folds: a row for each fold that was trained here.
        notes: sentences for people.
        dynamics: how the M rows were learned; None if they were not trained here.
    """

    pred_probs: np.ndarray
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]
    dynamics: Dynamics | None = None

    def save(self, store: Store, plan: Plan, example_ids: np.ndarray) -> FilesReference:
        """Store them in the work folder of an audit. `example_ids` is (M,)."""
        table = pred_probs_table(example_ids, self.pred_probs, plan.class_names, binds_rows=False)
        health = to_record(_Health(self.folds, self.notes))
        files = {PRED_PROBS: parquet_bytes(table), HEALTH: dump_json(health)}
        if self.dynamics is not None:
            files[DYNAMICS_FILE] = dynamics_bytes(self.dynamics)
        return store_files(store, plan.work_folder, files)

    @classmethod
    def load(cls, store: Store, reference: FilesReference) -> Probabilities:
        """Read what `save` stored.

        Raises:
            StorageError: it was changed since.
        """
        stored = StoredProbabilities.from_bytes(load_file(store, reference, PRED_PROBS))
        health = from_record(_Health, json.loads(load_file(store, reference, HEALTH)))
        dynamics = None
        if DYNAMICS_FILE in reference.sha256:
            dynamics = dynamics_from_bytes(load_file(store, reference, DYNAMICS_FILE))
        return cls(stored.pred_probs, health.folds, health.notes, dynamics)


@dataclass(frozen=True)
class StoredProbabilities:
    """The content of a Parquet file of probabilities, with n rows in the order of the file."""

    example_ids: np.ndarray  # (n,) object of str
    pred_probs: np.ndarray  # (n, K) float32
    class_names: tuple[str, ...]
    row_digests: np.ndarray | None  # (n,) uint64; None if the file has none

    @classmethod
    def from_bytes(cls, data: bytes) -> StoredProbabilities:
        """Decode a file.

        Raises:
            ArrowException, KeyError, ValueError: it is not a file of probabilities.
        """
        table = pq.read_table(io.BytesIO(data))
        class_names = tuple(json.loads((table.schema.metadata or {})[b"class_names"]))
        column = table["pred_probs"].combine_chunks()
        # Not the list size of the type: rows of a damaged file may differ in length, which the integrity checks report.
        values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        digests = table["row_digest"].to_numpy() if "row_digest" in table.column_names else None
        width = len(values) // max(1, len(table))
        pred_probs = values[: width * len(table)].reshape(len(table), width)
        return cls(table["example_id"].to_numpy(), pred_probs, class_names, digests)


@dataclass(frozen=True)
class _Health:
    folds: tuple[FoldRow, ...]
    notes: tuple[str, ...]


def pred_probs_table(
    example_ids: np.ndarray, pred_probs: np.ndarray, class_names: Sequence[str], *, binds_rows: bool = True
) -> pa.Table:
    """Return probabilities (n, K) float32 as a table of n rows; `binds_rows` adds a digest of each row."""
    schema = pred_probs_schema(tuple(class_names))
    columns = [
        pa.array(example_ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(pred_probs.ravel(), pred_probs.shape[1]),
    ]
    if not binds_rows:
        return pa.Table.from_arrays(columns, schema=schema.remove(schema.get_field_index("row_digest")))
    return pa.Table.from_arrays([*columns, pa.array(row_digests(example_ids, pred_probs))], schema=schema)


def read_fold_record(store: Store, key: str) -> FoldRecord:
    """Return the record of a committed fold.

    Raises:
        StorageError: there is none.
    """
    return from_record(FoldRecord, read_json(store, key))
