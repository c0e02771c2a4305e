"""Canaries and gate of an audit: what detection would have caught, and whether the limits of the config are kept."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.audits.prepared import Prepared, Rows, parquet_bytes
from labelaudit.detection.canaries import Canaries, Flip, measure_recall, plant_canaries
from labelaudit.detection.gate import Limits, Measures, judge
from labelaudit.detection.issues import LabelIssues
from labelaudit.schemas import CANARIES, Decision, Status

# One for all audits: versions plant in the same rows as far as these are trusted, so that their recalls compare.
CANARY_SEED = 0


def with_gate(
    prepared: Prepared,
    rows: Rows,
    pred_probs: np.ndarray,
    found: LabelIssues,
    files: dict[str, bytes],
    findings: dict[str, Any],
    *,
    not_compared: str | None,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Tables and findings of an audit with those of canaries and gate; the last word of `detect`.

    `files` holds examples.parquet and classes.parquet; `findings` what else was found: `issues`, `notes`, and
    where there are such `changes` against a predecessor and what people reviewed (`review`). `not_compared`: why there
    are no changes, though there is a predecessor.
    """
    examples = rows.examples
    scored = rows.scored
    canaries = plant_canaries(
        examples.example_ids[scored],
        examples.labels[scored],
        pred_probs,
        found,
        is_doubted=pd.Index(examples.example_ids[scored]).isin(_judged_wrong(files["examples.parquet"])),
        filter_by=prepared.config["detection"]["filter"],
        seed=CANARY_SEED,
    )
    table = _canaries_table(canaries, examples.example_ids[scored], examples.labels[scored], prepared.class_names)
    findings = {**findings, "canaries": _recalls(canaries)}
    if canaries.note:
        findings["notes"] = [*findings["notes"], canaries.note]
    findings["gate"] = _verdict(prepared, len(scored), files["classes.parquet"], findings, not_compared)
    return {**files, "canaries.parquet": parquet_bytes(table)}, findings


def _judged_wrong(examples: bytes) -> np.ndarray:
    """Ids of the rows that a person judged wrong."""
    table = pq.read_table(io.BytesIO(examples), columns=["example_id", "verdict"])
    wrong: np.ndarray = table.filter(pc.equal(table["verdict"], str(Decision.WRONG)))["example_id"].to_numpy()
    return wrong


def _canaries_table(
    canaries: Canaries, example_ids: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]
) -> pa.Table:
    names = np.asarray(class_names, dtype=object)
    columns = [
        pa.array(example_ids[canaries.rows], pa.string()),
        pa.array(names[labels[canaries.rows]], pa.string()),
        pa.array(names[canaries.planted_labels], pa.string()),
        pa.array([str(flip) for flip in canaries.flips], pa.string()),
        pa.array(canaries.label_score),
        pa.array(canaries.is_caught),
    ]
    return pa.Table.from_arrays(columns, schema=CANARIES)


def _recalls(canaries: Canaries) -> dict[str, Any] | None:
    """What share was caught, of all and by kind; None where there are no canaries."""
    overall = measure_recall(canaries)
    if overall is None:
        return None
    by_kind = {flip.value: measure_recall(canaries, flip) for flip in Flip}
    return {**asdict(overall), **{name: recall and asdict(recall) for name, recall in by_kind.items()}}


def _verdict(
    prepared: Prepared, scored: int, classes: bytes, findings: Mapping[str, Any], not_compared: str | None
) -> dict[str, Any] | None:
    changes = findings.get("changes")
    canaries = findings["canaries"]
    rows = pq.read_table(io.BytesIO(classes)).to_pylist()
    gate = judge(
        Limits(**prepared.config["gate"]),
        Measures(
            scored=scored,
            issues=findings["issues"],
            class_issues={
                row["class_name"]: (row["examples"], row["label_issues"])
                for row in rows
                if row["status"] == Status.SCORED and row["examples"]
            },
            rare_classes={row["class_name"] for row in rows if row["status"] == Status.RARE_CLASS},
            new_issues=changes["issues"].get("new", 0) if changes else None,
            not_compared=not_compared,
            measured_error_rate=_measured_error_rate(findings),
            canary_recall=canaries["recall"] if canaries else None,
            dismissed=(findings.get("review") or {}).get("dismissed", 0),
        ),
        # Also where its files could not be read any more, so that nothing was compared.
        has_predecessor=prepared.predecessor is not None,
    )
    return asdict(gate) if gate else None


def _measured_error_rate(findings: Mapping[str, Any]) -> float | None:
    """The estimate from a sample of this very version; that of another one says nothing about these labels."""
    measured = (findings.get("review") or {}).get("error_rate")
    return measured["estimate"] if measured and measured["same_version"] else None
