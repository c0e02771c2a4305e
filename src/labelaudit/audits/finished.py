"""Audits that are already published: find them in a rerun, and complete what a killed run left undone.

Separate from `labelaudit.pipeline.publish`, because a rerun that only finds an audit must not import charts.
"""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.published import read_facts
from labelaudit.audits.references import AuditReference, PlanReference
from labelaudit.audits.site import rebuild_site, record_audit
from labelaudit.codec import from_record
from labelaudit.findings import Summary
from labelaudit.storage.layout import MANIFEST, PAGE, SUMMARY, audit_record_key, audited_key
from labelaudit.storage.manifest import Manifest, dump_json, read_manifest
from labelaudit.storage.store import Store


def find_published(reference: PlanReference) -> AuditReference | None:
    """Return the audit if it is already published."""
    store = output_store(reference)
    plan = load_plan(reference)
    found = existing_audit(store, plan)
    if found is not None:
        remember(store, reference, plan)
    return found


def is_published(reference: PlanReference) -> bool:
    """Return whether the audit is complete: its manifest, which is written last, exists."""
    plan = load_plan(reference)
    return output_store(reference).exists(f"{plan.audit_folder}/{MANIFEST}")


def existing_audit(store: Store, plan: Plan) -> AuditReference | None:
    """Return the audit if it is already published, after completing what a killed run left undone."""
    found = read_manifest(store, plan.audit_folder)
    if found is None:
        return None
    return completed(store, plan, found, status="already_published")


def completed(store: Store, plan: Plan, standing: Manifest, *, status: str) -> AuditReference:
    """Write what is missing after the manifest: the audit's record, and the files made from all records."""
    folder = plan.audit_folder
    summary = from_record(Summary, json.loads(store.read(f"{folder}/{SUMMARY}")))
    if not store.exists(audit_record_key(plan.dataset, plan.version, plan.audit_id)):
        classes = pq.read_table(io.BytesIO(store.read(f"{folder}/classes.parquet")))
        record_audit(store, folder, read_facts(store, f"{folder}/{MANIFEST}", standing), summary, classes)
    rebuild_site(store, plan.dataset)
    return _audit_reference(store, plan, summary, status=status)


def remember(store: Store, reference: PlanReference, plan: Plan) -> None:
    """Store that these files of the version are audited, so that a sweep does not have to read them."""
    if reference.state is not None:
        record = {"audit": plan.audit_folder, "version": plan.version, "dataset_url": reference.dataset_url}
        store.write(audited_key(plan.dataset, reference.state), dump_json(record))


def _audit_reference(store: Store, plan: Plan, summary: Summary, *, status: str) -> AuditReference:
    return AuditReference(
        audit_url=store.url_of(plan.audit_folder),
        dataset=plan.dataset,
        version=plan.version,
        audit_id=plan.audit_id,
        status=status,
        examples=summary.examples,
        scored=summary.scored,
        issues=summary.issues,
        error_range=summary.error_range,
        report_url=store.url_of(f"{plan.audit_folder}/{PAGE}"),
    )
