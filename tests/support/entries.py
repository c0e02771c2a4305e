"""Entries of the page that shows all audits of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from labelaudit.findings import ErrorRange, RateBasis
from labelaudit.report.trend import CLASS_FIGURES, AuditEntry


def class_figures(noise: Mapping[str, float | None]) -> pa.Table:
    """Return the figures of classes with this label noise. A class without noise (None) was set aside."""
    rows = [
        {
            "class_name": name,
            "status": "rare_class" if share is None else "scored",
            "examples": 3 if share is None else 500,
            "label_issues": None if share is None else round(450 * share),
            "label_noise": share,
        }
        for name, share in noise.items()
    ]
    return pa.Table.from_pylist(rows, schema=CLASS_FIGURES)


def entry(number: int = 1, rate: float = 0.05, **changes: Any) -> AuditEntry:
    """Return version v<number> with 1,000 scored rows. Classes cat and dog have errors, eel is set aside."""
    noise = {"cat": 1.5 * rate, "dog": 0.5 * rate, "eel": None}
    values: dict[str, Any] = {
        "version": f"v{number}",
        "audit_id": f"{number:012x}",
        "created_at": f"2026-{1 + number // 28 % 12:02d}-{1 + number % 28:02d}T03:00:00+00:00",
        "folder": f"version=v{number}/audit={number:012x}",
        "verdict": f"Between {50 * rate:.1f} % and {200 * rate:.1f} % of 1,000 labels look wrong; none is flagged.",
        "examples": 1003,
        "scored": 1000,
        "staying": 1000,
        "issues": round(900 * rate),
        "error_range": ErrorRange(rate, rate / 2, 2 * rate, RateBasis.PROBABILITIES),
        "gate": None,
        "classes": class_figures(noise),
        "position": number,
    }
    return AuditEntry(**{**values, **changes})
