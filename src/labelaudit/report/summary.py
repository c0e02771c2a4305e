"""The summary of an audit: its values, and its form as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import from_record
from labelaudit.findings import ClassSummary, ConfusionSummary, Encoding, Findings, Gate, LeftOut, Summary
from labelaudit.report.changes import changes_in_words
from labelaudit.report.gallery import text_excerpt
from labelaudit.report.headline import headline
from labelaudit.schemas import SCHEMA_VERSION, Status
from labelaudit.shares import fraction_in_words, percent, short_range

# Classes and confusions in a summary. So many fit on one screen.
TOP = 10
# Characters of a name in a table.
_NAME_LENGTH = 60


def summarize(
    findings: Findings,
    *,
    audit_url: str,
    dataset: str,
    version: str,
    fingerprint: str,
    status: str,
    status_counts: Mapping[str, int],
    classes: pa.Table,
    confusions: pa.Table,
    left_out: Sequence[LeftOut] = (),
    encoding: Encoding | None = None,
) -> Summary:
    """Summarize an audit.

    Args:
        status_counts: number of rows by status, over all rows of the version.
        classes: CLASSES. The summary contains the first TOP rows.
        confusions: CONFUSIONS. The summary contains the first TOP rows with flags.
    """
    flagged_pairs = confusions.filter(pc.greater(confusions["examples"], 0)).slice(0, TOP)
    counts = {str(name): int(rows) for name, rows in status_counts.items() if rows}
    return Summary(
        schema_version=SCHEMA_VERSION,
        audit_url=audit_url,
        dataset=dataset,
        version=version,
        fingerprint=fingerprint,
        status=status,
        verdict=headline(findings, counts, confusions),
        examples=sum(counts.values()),
        scored=counts.get(Status.SCORED, 0),
        issues=findings.issues,
        error_range=findings.error_range,
        noise=findings.noise,
        flag_precision=findings.flag_precision,
        cut=findings.cut,
        promise=findings.promise,
        statuses=counts,
        classes=tuple(from_record(ClassSummary, row) for row in classes.slice(0, TOP).to_pylist()),
        confusions=tuple(from_record(ConfusionSummary, row) for row in flagged_pairs.to_pylist()),
        notes=findings.notes,
        canaries=findings.canaries,
        gate=findings.gate,
        changes=findings.changes,
        quality=findings.quality,
        review=findings.review,
        left_out=tuple(left_out),
        encoding=encoding,
        duplicates=findings.duplicates,
        outliers=findings.outliers,
        annotators=findings.annotators,
        slices=findings.slices,
    )


def markdown(summary: Summary) -> str:
    """Return a summary as Markdown for a run's artifact: verdict, counts, worst classes, confusions, notes.

    Labels, names and notes are escaped, so that they stay text, even inside tables.
    """
    lines = [
        f"# {escape_markdown(summary.dataset)} {escape_markdown(summary.version)}",
        "",
        f"**{escape_markdown(summary.verdict)}**",
        "",
        f"Report: {escape_markdown(summary.audit_url)}",
        "",
        *_table(
            ["rows", "scored", "flagged", "wrong labels", "flags that are wrong"],
            [
                [
                    f"{summary.examples:,}",
                    f"{summary.scored:,}",
                    f"{summary.issues:,}",
                    short_range(summary.error_range, summary.staying),
                    "-" if summary.flag_precision is None else fraction_in_words(summary.flag_precision),
                ]
            ],
        ),
        *_gate(summary.gate),
        *_bullets("Since the previous audit", changes_in_words(summary.changes) if summary.changes else []),
        *_section("Rows by status", ["status", "rows"], [[k, f"{v:,}"] for k, v in summary.statuses.items()]),
        *_section(
            "Most frequent confusions",
            ["given", "suggested", "flagged"],
            [[pair.given_label, pair.suggested_label, f"{pair.examples:,}"] for pair in summary.confusions],
        ),
        *_section(
            "Classes with the most label noise",
            ["class", "rows", "flagged", "estimated noise"],
            [
                [row.class_name, f"{row.examples:,}", f"{row.label_issues:,}", percent(row.label_noise)]
                for row in summary.classes
                if row.label_noise is not None
            ],
        ),
    ]
    lines += _bullets("Left out", [left.sentence for left in summary.left_out])
    return "\n".join([*lines, *_bullets("Notes", summary.notes)]) + "\n"


def _gate(gate: Gate | None) -> list[str]:
    if gate is None:
        return []
    items = [
        f"- **{rule.outcome}** {escape_markdown(rule.rule)}: {escape_markdown(rule.sentence)}" for rule in gate.rules
    ]
    return ["", f"## Gate: {gate.verdict}", "", escape_markdown(gate.sentence), "", *items]


def escape_markdown(text: str) -> str:
    """Return one line in which no character begins a link, tag, table cell, list, code or emphasis."""
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", flat)
    escaped = re.sub(r"^([-=]|\d+(?=\.))", lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", escaped)
    # A bare address becomes a link in most renderers; written as entities, its characters stay text.
    return escaped.replace("://", ":&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")


def _bullets(title: str, sentences: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {escape_markdown(sentence)}" for sentence in sentences)] if sentences else []


def _section(title: str, header: list[str], rows: list[list[str]]) -> list[str]:
    return ["", f"## {title}", "", *_table(header, rows)] if rows else []


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    cells = [[escape_markdown(text_excerpt(cell, _NAME_LENGTH)) for cell in row] for row in rows]
    return [
        "| " + " | ".join(header) + " |",
        "| " + " | ".join("---" for _ in header) + " |",
        *("| " + " | ".join(row) + " |" for row in cells),
    ]
