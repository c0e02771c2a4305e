"""The plan of an audit: everything that is decided before the first fold is trained."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from labelaudit.audits.decisive_settings import MADE_UP_IDS, DecisiveSettings
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.codec import JsonObject, from_record, to_record
from labelaudit.config import AuditConfig
from labelaudit.data.columns import Columns
from labelaudit.data.image_depth import NO_RANGES
from labelaudit.errors import StorageError
from labelaudit.findings import LeftOut
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.recipes import Recipe
from labelaudit.schemas import Status, ViewName
from labelaudit.storage.layout import audit_folder, fold_record_key, work_folder
from labelaudit.storage.manifest import digest_of, dump_json, read_checked
from labelaudit.storage.store import Store

RECORD = "prepared.json"
# Sections of the config that apply to external probabilities, for which nothing is trained.
_SECTIONS_OF_PROBABILITIES = {"dataset", "detection", "gate", "report", "output"}
# What a manifest says about its audit.
_FACTS = (
    *("dataset", "version", "audit_id", "created_at", "fingerprint"),
    *("config", "columns", "recipe", "code", "versions", "machine", "encoder", "views", "annotations"),
)
# Sections of the config that change findings or files. They are part of the audit's id.
_DECIDING_SECTIONS = ("dataset", "model", "training", "cross_validation", "detection", "gate", "report")


@dataclass(frozen=True)
class Predecessor:
    """The audit with which a new one is compared, as it was when the new one began."""

    version: str
    audit_id: str
    created_at: str
    folder: str  # below the output URL
    deciding: DecisiveSettings
    held_versions: tuple[str, ...]  # versions in between that failed their gate
    skipped_versions: tuple[str, ...] = ()  # versions in between without a comparable audit


@dataclass(frozen=True)
class PlannedView:
    """A view that is trained. Audits with the same `training_key` share its folds."""

    name: ViewName
    training_key: str  # a digest of everything that its probabilities depend on


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first fold is trained. Written once, read by every later step."""

    created_at: str  # ISO 8601, UTC; shown as the time of the audit
    dataset: str
    version: str
    fingerprint: str
    audit_id: str
    config: AuditConfig
    columns: Columns | None  # None: the probabilities are external, and no dataset was read
    recipe: Recipe | None  # of the network; None: the network is not trained
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
    review_sha256: str | None = None  # of the verdicts (reviews/snapshot_store.py); None: there are none
    has_made_up_ids: bool = False  # row numbers, which mean other rows in another version
    left_out: tuple[LeftOut, ...] = ()  # files, columns, classes and rows that are not audited
    warnings: tuple[str, ...] = ()  # sentences on what probably is a mistake in the data
    encoder: EncoderSpec | None = None  # None: no view needs features, or they are the inputs
    views: tuple[PlannedView, ...] = ()  # in the order of `schemas.VIEWS`; empty: nothing is trained
    notes: tuple[str, ...] = ()  # sentences on how it is audited
    annotations: str | None = None  # digest of the answers of annotators; None: there are none
    annotations_sha256: str | None = None  # of the file with them in the work folder
    quality_sha256: str | None = None  # of the quality of the inputs; None if their contents are unknown

    @property
    def work_folder(self) -> str:
        return work_folder(self.dataset, self.version, self.audit_id)

    @property
    def audit_folder(self) -> str:
        return audit_folder(self.dataset, self.version, self.audit_id)

    @property
    def training_key(self) -> str:
        """What identifies the training of all views together."""
        return digest_of([view.training_key for view in self.views])[:24]

    def fold_reference(self, fold: int) -> FoldReference:
        """Return the reference of a fold, committed or not."""
        return FoldReference(fold, tuple(self.fold_record_key(view, fold) for view in self.views))

    def fold_record_key(self, view: PlannedView, fold: int) -> str:
        """Return the key of the record that commits a fold of a view."""
        return fold_record_key(self.dataset, view.training_key, fold)

    @property
    def scored(self) -> int:
        return self.statuses[Status.SCORED]

    @property
    def guesses(self) -> tuple[str, ...]:
        """What was guessed about the columns, one sentence per guess."""
        return () if self.columns is None else self.columns.guesses

    @property
    def stored_encoder(self) -> EncoderSpec | None:
        """The spec under which features are stored: with what the content digest does not cover.

        Images with more than 8 bits depend on the range of all images of the version. How several texts become one may
        change in later releases.
        """
        if self.encoder is None or self.columns is None:
            return None
        words = [self.encoder.preprocessing]
        if self.columns.image_ranges != NO_RANGES:
            words.append(f"more than 8 bits: {self.columns.image_ranges!r}")
        if self.columns.kind == "text" and len(self.columns.inputs) > 1:
            words.append("columns joined in reverse alphabetical order of their names, a line each")
        return replace(self.encoder, preprocessing="; ".join(words))

    def facts(self) -> JsonObject:
        """Return what the manifest of the audit says about it."""
        record, stored = self.to_record(), self.stored_encoder
        return {**{name: record[name] for name in _FACTS}, "features": None if stored is None else stored.key}

    @property
    def decisive_settings(self) -> DecisiveSettings:
        return DecisiveSettings.of_audit(self.to_record())

    def with_audit_id(self, places: str) -> Plan:
        """Return the plan with its `audit_id`, a digest of everything that its files depend on.

        Two runs with the same id publish the same bytes, so they cannot damage each other's files. Time, machine,
        package versions and predecessor are not part of the id: those of the plan that was stored first apply.

        Args:
            places: `Version.places` of the rows.
        """
        decided = self.decisions()
        # `places`, `annotations` and the fingerprint stand for files whose bytes depend on the version of pyarrow.
        for name in ("audit_id", "rows_sha256", "annotations_sha256", "quality_sha256"):
            del decided[name]
        return replace(self, audit_id=digest_of(decided, places, self.versions["labelaudit"])[:12])

    def decisions(self) -> JsonObject:
        """Return all that the findings depend on.

        That is the record without time, predecessor, machine, package versions, and settings of how to run.
        """
        record = self.to_record()
        for name in ("created_at", "versions", "machine", "predecessor"):
            del record[name]
        config = record["config"]
        assert isinstance(config, dict)
        return {**record, "config": {section: config.get(section) for section in _DECIDING_SECTIONS}}

    def to_record(self) -> JsonObject:
        """Return the plan as JSON."""
        record = to_record(self)
        has_made_up_ids = record.pop("has_made_up_ids")
        if self.recipe is None:
            record["recipe"] = {}
        if self.columns is None:
            config = self.config.model_dump(mode="json", include=_SECTIONS_OF_PROBABILITIES)
            record |= {"config": config, "columns": {"guesses": [], MADE_UP_IDS: has_made_up_ids}}
        return record

    @classmethod
    def from_record(cls, record: JsonObject) -> Plan:
        """Return the plan in a record.

        Raises:
            ValueError: it is not a plan of this release.
        """
        columns, recipe = record.get("columns"), record.get("recipe")
        if not isinstance(columns, dict) or not isinstance(recipe, dict):
            raise ValueError("columns or recipe is missing")
        if "kind" in columns:
            return from_record(cls, {**record, "recipe": Recipe.from_record(recipe) if recipe else None})
        made_up = columns.get(MADE_UP_IDS, False)
        return from_record(cls, {**record, "columns": None, "recipe": None, "has_made_up_ids": made_up})

    def to_json(self) -> bytes:
        return dump_json(self.to_record())

    @classmethod
    def from_json(cls, data: bytes) -> Plan:
        return cls.from_record(json.loads(data))


def commit_record(store: Store, plan: Plan) -> bytes:
    """Store the plan, and return the bytes of the stored one.

    If an earlier or simultaneous run has stored a plan with the same decisions, that one is kept with its time, so all
    files made from it have the same bytes.
    """
    key = f"{plan.work_folder}/{RECORD}"
    if not store.create(key, plan.to_json()):
        data = store.read(key)
        if _decisions(data) == plan.decisions():
            return data
        # The record was edited, or another version of pyarrow wrote its rows.
        store.write(key, plan.to_json())
    return plan.to_json()


def _decisions(data: bytes) -> JsonObject | None:
    """Return the decisions in a record; None if another release wrote it."""
    try:
        return Plan.from_json(data).decisions()
    except (StorageError, ValueError):
        return None


def output_store(reference: PlanReference) -> Store:
    return Store(reference.output_url, reference.storage_options)


def load_plan(reference: PlanReference) -> Plan:
    return Plan.from_json(read_checked(output_store(reference), reference.key, reference.sha256))
