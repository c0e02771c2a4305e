"""Compare an audit with the one before it, or any two audits of a dataset."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.decisive_settings import (
    PROBABILITIES,
    ROW_NUMBERS,
    ChangedSetting,
    as_records,
    changed_settings,
    deciding,
    has_made_up_ids,
    other_work_in_words,
)
from labelaudit.audits.history import GATE_FAILED, AuditRecord, audits_before, read_history
from labelaudit.audits.prepared import Prepared, parquet_bytes
from labelaudit.audits.published import SHOWN_VERSIONS, PublishedAudit, open_audit
from labelaudit.data.labels import sort_class_names
from labelaudit.detection.compare import COMPARED, Comparison, compare_audits, relabeled_pairs
from labelaudit.errors import ConfigError, StorageError
from labelaudit.report.changes import new_issues
from labelaudit.schemas import CLASSES, EXAMPLES, ISSUES, IssueChange
from labelaudit.storage.layout import MANIFEST
from labelaudit.storage.store import Store
from labelaudit.text import listing

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
    skipped_versions: tuple[str, ...] = ()  # in between, without an audit that this one can be compared with


@dataclass(frozen=True)
class Compared:
    """What a comparison adds to an audit: files by name, the summary's `changes`, sentences for people."""

    files: dict[str, bytes]
    changes: dict[str, Any] | None
    notes: tuple[str, ...]
    problem: str | None = None  # why there is no comparison, though there is a predecessor


@dataclass(frozen=True)
class AuditDifference:
    """Two audits compared: `changes` as in a summary, the rows that changed (CHANGES), `report.changes.new_issues`."""

    changes: dict[str, Any]
    rows: pa.Table
    new_issues: pa.Table


NOT_COMPARED = Compared({}, None, ())


def find_predecessor(store: Store, dataset: str, version: str, *, has_version_in_url: bool) -> dict[str, Any] | None:
    """A JSON-able `Predecessor` for an audit of `version`, None where no version before was released.

    Before are the versions whose names are smaller where the dataset's URL has a place for them, so that the order of
    audits means nothing; else those that were audited before.

    It is the newest audit of the last version before that can be compared with: whose gate did not fail (such a
    version never became a release, so it is no measure), which is still in storage, and whose ids are not row numbers.
    Where there is none but versions were released, it is the last of those, so that the audit says why it is not
    compared.
    """
    before = audits_before(read_history(store, dataset), version, has_version_in_url=has_version_in_url)
    released = [audits for audits in before if audits[-1].gate != GATE_FAILED]
    if not released:
        return None
    # Lazily: each look into storage is a request.
    candidates = (record for audits in reversed(released) for record in reversed(audits))
    found = next((record for record in candidates if _is_comparable(store, record)), released[-1][-1])
    between = [audits[-1] for audits in before]
    between = between[[record.version for record in between].index(found.version) + 1 :]
    return asdict(
        Predecessor(
            version=found.version,
            audit_id=found.audit_id,
            created_at=found.created_at,
            folder=found.folder,
            deciding=found.deciding,
            held_versions=tuple(record.version for record in between if record.gate == GATE_FAILED),
            skipped_versions=tuple(record.version for record in between if record.gate != GATE_FAILED),
        )
    )


def compare_with_predecessor(store: Store, prepared: Prepared, tables: Mapping[str, bytes]) -> Compared:
    """The comparison of an audit, whose tables are given as files by name, with the predecessor in its record.

    Where the predecessor's files are missing or damaged, or the ids of either are row numbers, a note says so in place
    of a comparison.
    """
    if prepared.predecessor is None:
        return NOT_COMPARED
    before = Predecessor(**prepared.predecessor)
    if has_made_up_ids({"columns": prepared.columns}):
        return _not_compared(before, ROW_NUMBERS)
    try:
        found = open_audit(store, before.folder)
        if found is None:
            raise StorageError(f"{store.url_of(before.folder)} holds no audit any more. Audit that version again.")
        examples = found.table("examples.parquet", EXAMPLES, COMPARED)
        classes = found.table("classes.parquet", CLASSES)
    except StorageError as error:
        if error.transient:
            raise
        return _not_compared(before, str(error))
    if found.has_made_up_ids:
        return _not_compared(before, ROW_NUMBERS)
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
    changes = describe_changes(result, found, changed, before.held_versions, before.skipped_versions)
    return Compared(files, changes, change_notes(changes))


def compare_published(before: PublishedAudit, now: PublishedAudit) -> AuditDifference:
    """Any two audits of a dataset compared.

    Raises `ConfigError` for audits of two datasets, or whose ids are row numbers, `StorageError` where their files
    cannot be read.
    """
    if before.audit["dataset"] != now.audit["dataset"]:
        raise ConfigError(
            f"{before.url} is an audit of {before.audit['dataset']!r}, {now.url} one of {now.audit['dataset']!r}. "
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
    changed = changed_settings(deciding(before.audit), deciding(now.audit))
    issues = now.table("issues.parquet", ISSUES)
    new = new_issues(result.changes, issues)
    return AuditDifference(describe_changes(result, before, changed), result.changes, new)


def describe_changes(
    result: Comparison,
    before: PublishedAudit,
    changed: list[ChangedSetting],
    held_versions: Sequence[str] = (),
    skipped_versions: Sequence[str] = (),
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
        "statuses": [count._asdict() for count in result.statuses],
        "other_status": result.other_status,
        "relabeled": [pair._asdict() for pair in relabeled_pairs(result.changes)[:TOP_PAIRS]],
        "changed_settings": as_records(changed),
        "warning": _warning(changed, before.audit["version"], result),
        "notes": [*_skipped(skipped_versions), *result.notes, *_made_elsewhere(before, changed, result)],
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


def _is_comparable(store: Store, record: AuditRecord) -> bool:
    return not record.has_made_up_ids and store.exists(f"{record.folder}/{MANIFEST}")


def _not_compared(before: Predecessor, problem: str) -> Compared:
    note = f"Not compared with version {before.version}, the audit before: {problem}"
    return Compared({}, None, (note,), problem)


def _skipped(versions: Sequence[str]) -> list[str]:
    """That released versions in between are no measure."""
    if not versions:
        return []
    named = listing(versions, shown=SHOWN_VERSIONS)
    return [f"Passed over, because their audits are not in storage any more, or their rows have no ids: {named}."]


def _class_order(*classes: pa.Table) -> tuple[str, ...]:
    return sort_class_names({name for table in classes for name in table["class_name"].to_pylist()})


def _table(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))
