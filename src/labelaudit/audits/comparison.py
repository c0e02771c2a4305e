"""Compare an audit with the one before it, or any two audits of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from labelaudit.audit_changes import AuditName, ChangedSetting, Changes
from labelaudit.audits.audit_plan import Plan, Predecessor
from labelaudit.audits.decisive_settings import (
    PROBABILITIES,
    ROW_NUMBERS,
    changed_settings,
    other_work_in_words,
)
from labelaudit.audits.history import FAILED_GATE, AuditRecord, audits_before, read_history
from labelaudit.audits.other_findings import OtherChanges, OtherFindings, other_changes
from labelaudit.audits.published import SHOWN_VERSIONS, PublishedAudit, open_audit
from labelaudit.data.labels import sort_class_names
from labelaudit.detection.class_shares import differences_in_words
from labelaudit.detection.compare import COMPARED, Comparison, compare_audits, relabeled_pairs
from labelaudit.errors import ConfigError, StorageError
from labelaudit.report.changes import new_issues
from labelaudit.schemas import CLASSES, EXAMPLES, ISSUES, IssueChange
from labelaudit.storage.layout import MANIFEST
from labelaudit.storage.store import Store
from labelaudit.text import listing

# As many label pairs as fit on one screen.
TOP_PAIRS = 10
MADE_ELSEWHERE = (
    "The probabilities of both audits were made elsewhere, so it is unknown whether their models changed too."
)


@dataclass(frozen=True)
class Compared:
    """A comparison with another audit: `changes` for the summary, and the tables CHANGES and CLASS_CHANGES."""

    changes: Changes
    rows: pa.Table
    classes: pa.Table


@dataclass(frozen=True)
class NotCompared:
    """Why an audit is not compared with its predecessor; `problem` is one sentence or two."""

    version: str
    problem: str

    @property
    def note(self) -> str:
        return f"Not compared with version {self.version}, the previous audit. {self.problem}"


@dataclass(frozen=True)
class OpenPredecessor:
    """The predecessor of an audit, read from storage: its EXAMPLES (the columns COMPARED), CLASSES and the rest."""

    predecessor: Predecessor
    audit: PublishedAudit
    examples: pa.Table
    classes: pa.Table
    others: OtherFindings


@dataclass(frozen=True)
class AuditDifference:
    """Two audits compared: `changes` as in a summary, the rows that changed (CHANGES), `report.changes.new_issues`."""

    changes: Changes
    rows: pa.Table
    new_issues: pa.Table


def find_predecessor(store: Store, dataset: str, version: str, *, has_version_in_url: bool) -> Predecessor | None:
    """Return the predecessor of an audit of `version`; None if no earlier version was released.

    If the dataset's URL contains `{version}`, versions are ordered by name, whatever the order of their audits.
    Otherwise they are ordered by their first audit.

    A version was released if its last audit did not fail the gate. An audit is comparable if it is still in storage
    and its ids are not row numbers. The predecessor is the newest comparable audit of the last released version that
    has one. If none has, it is the last audit of the last released version, and the new audit says why it is not
    compared.
    """
    before = audits_before(read_history(store, dataset), version, has_version_in_url=has_version_in_url)
    released = [audits for audits in before if audits[-1].gate != FAILED_GATE]
    if not released:
        return None
    # Lazy, because each check is a request to the storage.
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
    """Read the predecessor in the plan of an audit; return None if it has none.

    Return `NotCompared` if the predecessor's files are missing or damaged, or the ids of either audit are row numbers.
    """
    before = plan.predecessor
    if before is None:
        return None
    if plan.has_made_up_ids:
        return NotCompared(before.version, ROW_NUMBERS)
    try:
        found = open_audit(store, before.folder)
        if found is None:
            raise StorageError(f"{store.url_of(before.folder)} no longer contains an audit. Audit that version again.")
        examples = found.table("examples.parquet", EXAMPLES, COMPARED)
        classes = found.table("classes.parquet", CLASSES)
        others = OtherFindings.of(found)
    except StorageError as error:
        if error.transient:
            raise
        return NotCompared(before.version, str(error))
    if found.has_made_up_ids:
        return NotCompared(before.version, ROW_NUMBERS)
    return OpenPredecessor(before, found, examples, classes, others)


def compare_with_predecessor(
    before: OpenPredecessor, plan: Plan, examples: pa.Table, classes: pa.Table, others: OtherFindings
) -> Compared:
    """Compare an audit with its predecessor. `examples` is its EXAMPLES table, `classes` its CLASSES table."""
    result = compare_audits(
        before.examples,
        examples,
        classes_before=before.classes,
        classes=classes,
        class_order=_class_order(before.classes, classes),
    )
    predecessor = before.predecessor
    changed = changed_settings(predecessor.deciding, plan.decisive_settings)
    changes = describe_changes(
        result,
        before.audit,
        changed,
        other_changes(before.others, others, predecessor.version),
        predecessor.held_versions,
        predecessor.skipped_versions,
    )
    return Compared(changes, result.changes, result.class_changes)


def compare_published(before: PublishedAudit, now: PublishedAudit) -> AuditDifference:
    """Compare any two audits of a dataset.

    Raises:
        ConfigError: the audits are of two datasets, or the ids of one are row numbers.
        StorageError: a file cannot be read.
    """
    if before.dataset != now.dataset:
        raise ConfigError(
            f"{before.url} is an audit of {before.dataset!r}, {now.url} one of {now.dataset!r}. "
            "The ids of different datasets cannot be matched. Name two audits of one dataset."
        )
    for audit in (before, now):
        if audit.has_made_up_ids:
            raise ConfigError(f"{audit.url} cannot be compared. {ROW_NUMBERS}")
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
    others = other_changes(OtherFindings.of(before), OtherFindings.of(now), before.version)
    review = now.summary().review
    if review is not None and review.removal_sentence:
        others = replace(others, sentences=(*others.sentences, review.removal_sentence))
    return AuditDifference(describe_changes(result, before, changed, others), result.changes, new)


def describe_changes(
    result: Comparison,
    before: PublishedAudit,
    changed: list[ChangedSetting],
    others: OtherChanges,
    held_versions: Sequence[str] = (),
    skipped_versions: Sequence[str] = (),
) -> Changes:
    """Return the `changes` of a summary."""
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
        notes=(
            *_skipped(skipped_versions),
            *differences_in_words(result.classes, before.version),
            *others.sentences,
            *result.notes,
            *_made_elsewhere(before, changed, result),
        ),
        classes=result.classes,
        slices=others.slices,
    )


def _made_elsewhere(before: PublishedAudit, changed: list[ChangedSetting], result: Comparison) -> list[str]:
    """Return the note that the models behind two audits of probabilities may differ, if rows flap."""
    both = before.facts.deciding.kind == PROBABILITIES and all(setting.setting != "kind" for setting in changed)
    return [MADE_ELSEWHERE] if both and result.issues[IssueChange.FLAPPING] else []


def _warning(changed: list[ChangedSetting], version: str, result: Comparison) -> str | None:
    """Return a warning that not only the data changed; None if only the data did."""
    other_work = other_work_in_words(changed, version)
    if other_work is None:
        return None
    flapping = result.issues[IssueChange.FLAPPING]
    effect = "This alone may change which rows are flagged."
    if flapping:
        effect = f"This explains the flapping rows ({flapping:,}), and perhaps some of the new and fixed ones."
    return f"{other_work} {effect}"


def _is_comparable(store: Store, record: AuditRecord) -> bool:
    return not record.has_made_up_ids and store.exists(f"{record.folder}/{MANIFEST}")


def _skipped(versions: Sequence[str]) -> list[str]:
    """Return the note that released versions in between were not used."""
    if not versions:
        return []
    named = listing(versions, shown=SHOWN_VERSIONS)
    return [f"Passed over, because their audits are no longer in storage or their rows have no ids: {named}."]


def _class_order(*classes: pa.Table) -> tuple[str, ...]:
    return sort_class_names({name for table in classes for name in table["class_name"].to_pylist()})
