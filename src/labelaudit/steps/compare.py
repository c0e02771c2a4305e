"""Compare an audit with the one before it, or any two audits of a dataset."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.data.labels import sort_class_names
from labelaudit.detection.compare import Comparison, compare_audits, relabeled_pairs
from labelaudit.errors import ConfigError, StorageError
from labelaudit.report.changes import new_issues
from labelaudit.schemas import CLASSES, EXAMPLES, ISSUES, IssueChange
from labelaudit.steps.deciding import (
    PROBABILITIES,
    ChangedSetting,
    as_records,
    changed_settings,
    deciding,
    other_work_in_words,
)
from labelaudit.steps.history import AuditRecord, newest_of_versions, predecessor, read_history
from labelaudit.steps.prepared import Prepared, parquet_bytes
from labelaudit.steps.published import PublishedAudit, open_audit
from labelaudit.storage.store import Store

CHANGES_FILE = "changes.parquet"
CLASS_CHANGES_FILE = "class_changes.parquet"
# Label pairs in a summary: what fits on one screen.
TOP_PAIRS = 10
MADE_ELSEWHERE = (
    "The probabilities of both audits were made elsewhere: whether their models changed, too, is not known here."
)


@dataclass(frozen=True)
class Predecessor:
    """The audit that another one is compared with, as it was known when that one began."""

    version: str
    audit_id: str
    created_at: str
    folder: str  # below the output URL
    deciding: dict[str, Any]
    held_versions: tuple[str, ...]  # in between, held by their gate


@dataclass(frozen=True)
class Compared:
    """What a comparison adds to an audit: files by name, the summary's `changes`, sentences for people."""

    files: dict[str, bytes]
    changes: dict[str, Any] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AuditDifference:
    """Two audits compared: `changes` as in a summary, the rows that changed (CHANGES), the new ones of ISSUES."""

    changes: dict[str, Any]
    rows: pa.Table
    new_issues: pa.Table


NOT_COMPARED = Compared({}, None, ())


def find_predecessor(store: Store, dataset: str, version: str) -> dict[str, Any] | None:
    """A JSON-able `Predecessor` for an audit of `version`, None where there is none."""
    history = read_history(store, dataset)
    found = predecessor(history, version)
    if found is None:
        return None
    held = _held_between(history, found.version, version)
    return asdict(
        Predecessor(found.version, found.audit_id, found.created_at, found.folder, found.deciding, tuple(held))
    )


def compare_with_predecessor(store: Store, prepared: Prepared, tables: Mapping[str, bytes]) -> Compared:
    """The comparison of an audit, whose tables are given as files by name, with the predecessor in its record.

    Where the predecessor's files are missing or damaged, a note says so in place of a comparison.
    """
    if prepared.predecessor is None:
        return NOT_COMPARED
    before = Predecessor(**prepared.predecessor)
    try:
        found = open_audit(store, before.folder)
        if found is None:
            raise StorageError(f"{store.url_of(before.folder)} holds no audit any more.")
        examples, classes = found.table("examples.parquet", EXAMPLES), found.table("classes.parquet", CLASSES)
    except StorageError as error:
        if error.transient:
            raise
        return Compared({}, None, (f"Not compared with version {before.version}, the audit before: {error}",))
    result = compare_audits(
        examples,
        _table(tables["examples.parquet"]),
        classes_before=classes,
        classes=(now := _table(tables["classes.parquet"])),
        class_order=_class_order(classes, now),
    )
    changed = changed_settings(before.deciding, deciding(prepared_values(prepared)))
    files = {
        CHANGES_FILE: parquet_bytes(result.changes),
        CLASS_CHANGES_FILE: parquet_bytes(result.class_changes),
    }
    changes = describe_changes(result, found, changed, before.held_versions)
    return Compared(files, changes, change_notes(changes))


def compare_published(before: PublishedAudit, now: PublishedAudit) -> AuditDifference:
    """Any two audits of a dataset compared.

    Raises `ConfigError` for audits of two datasets, `StorageError` where their files cannot be read.
    """
    if before.audit["dataset"] != now.audit["dataset"]:
        raise ConfigError(
            f"{before.url} is an audit of {before.audit['dataset']!r}, {now.url} one of {now.audit['dataset']!r}. "
            "Name two audits of one dataset: ids of different datasets have nothing to do with each other."
        )
    classes_before, classes = before.table("classes.parquet", CLASSES), now.table("classes.parquet", CLASSES)
    result = compare_audits(
        before.table("examples.parquet", EXAMPLES),
        now.table("examples.parquet", EXAMPLES),
        classes_before=classes_before,
        classes=classes,
        class_order=_class_order(classes_before, classes),
    )
    changed = changed_settings(deciding(before.audit), deciding(now.audit))
    issues = now.table("issues.parquet", ISSUES)
    new = new_issues(result.changes, issues)
    return AuditDifference(describe_changes(result, before, changed, ()), result.changes, new)


def describe_changes(
    result: Comparison, before: PublishedAudit, changed: list[ChangedSetting], held_versions: Sequence[str]
) -> dict[str, Any]:
    """The summary's `changes`: plain JSON values."""
    return {
        "predecessor": {
            **{name: before.audit[name] for name in ("version", "audit_id", "created_at")},
            "audit_url": before.url,
        },
        "held_versions": list(held_versions),
        "issues": result.issues,
        "data": result.data,
        "relabeled": [pair._asdict() for pair in relabeled_pairs(result.changes)[:TOP_PAIRS]],
        "changed_settings": as_records(changed),
        "warning": _warning(changed, before.audit["version"], result),
        "notes": [*result.notes, *_made_elsewhere(before, changed, result)],
    }


def change_notes(changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences for the notes of an audit, the loudest first."""
    return (*([changes["warning"]] if changes["warning"] else []), *changes["notes"])


def prepared_values(prepared: Prepared) -> dict[str, Any]:
    """What a manifest says of an audit that is not published yet, as far as `deciding` asks for it."""
    return {name: getattr(prepared, name) for name in ("config", "columns", "recipe", "versions", "code")}


def _made_elsewhere(before: PublishedAudit, changed: list[ChangedSetting], result: Comparison) -> list[str]:
    """Why rows may flap between audits of probabilities, as far as it is known."""
    both = deciding(before.audit)["kind"] == PROBABILITIES and all(setting.setting != "kind" for setting in changed)
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


def _held_between(history: Sequence[AuditRecord], first: str, last: str) -> list[str]:
    """Versions between two in the order of their first audits; up to the newest where `last` has none yet."""
    versions = [record.version for record in newest_of_versions(history)]
    end = versions.index(last) if last in versions else len(versions)
    return versions[versions.index(first) + 1 : end]


def _class_order(*classes: pa.Table) -> tuple[str, ...]:
    return sort_class_names({name for table in classes for name in table["class_name"].to_pylist()})


def _table(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))
