"""Rows, verdicts and corrected labels of a published audit as files, and filled files as verdicts."""

from __future__ import annotations

import codecs
import io
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.audits.published import PublishedAudit
from labelaudit.errors import ReviewError
from labelaudit.reviews.audit_review import audited_rows, class_names, judged_rows, scored_table
from labelaudit.reviews.judging import Judgement
from labelaudit.reviews.label_studio import Preview, interface, read_annotations, tasks_bytes
from labelaudit.reviews.sampling import Sample
from labelaudit.reviews.spreadsheet import csv_bytes, read_judgements
from labelaudit.reviews.verdict_store import read_verdicts
from labelaudit.reviews.verdicts import Judged, Verdict, newest
from labelaudit.schemas import EXAMPLES, ISSUES, PREVIEWS, Decision

PREVIEWS_FILE = "previews.parquet"


class What(StrEnum):
    """What can be exported of an audit."""

    ISSUES = "issues"  # flagged rows that nobody has judged, the most doubtful first
    VERDICTS = "verdicts"  # all that stand, of the whole dataset
    CORRECTED = "corrected"  # example_id and right label of what is wrong and not fixed
    INTERFACE = "interface"  # of a Label Studio project for the tasks


class Format(StrEnum):
    """Kinds of files."""

    CSV = "csv"
    PARQUET = "parquet"
    LABEL_STUDIO = "label-studio"
    XML = "xml"


class SampleFile(NamedTuple):
    """A sample to be judged."""

    data: bytes
    without_preview: int  # rows that the audit has no preview of, where the file could show them: then it shows none


_SUFFIXES = {".csv": Format.CSV, ".parquet": Format.PARQUET, ".json": Format.LABEL_STUDIO, ".xml": Format.XML}
# Kinds of files that people fill in.
TO_FILL = (Format.CSV, Format.LABEL_STUDIO)
_FORMATS = {
    What.ISSUES: TO_FILL,
    What.VERDICTS: (Format.CSV, Format.PARQUET),
    What.CORRECTED: (Format.CSV, Format.PARQUET),
    What.INTERFACE: (Format.XML,),
}

_VERDICTS = pa.schema(
    [
        ("example_id", pa.string()),
        ("given_label", pa.string()),
        ("verdict", pa.string()),
        ("right_label", pa.string()),
        ("holds", pa.bool_()),  # for a row of the audit
        ("was_flagged", pa.bool_()),
        ("reviewer", pa.string()),
        ("decided_at", pa.string()),
        ("audit_id", pa.string()),
        ("content_digest", pa.string()),
    ]
)
_VERDICT_ORDER = ("example_id", "decided_at")


def format_of(name: str, format: str | None, allowed: tuple[Format, ...]) -> Format:
    """The format that is asked for, else that of the name's suffix. Raises `ReviewError` where it is not allowed."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    found = Format(format) if format else _SUFFIXES.get(suffix)
    if found not in allowed:
        suffixes = [f"{suffix} ({kind})" for suffix, kind in _SUFFIXES.items() if kind in allowed]
        raise ReviewError(
            f"{name} cannot be {found or 'a file of this kind'} here. Give a name that ends in {' or '.join(suffixes)}."
        )
    return found


def export(audit: PublishedAudit, what: What, name: str, format: str | None = None) -> bytes:
    """A file of an audit, by all that is decided now. Raises `ReviewError` for a format that cannot hold it."""
    kind = format_of(name, format, _FORMATS[what])
    if what == What.INTERFACE:
        return interface(class_names(audit), has_images=_are_images(_previews(audit))).encode()
    if what == What.ISSUES:
        issues, previews = _issues_to_judge(audit), _previews(audit)
        if kind == Format.CSV:
            return _csv_to_judge(issues)
        return _tasks(audit, issues, previews, has_images=_are_images(previews))
    table = _verdicts(audit) if what == What.VERDICTS else _corrected(audit)
    if kind == Format.PARQUET:
        sink = io.BytesIO()
        pq.write_table(table, sink)
        return sink.getvalue()
    return _csv(table)


def sample_file(audit: PublishedAudit, sample: Sample, kind: Format) -> SampleFile:
    """The rows of a sample that nobody has judged, in an order that does not tell which are flagged.

    kind: one of TO_FILL. Nothing stands beside a row that would sway who judges it. Previews stand beside all rows or
    none: an audit has them of the worst flagged rows, so that a row with one among others without would be known.
    """
    standing = newest(read_verdicts(audit.store, audit.dataset))
    open_rows = [row for row in sample.shuffled() if row not in standing]
    table = scored_table(audit, "file", "row")
    position = {example_id: index for index, example_id in enumerate(table["example_id"].to_pylist())}
    rows = table.take(pa.array([position[row.example_id] for row in open_rows], pa.int64()))
    rows = _with_content(rows.select(["example_id", "given_label", "file", "row"]), open_rows)
    if kind == Format.CSV:
        return SampleFile(_csv_to_judge(rows), 0)
    previews = _previews(audit)
    missing = sum(row.example_id not in previews for row in open_rows)
    shown = {} if missing else previews
    return SampleFile(_tasks(audit, rows, shown, has_images=_are_images(previews)), missing)


def read_filled(data: bytes, name: str, format: str | None = None) -> list[Judgement]:
    """What a filled file says. Raises `ReviewError` where it cannot be read."""
    kind = format_of(name, format, TO_FILL)
    return read_judgements(data, name) if kind == Format.CSV else read_annotations(data, name)


def _issues_to_judge(audit: PublishedAudit) -> pa.Table:
    standing = newest(read_verdicts(audit.store, audit.dataset))
    columns = ["example_id", "given_label", "suggested_label", "label_score", "p_suggested", "file", "row"]
    table = audit.table("issues.parquet", ISSUES, columns)
    example_ids = table["example_id"].to_pylist()
    audited = audited_rows(audit, example_ids)
    rows = [audited[example_id].judged for example_id in example_ids]
    return _with_content(table, rows).filter(pa.array([row not in standing for row in rows], pa.bool_()))


def _verdicts(audit: PublishedAudit) -> pa.Table:
    standing = newest(read_verdicts(audit.store, audit.dataset))
    holding = _holding(audit, standing)
    rows = [{**verdict.to_record(), "holds": judged in holding} for judged, verdict in standing.items()]
    return pa.Table.from_pylist(rows, schema=_VERDICTS).sort_by([(name, "ascending") for name in _VERDICT_ORDER])


def _corrected(audit: PublishedAudit) -> pa.Table:
    standing = newest(read_verdicts(audit.store, audit.dataset))
    rows = {
        judged.example_id: verdict.right_label
        for judged, verdict in _holding(audit, standing).items()
        if verdict.verdict == Decision.WRONG
    }
    names = sorted(rows)
    labels = [rows[name] for name in names]
    return pa.table({"example_id": pa.array(names, pa.string()), "label": pa.array(labels, pa.string())})


def _holding(audit: PublishedAudit, standing: Mapping[Judged, Verdict]) -> dict[Judged, Verdict]:
    """Of the verdicts that stand those that hold for a row of the audit."""
    table = audit.table("examples.parquet", EXAMPLES, ["example_id", "content_digest", "given_label"])
    ids = pa.array({judged.example_id for judged in standing}, pa.string())
    rows = judged_rows(table.filter(pc.is_in(table["example_id"], ids)))
    return {row: standing[row] for row in rows if row in standing}


def _with_content(table: pa.Table, rows: Sequence[Judged]) -> pa.Table:
    """The table with a last column that tells on which content a verdict is; empty where the audit knows none."""
    return table.append_column("content_digest", pa.array([row.content_digest or "" for row in rows], pa.string()))


def _tasks(audit: PublishedAudit, table: pa.Table, previews: Mapping[str, Preview], *, has_images: bool) -> bytes:
    return tasks_bytes(table.to_pylist(), previews, f"labelaudit {audit.audit_id}", has_images=has_images)


def _csv_to_judge(table: pa.Table) -> bytes:
    table = table.drop_columns([name for name in ("p_suggested",) if name in table.column_names])
    for name in ("verdict", "right_label"):
        table = table.add_column(table.column_names.index("file"), name, pa.nulls(len(table), pa.string()))
    # Without the mark of the encoding, Excel takes the text for another one.
    return codecs.BOM_UTF8 + _csv(table)


def _csv(table: pa.Table) -> bytes:
    return csv_bytes(table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True)))


def _are_images(previews: Mapping[str, Preview]) -> bool:
    return any(media_type.startswith("image/") for media_type, _ in previews.values())


def _previews(audit: PublishedAudit) -> dict[str, Preview]:
    """What the audit holds to be seen of its rows, by id."""
    if PREVIEWS_FILE not in audit.sha256:
        return {}
    table = audit.table(PREVIEWS_FILE, PREVIEWS)
    columns = [table[name].to_pylist() for name in table.column_names]
    return {example_id: (media_type, data) for example_id, media_type, data in zip(*columns, strict=True)}
