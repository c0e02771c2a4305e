"""Find label issues in the gathered probabilities, and lay out the tables of the audit."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from labelaudit.audits.comparison import compare_with_predecessor
from labelaudit.audits.prepared import (
    Prepared,
    Rows,
    load_file,
    load_prepared,
    load_rows,
    output_store,
    parquet_bytes,
    store_files,
)
from labelaudit.audits.references import FilesReference, PreparedReference
from labelaudit.detection.issues import LabelIssues, find_issues
from labelaudit.pipeline.gather import HEALTH, PRED_PROBS, read_pred_probs
from labelaudit.pipeline.gating import with_gate
from labelaudit.report.audit_tables import (
    FoldRow,
    classes_table,
    confusions_table,
    examples_table,
    folds_table,
    issues_table,
)
from labelaudit.reviews.snapshot import RowVerdicts
from labelaudit.reviews.snapshot_store import load_snapshot
from labelaudit.schemas import Status
from labelaudit.storage.manifest import dump_json

FINDINGS = "findings.json"
# Below this agreement the estimates of confident learning were seen to lie far above the truth: 26 % estimated
# for 9 % real errors where a small network agrees with 65 % of CIFAR-10N's labels.
WEAK_AGREEMENT = 0.8


def detect(reference: PreparedReference, gathered: FilesReference) -> FilesReference:
    """Run confident learning over proved probabilities; leaves all tables of the audit and its findings."""
    store = output_store(reference)
    prepared = load_prepared(reference)
    rows = load_rows(reference, prepared)
    _, pred_probs, class_names, _ = read_pred_probs(load_file(store, gathered, PRED_PROBS))
    health = json.loads(load_file(store, gathered, HEALTH))
    labels = rows.examples.labels[rows.scored]
    snapshot = load_snapshot(store, prepared)
    row_verdicts = snapshot.for_rows(rows.examples.example_ids, rows.examples.digests, rows.examples.given_labels)
    found = find_issues(
        labels,
        pred_probs,
        class_names,
        filter_by=prepared.config["detection"]["filter"],
        is_fine=row_verdicts.is_fine[rows.scored],
    )
    files = audit_tables(prepared, rows, pred_probs, found, health, row_verdicts)
    compared = compare_with_predecessor(store, prepared, files)
    findings = {
        "issues": int(found.is_label_issue.sum()),
        "estimated_error_rate": found.error_rate,
        "notes": [*compared.notes, *health["notes"], *found.notes, *_weak_model(labels, found)],
        "changes": compared.changes,
        "review": asdict(snapshot.findings(row_verdicts, dismissed=int(found.is_dismissed.sum()))),
    }
    files, findings = with_gate(
        prepared, rows, pred_probs, found, {**files, **compared.files}, findings, not_compared=compared.problem
    )
    return store_files(store, prepared.work_folder, {**files, FINDINGS: dump_json(findings)})


def _weak_model(labels: np.ndarray, found: LabelIssues) -> list[str]:
    agreement = float((found.predicted_labels == labels).mean())
    if agreement >= WEAK_AGREEMENT:
        return []
    return [
        f"The models agree with {agreement:.1%} of the labels. The weaker a model, the more right labels are flagged "
        "and the higher the estimated error rate: read the ranking from its top."
    ]


def audit_tables(
    prepared: Prepared,
    rows: Rows,
    pred_probs: np.ndarray,
    found: LabelIssues,
    health: dict[str, Any],
    row_verdicts: RowVerdicts,
) -> dict[str, bytes]:
    """The Parquet tables of an audit by file name."""
    examples = rows.examples
    scored = rows.scored
    names = np.asarray(prepared.class_names, dtype=object)
    example_rows = examples_table(
        example_ids=examples.example_ids,
        given_labels=examples.given_labels,
        status=examples.status,
        fold=rows.fold_of[0],
        files=examples.files,
        rows=examples.rows,
        digests=examples.digests,
        scored_rows=scored,
        labels=examples.labels[scored],
        pred_probs=pred_probs,
        class_names=prepared.class_names,
        predicted=found.predicted_labels,
        label_score=found.label_score,
        is_label_issue=found.is_label_issue,
        is_dismissed=found.is_dismissed,
        verdicts=row_verdicts.verdicts,
        right_labels=row_verdicts.right_labels,
    )
    tables = {
        "examples": example_rows,
        "issues": issues_table(example_rows, names[found.suggested_labels[found.is_label_issue]]),
        "classes": classes_table(found.classes, rare_classes=_rare_classes(rows)),
        "confusions": confusions_table(found.confusions),
        "folds": folds_table(_fold_rows(health)),
    }
    return {f"{name}.parquet": parquet_bytes(table) for name, table in tables.items()}


def _rare_classes(rows: Rows) -> dict[str, int]:
    """Rows by class that was set aside."""
    is_rare = rows.examples.status == Status.RARE_CLASS
    return dict(sorted(Counter(rows.examples.given_labels[is_rare]).items()))


def _fold_rows(health: dict[str, Any]) -> list[FoldRow]:
    records = {record["fold"]: record for record in health.get("records", ())}
    rows = []
    for fold in health["folds"]:
        record = records.get(fold["fold"], {})
        rows.append(
            FoldRow(
                fold=fold["fold"],
                repeat=fold["repeat"],
                training_examples=record.get("training_examples"),
                held_out_examples=fold["examples"],
                agreement=fold["agreement"],
                mean_p_given=fold["mean_p_given"],
                training_loss=record.get("training_loss"),
                epochs=record.get("epochs"),
                seconds=record.get("seconds"),
                device=record.get("device"),
                precision=record.get("precision"),
                threads=record.get("threads"),
                seed=record.get("seed"),
                sha256=record.get("sha256"),
            )
        )
    return rows
