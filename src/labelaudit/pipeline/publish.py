"""Publish an audit: fold probabilities, tables, page and summary, then the manifest, then its record."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.finished import completed, remember
from labelaudit.audits.prepared import Prepared, load_file, load_prepared, load_rows, output_store
from labelaudit.audits.references import AuditReference, FilesReference, FoldReference, PreparedReference
from labelaudit.pipeline.decoded_inputs import open_inputs
from labelaudit.pipeline.detect import FINDINGS
from labelaudit.pipeline.views import PREVIEWS_FILE, cards, open_views, previews_bytes
from labelaudit.report.changes import changes_content
from labelaudit.report.charts import score_histogram
from labelaudit.report.gallery import Preview, gallery_items
from labelaudit.report.page import PageContent, PublishedFile, render_page
from labelaudit.report.reviewed import review_section
from labelaudit.report.summary import Findings, summarize
from labelaudit.schemas import SCHEMA_VERSION
from labelaudit.storage import manifest
from labelaudit.storage.layout import PAGE, SUMMARY, published_fold_key
from labelaudit.storage.manifest import dump_json, read_checked, read_json, sha256_hex
from labelaudit.storage.store import Store


def publish(reference: PreparedReference, folds: list[FoldReference], detected: FilesReference) -> AuditReference:
    """Publish what the earlier steps left, with previews of the worst examples.

    Raises `StorageError` when a file is not what an earlier step left.
    """
    store = output_store(reference)
    prepared = load_prepared(reference)
    files = {published_fold_key(fold.fold): _fold_bytes(store, fold) for fold in folds}
    for name in detected.sha256:
        if name.endswith(".parquet"):
            files[name] = load_file(store, detected, name)
    findings = json.loads(load_file(store, detected, FINDINGS))
    findings["notes"] = (*findings["notes"], *prepared.columns["guesses"])
    examples, issues = _table(files["examples.parquet"]), _table(files["issues.parquet"])
    shown = prepared.config["report"]
    with open_inputs(reference, prepared) as folder:
        rows = load_rows(reference, prepared)
        views = open_views(prepared, rows, folder)
        gallery = cards(views, rows, issues, shown["examples"])
        files[PREVIEWS_FILE] = previews_bytes(views, rows, examples, issues, shown["previews"])
    audit = publish_audit(store, prepared, files, Findings(**findings), gallery)
    remember(store, reference, prepared)
    return audit


def publish_audit(
    store: Store, prepared: Prepared, files: dict[str, bytes], findings: Findings, previews: Sequence[Preview]
) -> AuditReference:
    """Write the audit's folder, the manifest last, and what the dataset shows of all its audits.

    `files` holds the tables and fold probabilities by their names in the folder.
    """
    names = [name for name in files if "/" not in name and name != PREVIEWS_FILE]
    tables = {name.removesuffix(".parquet"): _table(files[name]) for name in names}
    summary = summarize(
        findings,
        audit_url=store.url_of(prepared.audit_folder),
        dataset=prepared.dataset,
        version=prepared.version,
        fingerprint=prepared.fingerprint,
        status="published",
        status_counts=prepared.statuses,
        classes=tables["classes"],
        confusions=tables["confusions"],
    )
    content = _page_content(prepared, summary, tables, files, previews)
    published = {**files, SUMMARY: dump_json(summary), PAGE: render_page(content).encode()}
    audit = {"dataset": prepared.dataset, "version": prepared.version, "audit_id": prepared.audit_id}
    decided = {
        name: getattr(prepared, name)
        for name in ("created_at", "fingerprint", "config", "columns", "recipe", "code", "versions", "machine")
    }
    standing = manifest.publish_files(store, prepared.audit_folder, published, {**audit, **decided}, SCHEMA_VERSION)
    return completed(store, prepared, standing, status="published")


def _page_content(
    prepared: Prepared,
    summary: dict[str, Any],
    tables: dict[str, pa.Table],
    files: Mapping[str, bytes],
    previews: Sequence[Preview],
) -> PageContent:
    return PageContent(
        summary=summary,
        issues=tables["issues"],
        classes=tables["classes"],
        confusions=tables["confusions"],
        folds=tables["folds"],
        scores=score_histogram(tables["examples"]),
        gallery=gallery_items(tables["issues"], previews),
        provenance=provenance(prepared),
        files=[_published_file(name, data) for name, data in sorted(files.items())],
        changes=changes_content(summary["changes"], tables),
        review=review_section(summary["review"], tables["examples"]),
    )


def provenance(prepared: Prepared) -> dict[str, str]:
    """What the audit was made from, in words, in the order in which a page shows it."""
    recipe = {name: value for name, value in prepared.recipe.items() if value not in (None, {}, ())}
    return {
        "fingerprint": prepared.fingerprint,
        "audit id": prepared.audit_id,
        "audited at": prepared.created_at,
        "dataset": str(prepared.config["dataset"]["url"]),
        **{f"model: {name}": str(value) for name, value in recipe.items()},
        **{
            f"config: {section}": json.dumps(prepared.config[section], ensure_ascii=False)
            for section in ("dataset", "training", "cross_validation", "detection", "gate")
            if section in prepared.config
        },
        "versions": ", ".join(f"{name} {version}" for name, version in prepared.versions.items()),
        "prepared on": ", ".join(f"{name} {value}" for name, value in prepared.machine.items()),
    }


def _fold_bytes(store: Store, fold: FoldReference) -> bytes:
    record = read_json(store, fold.key)
    return read_checked(store, record["key"], record["sha256"])


def _table(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def _published_file(name: str, data: bytes) -> PublishedFile:
    return PublishedFile(name, len(data), sha256_hex(data), pq.ParquetFile(io.BytesIO(data)).metadata.num_rows)
