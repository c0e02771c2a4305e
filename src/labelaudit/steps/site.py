"""What a dataset shows of all its audits: a record of each, one static page, one table of the trend."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from labelaudit.report.site import render_site
from labelaudit.report.trend import AuditEntry, trend_table
from labelaudit.steps.deciding import (
    ChangedSetting,
    changed_settings,
    deciding,
    has_made_up_ids,
    in_words,
    is_other_work,
)
from labelaudit.steps.history import AuditRecord, newest_of_versions, read_history, write_audit_record
from labelaudit.steps.prepared import parquet_bytes
from labelaudit.storage.layout import audit_records_folder, dataset_folder, dataset_page_key, trend_key
from labelaudit.storage.store import Store

# Each round sees all records that were written before it; whoever writes one later makes the page anew.
MOST_ROUNDS = 20
RECORDED_CLASS_COLUMNS = ["class_name", "status", "examples", "label_issues", "label_noise"]


def record_audit(
    store: Store, folder: str, audit: dict[str, Any], summary: dict[str, Any], classes: pa.Table
) -> AuditRecord:
    """Write the record of a published audit. `audit`: what its manifest says; `classes`: CLASSES."""
    record = AuditRecord(
        dataset=audit["dataset"],
        version=audit["version"],
        audit_id=audit["audit_id"],
        created_at=audit["created_at"],
        folder=folder,
        fingerprint=audit["fingerprint"],
        deciding=deciding(audit),
        summary=summary,
        classes=classes.select(RECORDED_CLASS_COLUMNS).to_pylist(),
        gate=(summary.get("gate") or {}).get("verdict"),
        has_made_up_ids=has_made_up_ids(audit),
        has_version_in_url="{version}" in audit["config"]["dataset"]["url"],
    )
    write_audit_record(store, record)
    return record


def rebuild_site(store: Store, dataset: str) -> None:
    """Make `index.html` and `trend.parquet` of a dataset anew from all its records.

    Equal records give equal bytes, and what is stored already is not written again. Of publishers at the same time
    each looks after writing whether records were added meanwhile: the last one to write has seen all.
    """
    for _ in range(MOST_ROUNDS):
        listed = _listed(store, dataset)
        entries = _entries(read_history(store, dataset))
        _write_if_changed(store, dataset_page_key(dataset), render_site(dataset, entries).encode())
        _write_if_changed(store, trend_key(dataset), parquet_bytes(trend_table(entries)))
        if _listed(store, dataset) == listed:
            return


def _entries(history: list[AuditRecord]) -> list[AuditEntry]:
    """What the page shows of each audit, in the order of the records."""
    newest = newest_of_versions(history)
    place = {(record.version, record.audit_id): number for number, record in enumerate(newest)}
    entries = []
    for record in history:
        number = place.get((record.version, record.audit_id))
        before = newest[number - 1] if number else None
        entries.append(_entry(record, number, before))
    return entries


def _entry(record: AuditRecord, number: int | None, before: AuditRecord | None) -> AuditEntry:
    changed: list[ChangedSetting] = []
    if before is not None:
        changed = changed_settings(before.deciding, record.deciding)
    summary = record.summary
    return AuditEntry(
        version=record.version,
        audit_id=record.audit_id,
        created_at=record.created_at,
        folder=record.folder.removeprefix(f"{dataset_folder(record.dataset)}/"),
        verdict=summary["verdict"],
        examples=summary["examples"],
        scored=summary["scored"],
        issues=summary["issues"],
        error_rate=summary["estimated_error_rate"],
        gate=record.gate,
        classes=tuple(record.classes),
        position=None if number is None else number + 1,
        changed_settings=tuple(map(in_words, changed)) if is_other_work(changed) else (),
    )


def _listed(store: Store, dataset: str) -> list[tuple[str, str | None]]:
    return [(file.path, file.token) for file in store.find(audit_records_folder(dataset))]


def _write_if_changed(store: Store, key: str, data: bytes) -> None:
    if not store.exists(key) or store.read(key) != data:
        store.write(key, data)
