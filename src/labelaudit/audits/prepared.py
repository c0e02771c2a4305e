"""A prepared dataset version as the steps share it: the record, its rows, and the ways to both."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.decisive_settings import MADE_UP_IDS, DecisiveSettings
from labelaudit.audits.references import FilesReference, PreparedReference
from labelaudit.codec import JsonObject, from_record, to_record
from labelaudit.config import AuditConfig
from labelaudit.data.columns import Columns
from labelaudit.data.dataset import Examples
from labelaudit.errors import StorageError
from labelaudit.model.recipes import Recipe
from labelaudit.schemas import Status
from labelaudit.storage.layout import audit_folder, work_folder
from labelaudit.storage.manifest import digest_of, dump_json, read_checked, sha256_hex
from labelaudit.storage.store import Store

ROWS = "rows.parquet"
RECORD = "prepared.json"


# Sections of the config that apply to probabilities from elsewhere: nothing is trained.
_SECTIONS_OF_PROBABILITIES = {"dataset", "detection", "gate", "report", "output"}
# What a manifest says about its audit.
_FACTS = (
    *("dataset", "version", "audit_id", "created_at", "fingerprint"),
    *("config", "columns", "recipe", "code", "versions", "machine"),
)
# What an audit's findings and files depend on: it is part of the audit's id.
_DECIDING_SECTIONS = ("dataset", "model", "training", "cross_validation", "detection", "gate", "report")


@dataclass(frozen=True)
class Predecessor:
    """The audit that another one is compared with, as it was when that one began."""

    version: str
    audit_id: str
    created_at: str
    folder: str  # below the output URL
    deciding: DecisiveSettings
    held_versions: tuple[str, ...]  # in between, held by their gate
    skipped_versions: tuple[str, ...] = ()  # in between, without an audit that can be compared with


@dataclass(frozen=True)
class Prepared:
    """Everything that is decided before the first fold is trained. Written once, read by every later step."""

    created_at: str  # ISO 8601, UTC: the time of the audit, wherever one is shown
    dataset: str
    version: str
    fingerprint: str
    audit_id: str
    training_key: str
    config: AuditConfig
    columns: Columns | None  # None: the probabilities come from elsewhere, and no dataset was read
    recipe: Recipe | None  # None: nothing is trained
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
    predecessor: Predecessor | None = None
    review_sha256: str | None = None  # of what people had decided (reviews/stored_reviews.py); None: nothing
    has_made_up_ids: bool = False  # row numbers, which mean other rows in another version

    @property
    def work_folder(self) -> str:
        return work_folder(self.dataset, self.version, self.audit_id)

    @property
    def audit_folder(self) -> str:
        return audit_folder(self.dataset, self.version, self.audit_id)

    @property
    def scored(self) -> int:
        return self.statuses[Status.SCORED]

    @property
    def guesses(self) -> tuple[str, ...]:
        """What was guessed about the columns, a sentence each."""
        return () if self.columns is None else self.columns.guesses

    def facts(self) -> JsonObject:
        """What the manifest of the audit says about it."""
        record = self.to_record()
        return {name: record[name] for name in _FACTS}

    @property
    def decisive_settings(self) -> DecisiveSettings:
        return DecisiveSettings.of_audit(self.to_record())

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

    def decisions(self) -> JsonObject:
        """All that the audit's findings depend on: the record without when, after what, where and how it is run."""
        record = self.to_record()
        for name in ("created_at", "versions", "machine", "predecessor"):
            del record[name]
        config = record["config"]
        assert isinstance(config, dict)
        return {**record, "config": {section: config.get(section) for section in _DECIDING_SECTIONS}}

    def to_record(self) -> JsonObject:
        """The plan as JSON."""
        record = to_record(self)
        has_made_up_ids = record.pop("has_made_up_ids")
        if self.columns is None:
            config = self.config.model_dump(mode="json", include=_SECTIONS_OF_PROBABILITIES)
            record |= {"config": config, "columns": {"guesses": [], MADE_UP_IDS: has_made_up_ids}, "recipe": {}}
        return record

    @classmethod
    def from_record(cls, record: JsonObject) -> Prepared:
        """The plan in a record. Raises `ValueError` if it is not one, such as one of another release."""
        columns, recipe = record.get("columns"), record.get("recipe")
        if not isinstance(columns, dict) or not isinstance(recipe, dict):
            raise ValueError("columns or recipe is missing")
        if "kind" in columns:
            return from_record(cls, {**record, "recipe": Recipe.from_record(recipe)})
        made_up = columns.get(MADE_UP_IDS, False)
        return from_record(cls, {**record, "columns": None, "recipe": None, "has_made_up_ids": made_up})

    def to_json(self) -> bytes:
        return dump_json(self.to_record())

    @classmethod
    def from_json(cls, data: bytes) -> Prepared:
        return cls.from_record(json.loads(data))


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
        if _decisions(data) == prepared.decisions():
            return data
        # Somebody changed the record, or another version of pyarrow wrote its rows.
        store.write(key, prepared.to_json())
    return prepared.to_json()


def _decisions(data: bytes) -> JsonObject | None:
    """The decisions in a record; None if another release wrote it."""
    try:
        return Prepared.from_json(data).decisions()
    except (StorageError, ValueError):
        return None


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
