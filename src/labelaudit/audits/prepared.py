"""A prepared dataset version as the steps share it: the record, its rows, and the ways to both."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.references import FilesReference, PreparedReference
from labelaudit.data.dataset import Examples
from labelaudit.schemas import Status
from labelaudit.storage.layout import audit_folder, work_folder
from labelaudit.storage.manifest import digest_of, dump_json, read_checked, sha256_hex
from labelaudit.storage.store import Store

ROWS = "rows.parquet"
RECORD = "prepared.json"


@dataclass(frozen=True)
class Prepared:
    """Everything that is decided before the first fold is trained. Written once, read by every later step."""

    created_at: str  # ISO 8601, UTC: the time of the audit, wherever one is shown
    dataset: str
    version: str
    fingerprint: str
    audit_id: str
    training_key: str
    config: dict[str, Any]
    columns: dict[str, Any]  # labelaudit.data.columns.Columns
    recipe: dict[str, Any]  # labelaudit.model.recipes.Recipe
    kind: str
    class_names: tuple[str, ...]
    folds: int  # per repeat
    repeats: int
    examples: int
    statuses: dict[str, int]
    versions: dict[str, str]  # of the packages that matter
    machine: dict[str, str]
    rows_sha256: str
    code: str | None = None  # digest of a user's own network and local weights
    predecessor: dict[str, Any] | None = None  # labelaudit.audits.comparison.Predecessor
    review_sha256: str | None = None  # of what people had decided (reviews/stored_reviews.py); None: nothing

    @property
    def work_folder(self) -> str:
        return work_folder(self.dataset, self.version, self.audit_id)

    @property
    def audit_folder(self) -> str:
        return audit_folder(self.dataset, self.version, self.audit_id)

    @property
    def scored(self) -> int:
        return self.statuses[Status.SCORED]

    def with_audit_id(self, rows: Rows) -> Prepared:
        """The record with its `audit_id`, a digest of all that its files depend on: two runs with one id publish the
        same bytes, and cannot damage each other's.

        Time, machine, package versions and predecessor are no part of it: those of the record that stands hold.
        """
        decided = self.decisions()
        # In place of the rows' file, whose bytes depend on the version of pyarrow.
        for name in ("audit_id", "rows_sha256"):
            del decided[name]
        return replace(self, audit_id=digest_of(decided, rows.places(), self.versions["labelaudit"])[:12])

    def decisions(self) -> dict[str, Any]:
        """All that the audit's findings depend on: the record without when, after what, where and how it is run."""
        # As JSON has it: what was read from a record holds lists where a fresh one holds tuples.
        values: dict[str, Any] = json.loads(self.to_json())
        for name in ("created_at", "versions", "machine", "predecessor"):
            del values[name]
        deciding = ("dataset", "model", "training", "cross_validation", "detection", "gate", "report")
        return {**values, "config": {section: values["config"].get(section) for section in deciding}}

    def to_json(self) -> bytes:
        return dump_json(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Prepared:
        values = json.loads(data)
        values["class_names"] = tuple(values["class_names"])
        # Records of earlier releases lack fields that have a default.
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


@dataclass(frozen=True)
class Rows:
    """The rows of a prepared version in canonical order, with the fold that holds each one out."""

    examples: Examples
    fold_of: np.ndarray  # (repeats, N) int16, -1 where not scored

    @property
    def scored(self) -> np.ndarray:
        """(M,) int64, the positions of the scored rows."""
        return np.flatnonzero(self.examples.labels >= 0)

    def places(self) -> str:
        """Digest of where the rows lie, file and row of each; their content is the fingerprint's."""
        codes, files = pd.factorize(self.examples.files)
        numbers = np.stack([codes, self.examples.rows]).astype("<i8")
        return digest_of(files.tolist(), sha256_hex(numbers.tobytes()))

    def held_out(self, fold: int, folds: int) -> np.ndarray:
        """Positions that a fold holds out."""
        return np.flatnonzero(self.fold_of[fold // folds] == fold)

    def training(self, fold: int, folds: int) -> np.ndarray:
        """Positions that the fold's model is trained on."""
        of_repeat = self.fold_of[fold // folds]
        return np.flatnonzero((of_repeat >= 0) & (of_repeat != fold))


def commit_record(store: Store, prepared: Prepared) -> bytes:
    """Store the record; returns the bytes of the one that stands.

    The record of an earlier or simultaneous run stands, with its time: what follows from it has the same bytes.
    """
    key = f"{prepared.work_folder}/{RECORD}"
    if not store.create(key, prepared.to_json()):
        data = store.read(key)
        if Prepared.from_json(data).decisions() == prepared.decisions():
            return data
        # Somebody changed the record, or another version of pyarrow wrote its rows.
        store.write(key, prepared.to_json())
    return prepared.to_json()


def output_store(reference: PreparedReference) -> Store:
    return Store(reference.output_url, reference.storage_options)


def load_prepared(reference: PreparedReference) -> Prepared:
    return Prepared.from_json(read_checked(output_store(reference), reference.key, reference.sha256))


def rows_bytes(rows: Rows) -> bytes:
    table = rows.examples.to_table()
    for repeat, fold_of in enumerate(rows.fold_of):
        table = table.append_column(f"fold_of_repeat_{repeat}", pa.array(fold_of, pa.int16()))
    return parquet_bytes(table)


def load_rows(reference: PreparedReference, prepared: Prepared) -> Rows:
    data = read_checked(output_store(reference), f"{prepared.work_folder}/{ROWS}", prepared.rows_sha256)
    table = pq.read_table(io.BytesIO(data))
    names = [f"fold_of_repeat_{repeat}" for repeat in range(prepared.repeats)]
    fold_of = np.stack([table[name].to_numpy() for name in names])
    return Rows(Examples.from_table(table.drop_columns(names)), fold_of)


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file of a table; equal tables give equal bytes under one version of pyarrow."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=128 * 1024)
    return sink.getvalue()


def store_files(store: Store, folder: str, files: dict[str, bytes]) -> FilesReference:
    """Leave files in the work folder for the next step."""
    for name, data in files.items():
        store.write(f"{folder}/{name}", data)
    return FilesReference(folder, {name: sha256_hex(data) for name, data in files.items()})


def load_file(store: Store, reference: FilesReference, name: str) -> bytes:
    """One file that an earlier step left. Raises `StorageError` when it was changed since."""
    return read_checked(store, f"{reference.folder}/{name}", reference.sha256[name])
