"""The trend over all audits of a dataset: the table of main figures, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.findings import ErrorRange
from labelaudit.schemas import CLASSES, TREND, Status
from labelaudit.shares import range_in_words, short_range

# Error rates of earlier releases that are closer than this count as the same. Pages show tenths of a percent.
SAME_RATE = 0.0005
# The columns of CLASSES that the trend needs.
CLASS_FIGURES = pa.schema(
    [CLASSES.field(name) for name in ("class_name", "status", "examples", "label_issues", "label_noise")]
)


@dataclass(frozen=True)
class AuditEntry:
    """One audit of a dataset."""

    version: str
    audit_id: str
    created_at: str  # ISO 8601, UTC
    folder: str  # relative to the folder of the dataset
    verdict: str
    examples: int
    scored: int
    staying: int  # scored rows without those that are to be removed
    issues: int
    error_range: ErrorRange
    gate: str | None
    classes: pa.Table  # CLASS_FIGURES; empty if the version has a newer audit
    position: int | None  # of its version, from 1; None if the version has a newer audit
    changed_settings: Sequence[str] = ()  # sentences on changes since the previous version, except those of the data


def trend_table(entries: Sequence[AuditEntry], made_from: str) -> pa.Table:
    """Return TREND of the entries with a position, in this order.

    Args:
        entries: audits in any order.
        made_from: identifies the records of the entries. It is in the metadata of the table under `records`.
    """
    parts = [part for entry in in_order(entries) for part in (_all_classes(entry), _each_class(entry))]
    table = pa.concat_tables([TREND.empty_table(), *parts])
    return table.replace_schema_metadata({**TREND.metadata, b"records": made_from.encode()})


def direction(entries: Sequence[AuditEntry]) -> str:
    """Return one sentence on whether the labels get better, or an empty text if no version was scored."""
    known = [entry for entry in in_order(entries) if entry.scored]
    if not known:
        return ""
    now = known[-1]
    sentence = f"{range_in_words(now.error_range, now.staying, f'the labels of {now.version}')}"
    if len(known) == 1:
        return f"{sentence}. The next version will show a trend."
    sentence += f": {_comparisons(known)}"
    # All versions after the first are part of the comparison.
    if any(entry.changed_settings for entry in known[1:]):
        sentence += ". Not only the data changed"
    return f"{sentence}."


def _comparisons(known: Sequence[AuditEntry]) -> str:
    """Compare the newest version with the one before, and with the first one if that is another."""
    now, before, first = known[-1], known[-2], known[0]
    than, than_first = _compared(before, now), _compared(first, now)
    if first is before:
        return f"{than} {_named(before)}"
    # Words that are the same are not said again.
    again = "in" if than_first == than else than_first
    comma = "" if than_first == than else ","
    return f"{than} {_named(before)}{comma} and {again} {_named(first)}, the first version"


def _compared(before: AuditEntry, now: AuditEntry) -> str:
    """Return a comparison that only ranges without overlap decide, to be followed by the earlier version."""
    old, new = before.error_range, now.error_range
    if old.is_single and new.is_single and abs(new.estimate - old.estimate) < SAME_RATE:
        return "as many as in"
    if new.high < old.low:
        return "fewer than in"
    return "more than in" if new.low > old.high else "not clearly more or fewer than in"


def _named(entry: AuditEntry) -> str:
    return f"{entry.version} ({short_range(entry.error_range, entry.staying)})"


def in_order(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    """Return the newest audit of each version, in the order of versions."""
    placed = [entry for entry in entries if entry.position is not None]
    return sorted(placed, key=lambda entry: entry.position or 0)


def _all_classes(entry: AuditEntry) -> pa.Table:
    figures = {
        "class_name": None,
        "examples": entry.examples,
        "scored": entry.scored,
        "label_issues": entry.issues,
        "error_rate": entry.error_range.estimate,
        "error_rate_low": None if entry.error_range.is_single else entry.error_range.low,
        "error_rate_high": None if entry.error_range.is_single else entry.error_range.high,
        "error_rate_basis": entry.error_range.basis.value,
    }
    return _rows(entry, 1, {name: [value] for name, value in figures.items()})


def _each_class(entry: AuditEntry) -> pa.Table:
    classes = entry.classes.sort_by("class_name")
    is_scored = pc.equal(classes["status"], str(Status.SCORED))
    figures = {
        "class_name": classes["class_name"],
        "examples": classes["examples"],
        "scored": pc.if_else(is_scored, classes["examples"], 0),
        "label_issues": classes["label_issues"],
        "error_rate": classes["label_noise"],
        "error_rate_low": pa.nulls(len(classes), pa.float64()),
        "error_rate_high": pa.nulls(len(classes), pa.float64()),
        "error_rate_basis": pa.nulls(len(classes), pa.string()),
    }
    return _rows(entry, len(classes), figures)


def _rows(entry: AuditEntry, count: int, figures: Mapping[str, object]) -> pa.Table:
    """Return the rows of TREND of one audit, from its common values and its figures by column."""
    common = {
        "position": entry.position,
        "version": entry.version,
        "audit_id": entry.audit_id,
        "created_at": datetime.fromisoformat(entry.created_at),
        "gate": entry.gate,
    }
    repeated = {name: pa.repeat(pa.scalar(value, TREND.field(name).type), count) for name, value in common.items()}
    return pa.table({**repeated, **figures}, schema=TREND)
