"""The files that summarize all audits of a dataset: records, a static page, the trend, and the latest audit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audit_changes import ChangedSetting
from labelaudit.audits.decisive_settings import (
    changed_settings,
    in_words,
    is_other_work,
)
from labelaudit.audits.history import (
    READERS,
    AuditFacts,
    AuditRecord,
    list_records,
    newest_of_versions,
    oldest_first,
    read_records,
    write_audit_record,
)
from labelaudit.audits.work_files import parquet_bytes
from labelaudit.errors import StorageError
from labelaudit.findings import Summary
from labelaudit.report.trend import CLASS_FIGURES, AuditEntry, trend_table
from labelaudit.storage.layout import (
    audit_classes_key,
    audit_record_key,
    dataset_folder,
    dataset_page_key,
    latest_key,
    trend_key,
)
from labelaudit.storage.manifest import digest_of, dump_json
from labelaudit.storage.store import Store, StoredFile

# Stopping is safe: a publisher that adds a record later rebuilds the files too.
MOST_ROUNDS = 20


def record_audit(store: Store, folder: str, facts: AuditFacts, summary: Summary, classes: pa.Table) -> AuditRecord:
    """Write the record of a published audit, and return it. `classes` is a CLASSES table."""
    record = audit_record(folder, facts, summary)
    figures = classes.select(CLASS_FIGURES.names)
    store.write(audit_classes_key(record.dataset, record.version, record.audit_id), parquet_bytes(figures))
    write_audit_record(store, record)
    return record


def audit_record(folder: str, facts: AuditFacts, summary: Summary) -> AuditRecord:
    """Return the record of an audit in `folder`."""
    gate = None if summary.gate is None else summary.gate.verdict.value
    return AuditRecord(**vars(facts), folder=folder, summary=summary, gate=gate)


def rebuild_site(store: Store, dataset: str) -> None:
    """Rebuild `index.html`, `trend.parquet` and `latest.json` of a dataset from the records of all its audits.

    Each file contains a digest of the list of records that it was made from. If all three match the stored records,
    nothing is written. Equal records give equal bytes. After writing, each of several simultaneous publishers checks
    again. It rebuilds the files if records were added, or if another publisher overwrote them with older content.
    """
    for _ in range(MOST_ROUNDS):
        listed = list_records(store, dataset)
        made_from = _digest(listed)
        if all(_is_made_from(store, key(dataset), made_from) for key in (dataset_page_key, trend_key, latest_key)):
            return
        # Imported late: most reruns find the files up to date and need no templates.
        from labelaudit.report.dataset_page import render_site

        history = oldest_first(read_records(store, listed))
        entries = _entries(store, history)
        store.write(dataset_page_key(dataset), render_site(dataset, entries, made_from).encode())
        store.write(trend_key(dataset), parquet_bytes(trend_table(entries, made_from)))
        store.write(latest_key(dataset), dump_json(_latest(history[-1], made_from)))


def _digest(listed: Sequence[StoredFile]) -> str:
    # Without the time of change: a record that is written again has the same content.
    return digest_of([(file.path, file.size) for file in listed])


def _is_made_from(store: Store, key: str, made_from: str) -> bool:
    return store.exists(key) and made_from.encode() in store.read(key)


def _latest(newest: AuditRecord, made_from: str) -> dict[str, str]:
    """Return the content of `latest.json`."""
    return {
        "dataset": newest.dataset,
        "version": newest.version,
        "audit_id": newest.audit_id,
        "created_at": newest.created_at,
        "audit": newest.folder,
        "records": made_from,
    }


def _entries(store: Store, history: Sequence[AuditRecord]) -> list[AuditEntry]:
    """Return what the page shows of each audit, in the order of the records."""
    newest = newest_of_versions(history)
    with ThreadPoolExecutor(READERS) as pool:
        classes = list(pool.map(partial(_class_figures, store), newest))
    place = {(record.version, record.audit_id): number for number, record in enumerate(newest)}
    entries = []
    for record in history:
        number = place.get((record.version, record.audit_id))
        before = newest[number - 1] if number else None
        figures = CLASS_FIGURES.empty_table() if number is None else classes[number]
        entries.append(_entry(record, figures, number, before))
    return entries


def _entry(record: AuditRecord, classes: pa.Table, number: int | None, before: AuditRecord | None) -> AuditEntry:
    changed: list[ChangedSetting] = []
    if before is not None:
        changed = changed_settings(before.deciding, record.deciding)
    summary = record.summary
    return AuditEntry(
        version=record.version,
        audit_id=record.audit_id,
        created_at=record.created_at,
        folder=record.folder.removeprefix(f"{dataset_folder(record.dataset)}/"),
        verdict=summary.verdict,
        examples=summary.examples,
        scored=summary.scored,
        staying=summary.staying,
        issues=summary.issues,
        error_range=summary.error_range,
        gate=record.gate,
        classes=classes,
        position=None if number is None else number + 1,
        changed_settings=tuple(map(in_words, changed)) if is_other_work(changed) else (),
    )


def _class_figures(store: Store, record: AuditRecord) -> pa.Table:
    """Return the CLASS_FIGURES of an audit."""
    name = record.dataset, record.version, record.audit_id
    data = store.read(audit_classes_key(*name))
    try:
        return pq.read_table(io.BytesIO(data)).cast(CLASS_FIGURES)
    except (pa.ArrowException, ValueError) as error:
        raise StorageError(
            f"{store.url_of(audit_classes_key(*name))} is not a table of figures by class ({str(error)[:120]}). Remove "
            f"it and {store.url_of(audit_record_key(*name))}, then run that audit again."
        ) from error
