"""Results of a published audit: its summary, its worst issues, and the error of a failed gate."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict

import pyarrow.parquet as pq

from labelaudit.audits.references import AuditReference
from labelaudit.codec import Json, from_record
from labelaudit.errors import GateFailedError
from labelaudit.findings import GateVerdict, Summary
from labelaudit.storage.layout import SUMMARY
from labelaudit.storage.manifest import read_json
from labelaudit.storage.store import Store

_SHOWN_COLUMNS = ("rank", "example_id", "given_label", "suggested_label", "p_wrong", "label_score")


def load_summary(audit: AuditReference, storage_options: Mapping[str, object]) -> Summary:
    """Return `summary.json` of a published audit."""
    return from_record(Summary, read_json(Store(audit.audit_url, storage_options), SUMMARY))


def worst_issues(audit: AuditReference, storage_options: Mapping[str, object], *, limit: int) -> list[dict[str, Json]]:
    """Return the first rows of `issues.parquet` of a published audit, with rounded scores."""
    table = pq.read_table(io.BytesIO(Store(audit.audit_url, storage_options).read("issues.parquet")))
    # Audits of earlier releases have no p_wrong.
    shown = [name for name in _SHOWN_COLUMNS if name in table.column_names]
    return [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.select(shown).slice(0, limit).to_pylist()
    ]


def gate_failure(audit: AuditReference, summary: Summary) -> GateFailedError | None:
    """Return the error of a published audit whose gate failed; None if it did not fail."""
    gate = summary.gate
    if gate is None or gate.verdict != GateVerdict.FAILED:
        return None
    sentences = "".join(f"\n  {rule.rule}: {rule.sentence}" for rule in gate.broken_rules)
    return GateFailedError(
        f"{audit.dataset} version {audit.version}: {gate.sentence}{sentences}\n"
        f"The audit is published: {audit.report_url}",
        asdict(audit),
    )
