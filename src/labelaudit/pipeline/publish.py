"""Publish an audit: fold probabilities, tables, page and summary, then the manifest, then its record."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.detected import AuditTables, Detected
from labelaudit.audits.finished import completed, remember
from labelaudit.audits.probabilities import FoldFileRecord, GatheredFolds
from labelaudit.audits.references import AuditReference, EncodingReference, FilesReference, PlanReference
from labelaudit.audits.version import Version, load_version
from labelaudit.audits.work_files import file_on_this_machine
from labelaudit.codec import to_record
from labelaudit.errors import Fault, IntegrityError
from labelaudit.findings import Encoding, Summary
from labelaudit.memory import release_if_grown
from labelaudit.pipeline.damage_notes import damage_notes
from labelaudit.pipeline.decoded_inputs import open_inputs
from labelaudit.pipeline.row_previews import (
    PREVIEWED_COLUMNS,
    PREVIEWS_FILE,
    RowInputs,
    cards,
    cards_of,
    copies_previews,
    open_rows,
    previews_bytes,
)
from labelaudit.report.ambiguous import ambiguous_examples
from labelaudit.report.annotators_section import AnnotatorsContent, annotators_content
from labelaudit.report.changes import ChangesContent, changes_content
from labelaudit.report.charts import p_wrong_histogram
from labelaudit.report.copies_section import CopiesContent, shown_copies
from labelaudit.report.gallery import CardPreview, gallery_items
from labelaudit.report.outliers_section import OutliersContent, shown_outliers
from labelaudit.report.page import PageContent, PublishedFile, Sections, render_page
from labelaudit.report.quality_section import QualityContent, shown_quality
from labelaudit.report.reviewed import review_section
from labelaudit.report.summary import summarize
from labelaudit.schemas import SCHEMA_VERSION
from labelaudit.storage import manifest
from labelaudit.storage.file_on_disk import FileOnDisk
from labelaudit.storage.layout import PAGE, SUMMARY, published_fold_key
from labelaudit.storage.manifest import dump_json, sha256_hex
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

# Sections of the config that the page shows.
_SHOWN_SECTIONS = ("dataset", "training", "cross_validation", "detection", "gate")
# Columns of EXAMPLES that the page shows or counts.
_SHOWN_COLUMNS = (
    *("example_id", "given_label", "predicted_label", "is_label_issue", "label_score", "p_wrong", "file", "row"),
    *("verdict", "right_label", "remove_reason", "dynamics_spread"),
)


def publish(
    reference: PlanReference,
    gathered: FilesReference,
    detected: FilesReference,
    encoding: EncodingReference | None = None,
) -> AuditReference:
    """Publish what the earlier steps stored, with previews of the worst examples.

    Args:
        encoding: what was encoded; None if no view needs an encoder.

    Raises:
        StorageError: a file has changed since an earlier step stored it.
    """
    store = output_store(reference)
    plan = load_plan(reference)
    files = TemporaryFiles()
    found = Detected.load(store, detected, files, PREVIEWED_COLUMNS)
    release_if_grown()
    others: dict[str, bytes | FileOnDisk] = {
        published_fold_key(record.fold): _fold_file(store, record, files)
        for record in GatheredFolds.load(store, gathered).files
    }
    shown = plan.config.report
    with open_inputs(reference, plan) as folder:
        rows = load_version(reference, plan)
        inputs = open_rows(plan, rows, folder)
        gallery = cards(inputs, rows, found.tables.issues, shown.examples)
        others[PREVIEWS_FILE] = previews_bytes(inputs, rows, found.tables, shown.previews)
        sections = Sections(
            copies=_copies(plan, inputs, found),
            outliers=_outliers(plan, inputs, rows, found.tables.outliers),
            annotators=_annotators(plan, inputs, rows, found),
            quality=_quality(plan, inputs, found),
        )
    del rows, inputs
    release_if_grown()
    found = found.with_examples(_SHOWN_COLUMNS)
    encoded = None
    if encoding is not None and plan.encoder is not None:
        encoded = Encoding(plan.encoder.name, encoding.rows, encoding.stored)
        notes = (*found.findings.notes, *damage_notes(store, plan))
        found = replace(found, findings=replace(found.findings, notes=notes))
    audit = publish_audit(store, plan, found, others, gallery, sections, encoded)
    remember(store, reference, plan)
    return audit


def _annotators(plan: Plan, inputs: RowInputs, rows: Version, found: Detected) -> AnnotatorsContent | None:
    examples = plan.config.report.examples
    content = _annotators_without_previews(found, examples)
    if content is None or not examples:
        return content
    ids = pc.unique(content.consensus["example_id"]).to_pylist()
    return replace(content, previews=dict(zip(ids, cards_of(inputs, rows, ids), strict=True)))


def _annotators_without_previews(found: Detected, examples: int) -> AnnotatorsContent | None:
    tables = found.tables
    flagged = tables.issues["example_id"].slice(0, examples).to_pylist()
    return annotators_content(found.findings.annotators, tables.annotators, tables.consensus, tables.answers, flagged)


def _quality(plan: Plan, inputs: RowInputs, found: Detected) -> QualityContent | None:
    table, counts = found.tables.quality, found.findings.quality
    if table is None or counts is None:
        return None
    shown = shown_quality(table)
    # As for copies.
    if not len(shown) or not plan.config.report.examples:
        return QualityContent(plan.kind, counts, table)
    places = found.with_examples(("file", "row")).tables.examples
    return QualityContent(plan.kind, counts, table, copies_previews(inputs, places, shown))


def _copies(plan: Plan, inputs: RowInputs, found: Detected) -> CopiesContent | None:
    table = found.tables.duplicates
    if table is None:
        return None
    shown = shown_copies(table)
    # Without examples on the page, the data may be confidential.
    if not len(shown) or not plan.config.report.examples:
        return CopiesContent(plan.kind, table)
    places = found.with_examples(("file", "row")).tables.examples
    return CopiesContent(plan.kind, table, copies_previews(inputs, places, shown))


def _outliers(plan: Plan, inputs: RowInputs, rows: Version, table: pa.Table | None) -> OutliersContent | None:
    if table is None:
        return None
    shown = shown_outliers(table)
    # Without examples on the page, the data may be confidential.
    previews = cards(inputs, rows, shown, len(shown)) if plan.config.report.examples else ()
    return OutliersContent(table, previews)


def publish_audit(
    store: Store,
    plan: Plan,
    detected: Detected,
    others: Mapping[str, bytes | FileOnDisk],
    gallery: Sequence[CardPreview],
    sections: Sections | None = None,
    encoding: Encoding | None = None,
) -> AuditReference:
    """Write the audit's folder, its manifest last, and then update the dataset's page.

    Args:
        others: Parquet files in addition to the tables, such as fold probabilities, by name in the folder.
        gallery: previews of the first issues, in their order.
        sections: what the page shows with previews of rows; None if the contents of the rows are unknown.
        encoding: what was encoded.
    """
    _check_complete(plan)
    temporary = TemporaryFiles()
    files = {**others, **detected.to_files(temporary)}
    findings = replace(detected.findings, notes=(*detected.findings.notes, *plan.notes, *plan.warnings, *plan.guesses))
    summary = summarize(
        findings,
        audit_url=store.url_of(plan.audit_folder),
        dataset=plan.dataset,
        version=plan.version,
        fingerprint=plan.fingerprint,
        status="published",
        status_counts=plan.statuses,
        classes=detected.tables.classes,
        confusions=detected.tables.confusions,
        left_out=plan.left_out,
        encoding=encoding,
    )
    sections = sections or Sections(annotators=_annotators_without_previews(detected, 0))
    content = _page_content(plan, summary, detected.tables, files, gallery, sections)
    published = {**files, SUMMARY: dump_json(to_record(summary)), PAGE: render_page(content).encode()}
    standing = manifest.publish_files(store, plan.audit_folder, published, plan.facts(), SCHEMA_VERSION)
    return completed(store, plan, standing, status="published")


def _check_complete(plan: Plan) -> None:
    """Check that every stored row has a status: scored and other rows add up to those in storage.

    Raises:
        IntegrityError: rows were lost or read twice.
    """
    stored = plan.examples if plan.columns is None else plan.columns.stored_rows
    counted = sum(plan.statuses.values())
    if counted != stored:
        raise IntegrityError(
            Fault.ROWS_MISSING if counted < stored else Fault.ROWS_UNKNOWN,
            f"storage contains {stored:,} rows, but {counted:,} rows have a status",
            "Nothing is published. Report this as a bug of labelaudit, with the output of `labelaudit check`",
            fold=None,
            rows=abs(stored - counted),
            example_ids=(),
        )


def _page_content(
    plan: Plan,
    summary: Summary,
    tables: AuditTables,
    files: Mapping[str, bytes | FileOnDisk],
    gallery: Sequence[CardPreview],
    sections: Sections,
) -> PageContent:
    return PageContent(
        summary=summary,
        issues=tables.issues,
        classes=tables.classes,
        confusions=tables.confusions,
        folds=tables.folds,
        views=tables.views,
        histogram=p_wrong_histogram(tables.examples, summary.cut),
        gallery=gallery_items(tables.issues, gallery),
        provenance=provenance(plan),
        files=[_published_file(name, data) for name, data in sorted(files.items())],
        changes=_changes(summary, tables),
        review=review_section(summary.review, tables.examples),
        ambiguous=ambiguous_examples(tables.examples),
        sections=sections,
        slices=tables.slices,
    )


def _changes(summary: Summary, tables: AuditTables) -> ChangesContent | None:
    if tables.changes is None or tables.class_changes is None:
        return None
    return changes_content(summary.changes, tables.changes, tables.class_changes, tables.issues)


def provenance(plan: Plan) -> dict[str, str]:
    """Return how the audit was made, as text, in the order of the page."""
    record = plan.to_record()
    recipe, config = record["recipe"], record["config"]
    encoder = {} if plan.encoder is None else {"encoder": plan.encoder.sentence}
    assert isinstance(recipe, dict)
    assert isinstance(config, dict)
    return {
        "fingerprint": plan.fingerprint,
        "audit id": plan.audit_id,
        "audited at": plan.created_at,
        "dataset": plan.config.dataset.url,
        **({"views": ", ".join(view.name for view in plan.views)} if plan.views else {}),
        **{f"model: {name}": str(value) for name, value in recipe.items() if value not in (None, {}, [])},
        **encoder,
        **{
            f"config: {section}": json.dumps(config[section], ensure_ascii=False)
            for section in _SHOWN_SECTIONS
            if section in config
        },
        "versions": ", ".join(f"{name} {version}" for name, version in plan.versions.items()),
        "prepared on": ", ".join(f"{name} {value}" for name, value in plan.machine.items()),
    }


def _fold_file(store: Store, record: FoldFileRecord, files: TemporaryFiles) -> FileOnDisk:
    """Return the file of a fold, whose checksum is compared when it is published."""
    path = file_on_this_machine(store, record.key, files)
    return FileOnDisk.of(path, record.sha256, is_temporary=False)


def _published_file(name: str, data: bytes | FileOnDisk) -> PublishedFile:
    if isinstance(data, FileOnDisk):
        return PublishedFile(name, data.bytes, data.sha256, pq.read_metadata(data.path).num_rows)
    return PublishedFile(name, len(data), sha256_hex(data), pq.ParquetFile(io.BytesIO(data)).metadata.num_rows)
