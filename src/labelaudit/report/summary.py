"""The summary of an audit: its verdict in a sentence, its values, and its form as Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import from_record
from labelaudit.findings import ClassSummary, ConfusionSummary, Findings, Gate, LeftOut, Summary
from labelaudit.report.changes import changes_in_words
from labelaudit.report.gallery import text_excerpt
from labelaudit.schemas import SCHEMA_VERSION, Status
from labelaudit.text import in_one_direction

# Classes and confusions in a summary. So many fit on one screen.
TOP = 10
# Characters of a class name in a sentence.
_NAME_LENGTH = 60
# Below this share of scored rows, the verdict begins with the rows that are missing.
FEW_SCORED = 0.9


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
        verdict=verdict(
            status_counts=counts,
            issues=findings.issues,
            estimated_error_rate=findings.estimated_error_rate,
            confusions=confusions,
        ),
        examples=sum(counts.values()),
        scored=counts.get(Status.SCORED, 0),
        issues=findings.issues,
        estimated_error_rate=findings.estimated_error_rate,
        health_score=1 - findings.estimated_error_rate,
        statuses=counts,
        classes=tuple(from_record(ClassSummary, row) for row in classes.slice(0, TOP).to_pylist()),
        confusions=tuple(from_record(ConfusionSummary, row) for row in flagged_pairs.to_pylist()),
        notes=findings.notes,
        canaries=findings.canaries,
        gate=findings.gate,
        changes=findings.changes,
        review=findings.review,
        left_out=tuple(left_out),
    )


def verdict(status_counts: Mapping[str, int], issues: int, estimated_error_rate: float, confusions: pa.Table) -> str:
    """Return one sentence on what the audit found. If many rows were not scored, it begins with them."""
    total, scored = sum(status_counts.values()), status_counts.get(Status.SCORED, 0)
    if not scored:
        return f"None of the {total:,} rows could be scored."
    start = ""
    if scored < FEW_SCORED * total:
        start = f"Only {scored:,} of {total:,} rows ({percent(scored / total)}) could be scored. Among these, "
    rate = _rate(estimated_error_rate, scored)
    if not issues:
        though = f", though about {rate} are estimated to be wrong" if rate else ""
        return f"{start}{_begin('no label issue found', start)} in {scored:,} labels{though}."
    flagged = f"{issues:,} {'example is' if issues == 1 else 'examples are'} flagged"
    if rate:
        sentence = f"{start}{_begin('about', start)} {rate} of {scored:,} labels look wrong: {flagged}"
    else:
        sentence = f"{start}{flagged} of {scored:,}, though hardly any label is estimated to be wrong"
    pair = confusions.slice(0, 1).to_pylist()
    if not pair or not pair[0]["examples"]:
        return f"{sentence}."
    given, suggested = (_in_sentence(pair[0][side]) for side in ("given_label", "suggested_label"))
    return f"{sentence}; most often {given} \N{RIGHTWARDS ARROW} {suggested}."


def _in_sentence(name: str) -> str:
    return text_excerpt(in_one_direction(name), _NAME_LENGTH)


def _begin(words: str, before: str) -> str:
    return words if before else words[0].upper() + words[1:]


def _rate(share: float, rows: int) -> str:
    """Return an estimated share of the rows in percent with a digit that is not 0, or empty text below half a row."""
    if share * rows < 0.5:
        return ""
    digits = max(1, math.ceil(-math.log10(100 * share)))
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def percent(share: float) -> str:
    """Return a share as percent, such as `9.1 %`. A share above 0 is never `0 %`, one below 1 never `100 %`."""
    if 0 < share < 0.001:
        return "<0.1\N{NO-BREAK SPACE}%"
    if 0.999 < share < 1:
        return ">99.9\N{NO-BREAK SPACE}%"
    return f"{100 * share:.{0 if share in (0, 1) else 1}f}\N{NO-BREAK SPACE}%"


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
            ["rows", "scored", "flagged", "estimated error rate", "label health"],
            [
                [
                    f"{summary.examples:,}",
                    f"{summary.scored:,}",
                    f"{summary.issues:,}",
                    percent(summary.estimated_error_rate),
                    percent(summary.health_score),
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
