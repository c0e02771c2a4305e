"""The audits of a dataset side by side: one entry each, the table of their main figures, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from labelaudit.report.summary import percent
from labelaudit.schemas import TREND, Status

# Estimated error rates closer than this are called the same: a tenth of a percent is what pages show.
SAME_RATE = 0.0005


@dataclass(frozen=True)
class AuditEntry:
    """One audit of a dataset. `classes` are records: class_name, status, examples, label_issues, label_noise."""

    version: str
    audit_id: str
    created_at: str  # ISO 8601, UTC
    folder: str  # relative to the dataset's
    verdict: str
    examples: int
    scored: int
    issues: int
    error_rate: float
    gate: str | None
    classes: Sequence[Mapping[str, Any]]
    position: int | None  # of its version, from 1; None where a newer audit of the version is there
    changed_settings: Sequence[str] = ()  # in words, since the version before; empty where only the data changed


def trend_table(entries: Sequence[AuditEntry]) -> pa.Table:
    """TREND of the entries that have a position, in its order."""
    rows = []
    for entry in in_order(entries):
        common = {
            "position": entry.position,
            "version": entry.version,
            "audit_id": entry.audit_id,
            "created_at": datetime.fromisoformat(entry.created_at),
            "gate": entry.gate,
        }
        figures = {"examples": entry.examples, "scored": entry.scored, "label_issues": entry.issues}
        rows.append({**common, **figures, "class_name": None, "error_rate": entry.error_rate})
        by_name = sorted(entry.classes, key=lambda row: str(row["class_name"]))
        rows.extend({**common, **_class_figures(row)} for row in by_name)
    return pa.Table.from_pylist(rows, schema=TREND)


def direction(entries: Sequence[AuditEntry]) -> str:
    """Whether the labels get better, in one sentence; empty where no version was scored."""
    known = [entry for entry in in_order(entries) if entry.scored]
    if not known:
        return ""
    now = known[-1]
    sentence = f"About {percent(now.error_rate)} of the labels of {now.version} look wrong"
    if len(known) == 1:
        return f"{sentence}; with the next version there is a trend."
    sentence += f", {_compared(known[-2], now)}"
    if len(known) > 2:
        sentence += f" and {_compared(known[0], now)}, the first version"
    # What is compared begins with the first version where there are more than two.
    if any(entry.changed_settings for entry in known[1:]):
        sentence += "; but not only the data changed"
    return f"{sentence}."


def _compared(before: AuditEntry, now: AuditEntry) -> str:
    if abs(now.error_rate - before.error_rate) < SAME_RATE:
        return f"as in {before.version}"
    word = "fewer" if now.error_rate < before.error_rate else "more"
    return f"{word} than the {percent(before.error_rate)} of {before.version}"


def in_order(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    """The newest audit of each version, in the order of versions."""
    placed = [entry for entry in entries if entry.position is not None]
    return sorted(placed, key=lambda entry: entry.position or 0)


def _class_figures(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "class_name": row["class_name"],
        "examples": row["examples"],
        "scored": row["examples"] if row["status"] == Status.SCORED else 0,
        "label_issues": row["label_issues"],
        "error_rate": row["label_noise"],
    }
