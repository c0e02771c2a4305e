"""Canaries and gate of an audit: the share of planted errors that is caught, and the limits of the config."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.detected import AuditTables
from labelaudit.audits.version import Version
from labelaudit.detection.canaries import Canaries, Flip, measure_recall, plant_canaries
from labelaudit.detection.gate import Limits, Measures, judge_limits
from labelaudit.detection.issues import LabelIssues
from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.findings import CanaryRecall, Findings, Gate, staying_rows
from labelaudit.pipeline.known_rows import KnownRows
from labelaudit.schemas import CANARIES, IssueChange, Status
from labelaudit.strings import Strings

# The same for all audits: canaries are planted in the same rows if these are trusted, so recalls are comparable.
CANARY_SEED = 0


@dataclass(frozen=True)
class PlantedCanaries:
    """The canaries of an audit: the table CANARIES, the share that was caught, and the reason if there are none."""

    table: pa.Table
    recall: CanaryRecall | None
    note: str


def plant_in_audit(
    plan: Plan, rows: Version, probabilities: ProbabilityBlocks, found: LabelIssues, is_doubted: np.ndarray
) -> PlantedCanaries:
    """Plant canaries among the M scored rows, except those that people doubt: `is_doubted` (M,) bool."""
    example_ids, labels = rows.of_scored(rows.examples.example_id), rows.of_scored(rows.examples.label)
    canaries = plant_canaries(
        example_ids,
        labels,
        probabilities,
        found,
        is_doubted=is_doubted,
        filter_by=plan.config.detection.filter,
        seed=CANARY_SEED,
    )
    table = _canaries_table(canaries, example_ids, labels, plan.class_names)
    return PlantedCanaries(table, _recall(canaries), canaries.note)


def _canaries_table(
    canaries: Canaries, example_ids: Strings, labels: np.ndarray, class_names: tuple[str, ...]
) -> pa.Table:
    names = np.asarray(class_names, dtype=object)
    columns = [
        example_ids[canaries.rows].arrow.cast(pa.string()),
        pa.array(names[labels[canaries.rows]], pa.string()),
        pa.array(names[canaries.planted_labels], pa.string()),
        pa.array([str(flip) for flip in canaries.flips], pa.string()),
        pa.array(canaries.label_score),
        pa.array(canaries.is_caught),
    ]
    return pa.Table.from_arrays(columns, schema=CANARIES)


def _recall(canaries: Canaries) -> CanaryRecall | None:
    """Return the share that was caught, of all and by kind; None if there are no canaries."""
    overall = measure_recall(canaries)
    if overall is None:
        return None
    return CanaryRecall(
        **vars(overall), random=measure_recall(canaries, Flip.RANDOM), likely=measure_recall(canaries, Flip.LIKELY)
    )


def judge_gate(
    plan: Plan,
    known: KnownRows,
    tables: AuditTables,
    findings: Findings,
    *,
    dismissed: int,
    not_compared: str | None,
) -> Gate | None:
    """Compare findings with the limits of the config; return None without limits, unless the detector is blind.

    Args:
        known: the rows. Shares are of those that stay.
        tables: of the audit.
        findings: all but the gate.
        dismissed: rows that the detector flags, but people judged fine or want to remove.
        not_compared: why changes could not be counted although there is a predecessor.
    """
    changes, canaries, classes = findings.changes, findings.canaries, tables.classes
    return judge_limits(
        Limits(**plan.config.gate.model_dump()),
        Measures(
            scored=staying_rows(len(known.rows.scored), findings.review),
            issues=findings.issues,
            class_issues=_class_issues(plan, known, classes),
            rare_classes=set(classes.filter(pc.equal(classes["status"], Status.RARE_CLASS))["class_name"].to_pylist()),
            new_issues=None if changes is None else changes.issues[IssueChange.NEW],
            not_compared=not_compared,
            classes=None if changes is None else changes.classes,
            error_range=findings.error_range,
            measured_error_rate=_measured_error_rate(findings),
            canary_recall=None if canaries is None else canaries.recall,
            dismissed=dismissed,
            copies=findings.duplicates,
            has_splits=bool(pc.any(pc.is_valid(tables.examples["split"])).as_py()),
            slices=findings.slices,
            quality=findings.quality,
            rows=int(known.stays.sum()),
        ),
        # True even if its files could no longer be read and nothing was compared.
        has_predecessor=plan.predecessor is not None,
    )


def _class_issues(plan: Plan, known: KnownRows, classes: pa.Table) -> dict[str, tuple[int, int]]:
    """Return the rows of each class that stay, and the flagged ones among them. A class without any row is left out."""
    labels = known.rows.of_scored(known.rows.examples.label)[known.scored_stays]
    staying = dict(zip(plan.class_names, np.bincount(labels, minlength=len(plan.class_names)).tolist(), strict=True))
    return {
        row["class_name"]: (staying[row["class_name"]], row["label_issues"])
        for row in classes.to_pylist()
        if row["status"] == Status.SCORED and row["examples"]
    }


def _measured_error_rate(findings: Findings) -> float | None:
    """Return the estimate from a sample of this version; other versions say nothing about these labels."""
    measured = None if findings.review is None else findings.review.error_rate
    return measured.estimate if measured is not None and measured.same_version else None
