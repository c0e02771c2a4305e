"""Rows, verdicts and corrected labels of a published audit as files, and filled files as verdicts."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Mapping
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.errors import ReviewError
from labelaudit.review.judging import Judgement
from labelaudit.review.label_studio import Preview, interface, read_annotations, tasks_bytes
from labelaudit.review.sampling import Sample
from labelaudit.review.spreadsheet import csv_bytes, read_judgements
from labelaudit.review.verdicts import Judged, Verdict, newest
from labelaudit.schemas import EXAMPLES, ISSUES, PREVIEWS, Decision
from labelaudit.steps.published import PublishedAudit
from labelaudit.steps.review import class_names, judged_rows, scored_table
from labelaudit.steps.verdicts import read_verdicts

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


_SUFFIXES = {".csv": Format.CSV, ".parquet": Format.PARQUET, ".json": Format.LABEL_STUDIO, ".xml": Format.XML}
_FORMATS = {
    What.ISSUES: (Format.CSV, Format.LABEL_STUDIO),
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
        kinds = {media_type for media_type, _ in _previews(audit).values()}
        return interface(class_names(audit), has_images=any(one.startswith("image/") for one in kinds)).encode()
    tables: Mapping[What, Callable[[PublishedAudit], pa.Table]] = {
        What.ISSUES: _issues_to_judge,
        What.VERDICTS: _verdicts,
        What.CORRECTED: _corrected,
    }
    table = tables[what](audit)
    if kind == Format.PARQUET:
        sink = io.BytesIO()
        pq.write_table(table, sink)
        return sink.getvalue()
    return _to_judge(audit, table, kind) if what == What.ISSUES else _csv(table)


def sample_file(audit: PublishedAudit, sample: Sample, name: str, format: str | None = None) -> bytes:
    """The rows of a sample that nobody has judged, in an order that does not tell which are flagged.

    Nothing stands beside a row that would sway who judges it.
    """
    kind = format_of(name, format, _FORMATS[What.ISSUES])
    standing = newest(read_verdicts(audit.store, audit.dataset))
    open_rows = [row for row in sample.shuffled() if row not in standing]
    table = scored_table(audit, "file", "row")
    position = {example_id: index for index, example_id in enumerate(table["example_id"].to_pylist())}
    rows = table.take(pa.array([position[row.example_id] for row in open_rows], pa.int64()))
    return _to_judge(audit, rows.select(["example_id", "given_label", "file", "row"]), kind)


def read_filled(data: bytes, name: str, format: str | None = None) -> list[Judgement]:
    """What a filled file says. Raises `ReviewError` where it cannot be read."""
    kind = format_of(name, format, (Format.CSV, Format.LABEL_STUDIO))
    return read_judgements(data, name) if kind == Format.CSV else read_annotations(data, name)


def _issues_to_judge(audit: PublishedAudit) -> pa.Table:
    standing = newest(read_verdicts(audit.store, audit.dataset))
    judged = {(row.example_id, row.given_label) for row in _holding(audit, standing)}
    columns = ["example_id", "given_label", "suggested_label", "label_score", "p_suggested", "file", "row"]
    table = audit.table("issues.parquet", ISSUES, columns)
    keys = zip(table["example_id"].to_pylist(), table["given_label"].to_pylist(), strict=True)
    return table.filter(pa.array([key not in judged for key in keys], pa.bool_()))


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


def _to_judge(audit: PublishedAudit, table: pa.Table, kind: Format) -> bytes:
    if kind == Format.LABEL_STUDIO:
        return tasks_bytes(table.to_pylist(), _previews(audit), f"labelaudit {audit.audit_id}")
    table = table.drop_columns([name for name in ("p_suggested",) if name in table.column_names])
    for name in ("verdict", "right_label"):
        table = table.add_column(len(table.column_names) - 2, name, pa.nulls(len(table), pa.string()))
    # Without the mark of the encoding, Excel takes the text for another one.
    return codecs.BOM_UTF8 + _csv(table)


def _csv(table: pa.Table) -> bytes:
    return csv_bytes(table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True)))


def _previews(audit: PublishedAudit) -> dict[str, Preview]:
    """What the audit holds to be seen of its rows, by id."""
    if PREVIEWS_FILE not in audit.sha256:
        return {}
    table = audit.table(PREVIEWS_FILE, PREVIEWS)
    columns = [table[name].to_pylist() for name in table.column_names]
    return {example_id: (media_type, data) for example_id, media_type, data in zip(*columns, strict=True)}
