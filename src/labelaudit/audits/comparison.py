"""Compare an audit with the one before it, or any two audits of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from labelaudit.audits.audit_plan import Plan, Predecessor
from labelaudit.audits.decisive_settings import (
    PROBABILITIES,
    ROW_NUMBERS,
    changed_settings,
    other_work_in_words,
)
from labelaudit.audits.history import FAILED_GATE, AuditRecord, audits_before, read_history
from labelaudit.audits.published import SHOWN_VERSIONS, PublishedAudit, open_audit
from labelaudit.data.labels import sort_class_names
from labelaudit.detection.compare import COMPARED, Comparison, compare_audits, relabeled_pairs
from labelaudit.errors import ConfigError, StorageError
from labelaudit.findings import AuditName, ChangedSetting, Changes
from labelaudit.report.changes import new_issues
from labelaudit.schemas import CLASSES, EXAMPLES, ISSUES, IssueChange
from labelaudit.storage.layout import MANIFEST
from labelaudit.storage.store import Store
from labelaudit.text import listing

# Label pairs in a summary: what fits on one screen.
TOP_PAIRS = 10
MADE_ELSEWHERE = (
    "The probabilities of both audits were made elsewhere: whether their models changed, too, is not known here."
)


@dataclass(frozen=True)
class Compared:
    """A comparison with another audit: `changes` for the summary, and the tables CHANGES and CLASS_CHANGES."""

    changes: Changes
    rows: pa.Table
    classes: pa.Table


@dataclass(frozen=True)
class NotCompared:
    """Why an audit is not compared with its predecessor, in a sentence."""

    version: str
    problem: str

    @property
    def note(self) -> str:
        return f"Not compared with version {self.version}, the audit before: {self.problem}"


@dataclass(frozen=True)
class OpenPredecessor:
    """The predecessor of an audit, read from storage: its EXAMPLES (the columns COMPARED) and CLASSES."""

    predecessor: Predecessor
    audit: PublishedAudit
    examples: pa.Table
    classes: pa.Table


@dataclass(frozen=True)
class AuditDifference:
    """Two audits compared: `changes` as in a summary, the rows that changed (CHANGES), `report.changes.new_issues`."""

    changes: Changes
    rows: pa.Table
    new_issues: pa.Table


def find_predecessor(store: Store, dataset: str, version: str, *, has_version_in_url: bool) -> Predecessor | None:
    """The predecessor of an audit of `version`; None if no version before was released.

    Before are the versions whose names are smaller where the dataset's URL has a place for them, so that the order of
    audits means nothing; else those that were audited before.

    It is the newest audit of the last version before that can be compared with: whose gate did not fail (such a
    version never became a release, so it is no measure), which is still in storage, and whose ids are not row numbers.
    Where there is none but versions were released, it is the last of those, so that the audit says why it is not
    compared.
    """
    before = audits_before(read_history(store, dataset), version, has_version_in_url=has_version_in_url)
    released = [audits for audits in before if audits[-1].gate != FAILED_GATE]
    if not released:
        return None
    # Lazily: each look into storage is a request.
    candidates = (record for audits in reversed(released) for record in reversed(audits))
    found = next((record for record in candidates if _is_comparable(store, record)), released[-1][-1])
    between = [audits[-1] for audits in before]
    between = between[[record.version for record in between].index(found.version) + 1 :]
    return Predecessor(
        version=found.version,
        audit_id=found.audit_id,
        created_at=found.created_at,
        folder=found.folder,
        deciding=found.deciding,
        held_versions=tuple(record.version for record in between if record.gate == FAILED_GATE),
        skipped_versions=tuple(record.version for record in between if record.gate != FAILED_GATE),
    )


def open_predecessor(store: Store, plan: Plan) -> OpenPredecessor | NotCompared | None:
    """Read the predecessor in the plan of an audit; None if it has none.

    `NotCompared` if the predecessor's files are missing or damaged, or the ids of either audit are row numbers.
    """
    before = plan.predecessor
    if before is None:
        return None
    if plan.has_made_up_ids:
        return NotCompared(before.version, ROW_NUMBERS)
    try:
        found = open_audit(store, before.folder)
        if found is None:
            raise StorageError(f"{store.url_of(before.folder)} holds no audit any more. Audit that version again.")
        examples = found.table("examples.parquet", EXAMPLES, COMPARED)
        classes = found.table("classes.parquet", CLASSES)
    except StorageError as error:
        if error.transient:
            raise
        return NotCompared(before.version, str(error))
    if found.has_made_up_ids:
        return NotCompared(before.version, ROW_NUMBERS)
    return OpenPredecessor(before, found, examples, classes)


def compare_with_predecessor(before: OpenPredecessor, plan: Plan, examples: pa.Table, classes: pa.Table) -> Compared:
    """Compare an audit, of which the tables EXAMPLES and CLASSES are given, with its predecessor."""
    result = compare_audits(
        before.examples,
        examples,
        classes_before=before.classes,
        classes=classes,
        class_order=_class_order(before.classes, classes),
    )
    predecessor = before.predecessor
    changed = changed_settings(predecessor.deciding, plan.decisive_settings)
    changes = describe_changes(result, before.audit, changed, predecessor.held_versions, predecessor.skipped_versions)
    return Compared(changes, result.changes, result.class_changes)


def compare_published(before: PublishedAudit, now: PublishedAudit) -> AuditDifference:
    """Any two audits of a dataset compared.

    Raises `ConfigError` for audits of two datasets, or whose ids are row numbers, `StorageError` where their files
    cannot be read.
    """
    if before.dataset != now.dataset:
        raise ConfigError(
            f"{before.url} is an audit of {before.dataset!r}, {now.url} one of {now.dataset!r}. "
            "Name two audits of one dataset: ids of different datasets have nothing to do with each other."
        )
    for audit in (before, now):
        if audit.has_made_up_ids:
            raise ConfigError(f"{audit.url} cannot be compared: {ROW_NUMBERS}")
    classes_before, classes = before.table("classes.parquet", CLASSES), now.table("classes.parquet", CLASSES)
    result = compare_audits(
        before.table("examples.parquet", EXAMPLES, COMPARED),
        now.table("examples.parquet", EXAMPLES, COMPARED),
        classes_before=classes_before,
        classes=classes,
        class_order=_class_order(classes_before, classes),
    )
    changed = changed_settings(before.facts.deciding, now.facts.deciding)
    issues = now.table("issues.parquet", ISSUES)
    new = new_issues(result.changes, issues)
    return AuditDifference(describe_changes(result, before, changed), result.changes, new)


def describe_changes(
    result: Comparison,
    before: PublishedAudit,
    changed: list[ChangedSetting],
    held_versions: Sequence[str] = (),
    skipped_versions: Sequence[str] = (),
) -> Changes:
    """The summary's `changes`."""
    return Changes(
        predecessor=AuditName(before.version, before.audit_id, before.created_at, before.url),
        held_versions=tuple(held_versions),
        issues=result.issues,
        data=result.data,
        statuses=result.statuses,
        other_status=result.other_status,
        relabeled=tuple(relabeled_pairs(result.changes)[:TOP_PAIRS]),
        changed_settings=tuple(changed),
        warning=_warning(changed, before.version, result),
        notes=(*_skipped(skipped_versions), *result.notes, *_made_elsewhere(before, changed, result)),
    )


def _made_elsewhere(before: PublishedAudit, changed: list[ChangedSetting], result: Comparison) -> list[str]:
    """Why rows may flap between audits of probabilities, as far as it is known."""
    both = before.facts.deciding.kind == PROBABILITIES and all(setting.setting != "kind" for setting in changed)
    return [MADE_ELSEWHERE] if both and result.issues[IssueChange.FLAPPING] else []


def _warning(changed: list[ChangedSetting], version: str, result: Comparison) -> str | None:
    """That not only the data changed; None where only the data did."""
    other_work = other_work_in_words(changed, version)
    if other_work is None:
        return None
    flapping = result.issues[IssueChange.FLAPPING]
    effect = "What is flagged may differ for that reason alone."
    if flapping:
        effect = f"The flapping rows ({flapping:,}) come from that; so may some of the new and fixed ones."
    return f"{other_work} {effect}"


def _is_comparable(store: Store, record: AuditRecord) -> bool:
    return not record.has_made_up_ids and store.exists(f"{record.folder}/{MANIFEST}")


def _skipped(versions: Sequence[str]) -> list[str]:
    """That released versions in between are no measure."""
    if not versions:
        return []
    named = listing(versions, shown=SHOWN_VERSIONS)
    return [f"Passed over, because their audits are not in storage any more, or their rows have no ids: {named}."]


def _class_order(*classes: pa.Table) -> tuple[str, ...]:
    return sort_class_names({name for table in classes for name in table["class_name"].to_pylist()})
