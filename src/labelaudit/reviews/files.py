"""Files of a review: rows to review, verdicts and corrected labels of a published audit, and filled files."""

from __future__ import annotations

import codecs
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.audits.published import PublishedAudit
from labelaudit.errors import ReviewError
from labelaudit.reviews.audit_review import audited_examples, class_names, labeled_examples, scored_table
from labelaudit.reviews.clean_labels import CLEANED_FROM, CleaningEffect, CleaningRules, clean_table, cleaning_effect
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.label_studio import TaskPreview, interface, read_annotations, tasks_bytes
from labelaudit.reviews.sampling import Sample
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.spreadsheet import csv_bytes, read_spreadsheet
from labelaudit.reviews.suggestions import CONSENSUS_NEEDED, ISSUES_NEEDED
from labelaudit.reviews.verdict_store import read_verdicts
from labelaudit.reviews.verdicts import CurrentVerdicts, LabeledExample, Verdict, current
from labelaudit.schemas import CONSENSUS, EXAMPLES, ISSUES, PREVIEWS, Decision

_PREVIEWS_FILE = "previews.parquet"


class ExportKind(StrEnum):
    """What can be exported from an audit."""

    ISSUES = "issues"  # flagged rows without a verdict, the most doubtful first
    VERDICTS = "verdicts"  # all current ones of the dataset
    CORRECTED = "corrected"  # example_id and right label of labels that are wrong and not fixed
    CLEAN = "clean"  # every row of the version, with what to do before training
    INTERFACE = "interface"  # of a Label Studio project for the tasks


class FileFormat(StrEnum):
    """Formats of review files."""

    CSV = "csv"
    PARQUET = "parquet"
    LABEL_STUDIO = "label-studio"
    XML = "xml"


class CleanFile(NamedTuple):
    """What to do with every row of a version, and the effect of this."""

    data: bytes
    effect: CleaningEffect


class SampleFile(NamedTuple):
    """A sample to review."""

    data: bytes
    # Rows without a preview. If there are any, the file shows no previews at all. 0 if the format shows none.
    without_preview: int


_SUFFIXES = {
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".json": FileFormat.LABEL_STUDIO,
    ".xml": FileFormat.XML,
}
# Formats that people fill in.
FILLABLE = (FileFormat.CSV, FileFormat.LABEL_STUDIO)
_FORMATS = {
    ExportKind.ISSUES: FILLABLE,
    ExportKind.VERDICTS: (FileFormat.CSV, FileFormat.PARQUET),
    ExportKind.CORRECTED: (FileFormat.CSV, FileFormat.PARQUET),
    ExportKind.CLEAN: (FileFormat.CSV, FileFormat.PARQUET),
    ExportKind.INTERFACE: (FileFormat.XML,),
}

_VERDICTS = pa.schema(
    [
        ("example_id", pa.string()),
        ("given_label", pa.string()),
        ("verdict", pa.string()),
        ("right_label", pa.string()),
        ("remove_reason", pa.string()),
        ("holds", pa.bool_()),  # whether it applies to a row of the audit
        ("was_flagged", pa.bool_()),
        ("reviewer", pa.string()),
        ("decided_at", pa.string()),
        ("audit_id", pa.string()),
        ("content_digest", pa.string()),
    ]
)
_VERDICT_ORDER = ("example_id", "decided_at")


def format_of(name: str, format: str | None, allowed: tuple[FileFormat, ...]) -> FileFormat:
    """Return the requested format, or else the one that the suffix of the file name stands for.

    Raises:
        ReviewError: if the format is not allowed.
    """
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    found = FileFormat(format) if format else _SUFFIXES.get(suffix)
    if found not in allowed:
        suffixes = [f"{suffix} ({kind})" for suffix, kind in _SUFFIXES.items() if kind in allowed]
        raise ReviewError(
            f"{name} cannot be {found or 'a file of this kind'} here. Give a name that ends in {' or '.join(suffixes)}."
        )
    return found


def export(audit: PublishedAudit, kind: ExportKind, name: str, format: str | None = None) -> bytes:
    """Return a file of an audit, with all verdicts that are stored now.

    Raises:
        ReviewError: if the format cannot contain it.
    """
    file_format = format_of(name, format, _FORMATS[kind])
    if kind == ExportKind.INTERFACE:
        return interface(class_names(audit), has_images=_are_images(_previews(audit))).encode()
    if kind == ExportKind.ISSUES:
        issues, previews = _issues_to_review(audit), _previews(audit)
        if file_format == FileFormat.CSV:
            return _csv_to_fill(issues)
        return _tasks(audit, issues, previews, has_images=_are_images(previews))
    if kind == ExportKind.CLEAN:
        return clean_file(audit, name, format).data
    return _written(_verdicts(audit) if kind == ExportKind.VERDICTS else _corrected(audit), file_format)


def clean_file(
    audit: PublishedAudit, name: str, format: str | None = None, rules: CleaningRules | None = None
) -> CleanFile:
    """Return a file with what to do with every row of the version, with all verdicts that are stored now.

    Raises:
        ReviewError: if the format cannot contain it, or the audit lacks what the rules need.
    """
    file_format = format_of(name, format, _FORMATS[ExportKind.CLEAN])
    table = clean_rows(audit, rules or CleaningRules())
    return CleanFile(_written(table, file_format), cleaning_effect(table))


def clean_rows(audit: PublishedAudit, rules: CleaningRules) -> pa.Table:
    """Return what to do with every row of the version of an audit: `clean_labels.CLEAN`."""
    examples = audit.table("examples.parquet", EXAMPLES, CLEANED_FROM)
    issues = audit.table("issues.parquet", ISSUES, ISSUES_NEEDED)
    snapshot = ReviewSnapshot.of(read_verdicts(audit.store, audit.dataset), (), audit.fingerprint)
    columns = (examples[name].to_pylist() for name in ("example_id", "content_digest", "given_label"))
    consensus = None
    if audit.summary().annotators is not None:
        consensus = audit.table("consensus.parquet", CONSENSUS, CONSENSUS_NEEDED)
    return clean_table(examples, issues, snapshot.for_rows(*columns), rules, consensus)


def sample_file(audit: PublishedAudit, sample: Sample, file_format: FileFormat) -> SampleFile:
    """Return a file of the sampled rows without a verdict, in an order that does not reveal which are flagged.

    Nothing in the file influences the reviewer. It shows previews of all rows or of none: the audit has previews of the
    worst flagged rows, so a single preview would reveal a flag.

    Args:
        audit: The audit.
        sample: A sample of its rows.
        file_format: One of `FILLABLE`.
    """
    reviewed = _reviewed(audit)
    open_rows = [row for row in sample.shuffled() if row not in reviewed]
    table = scored_table(audit, "file", "row")
    position = {example_id: index for index, example_id in enumerate(table["example_id"].to_pylist())}
    rows = table.take(pa.array([position[row.example_id] for row in open_rows], pa.int64()))
    rows = _with_content(rows.select(["example_id", "given_label", "file", "row"]), open_rows)
    if file_format == FileFormat.CSV:
        return SampleFile(_csv_to_fill(rows), 0)
    previews = _previews(audit)
    missing = sum(row.example_id not in previews for row in open_rows)
    shown = {} if missing else previews
    return SampleFile(_tasks(audit, rows, shown, has_images=_are_images(previews)), missing)


def read_filled(data: bytes, name: str, format: str | None = None) -> list[Draft]:
    """Return the drafts in a filled file.

    Raises:
        ReviewError: if the file cannot be read.
    """
    file_format = format_of(name, format, FILLABLE)
    return read_spreadsheet(data, name) if file_format == FileFormat.CSV else read_annotations(data, name)


def _reviewed(audit: PublishedAudit) -> CurrentVerdicts[Verdict]:
    return current(read_verdicts(audit.store, audit.dataset))


def _issues_to_review(audit: PublishedAudit) -> pa.Table:
    reviewed = _reviewed(audit)
    columns = ["example_id", "given_label", "suggested_label", "label_score", "p_suggested", "file", "row"]
    table = audit.table("issues.parquet", ISSUES, columns)
    example_ids = table["example_id"].to_pylist()
    audited = audited_examples(audit, example_ids)
    rows = [audited[example_id].example for example_id in example_ids]
    return _with_content(table, rows).filter(pa.array([row not in reviewed for row in rows], pa.bool_()))


def _verdicts(audit: PublishedAudit) -> pa.Table:
    reviewed = _reviewed(audit)
    applicable = set(_applicable(audit, reviewed).values())
    rows = [{**asdict(verdict), "holds": verdict in applicable} for verdict in reviewed.values()]
    return pa.Table.from_pylist(rows, schema=_VERDICTS).sort_by([(name, "ascending") for name in _VERDICT_ORDER])


def _corrected(audit: PublishedAudit) -> pa.Table:
    rows = {
        example.example_id: verdict.right_label
        for example, verdict in _applicable(audit, _reviewed(audit)).items()
        if verdict.verdict == Decision.WRONG
    }
    names = sorted(rows)
    labels = [rows[name] for name in names]
    return pa.table({"example_id": pa.array(names, pa.string()), "label": pa.array(labels, pa.string())})


def _applicable(audit: PublishedAudit, reviewed: Mapping[LabeledExample, Verdict]) -> dict[LabeledExample, Verdict]:
    """Return the verdicts that apply to a row of the audit."""
    table = audit.table("examples.parquet", EXAMPLES, ["example_id", "content_digest", "given_label"])
    ids = pa.array({example.example_id for example in reviewed}, pa.string())
    rows = labeled_examples(table.filter(pc.is_in(table["example_id"], ids)))
    return {row: reviewed[row] for row in rows if row in reviewed}


def _with_content(table: pa.Table, rows: Sequence[LabeledExample]) -> pa.Table:
    """Return the table with the content digests as its last column, empty if the audit has no content."""
    return table.append_column("content_digest", pa.array([row.content_digest or "" for row in rows], pa.string()))


def _written(table: pa.Table, file_format: FileFormat) -> bytes:
    if file_format == FileFormat.CSV:
        return _csv(table)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _tasks(audit: PublishedAudit, table: pa.Table, previews: Mapping[str, TaskPreview], *, has_images: bool) -> bytes:
    return tasks_bytes(table.to_pylist(), previews, f"labelaudit {audit.audit_id}", has_images=has_images)


def _csv_to_fill(table: pa.Table) -> bytes:
    table = table.drop_columns([name for name in ("p_suggested",) if name in table.column_names])
    for name in ("verdict", "right_label", "remove_reason"):
        table = table.add_column(table.column_names.index("file"), name, pa.nulls(len(table), pa.string()))
    # Without a byte order mark, Excel assumes another encoding.
    return codecs.BOM_UTF8 + _csv(table)


def _csv(table: pa.Table) -> bytes:
    return csv_bytes(table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True)))


def _are_images(previews: Mapping[str, TaskPreview]) -> bool:
    return any(media_type.startswith("image/") for media_type, _ in previews.values())


def _previews(audit: PublishedAudit) -> dict[str, TaskPreview]:
    """Return the previews of the audit by example id."""
    if _PREVIEWS_FILE not in audit.sha256:
        return {}
    table = audit.table(_PREVIEWS_FILE, PREVIEWS)
    columns = [table[name].to_pylist() for name in table.column_names]
    return {example_id: (media_type, data) for example_id, media_type, data in zip(*columns, strict=True)}
