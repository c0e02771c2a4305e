"""Contents of report pages, made from arrays with the functions of an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from labelaudit.audit_changes import Changes
from labelaudit.codec import from_record
from labelaudit.findings import CanaryRecall, ErrorRange, Findings, Gate, Noise, NoiseKind, RateBasis
from labelaudit.report.audit_tables import (
    FoldRow,
    ViewRow,
    classes_table,
    confusions_table,
    folds_table,
    issues_table,
    views_table,
)
from labelaudit.report.charts import p_wrong_histogram
from labelaudit.report.gallery import CardPreview, gallery_items, thumbnail
from labelaudit.report.page import PageContent, PublishedFile
from labelaudit.report.summary import summarize
from support.examples import make_examples

CLEAN = ErrorRange(0.001, 0.0, 0.003, RateBasis.PROBABILITIES)
FILES = ("examples", "issues", "classes", "confusions", "folds")


def picture(row: int) -> CardPreview:
    """Return a different small image for each row."""
    return thumbnail(np.random.default_rng(row).integers(0, 255, (8, 8, 3), dtype=np.uint8))


def make_content(
    *,
    class_names: Sequence[str] = ("cat", "dog", "eel"),
    rows: int = 120,
    flag_every: int = 3,
    previews: Callable[[int], CardPreview] | None = picture,
    example_id: Callable[[int], str] = "img-{:05d}".format,
    file: str = "part-0.parquet",
    rare_classes: dict[str, int] | None = None,
    dataset: str = "pets",
    version: str = "v3",
    status_counts: Mapping[str, int] | None = None,
    notes: Sequence[str] = ("three rows were normalised",),
    gate: Mapping[str, Any] | None = None,
    canaries: Mapping[str, Any] | None = None,
    **changes: Any,
) -> PageContent:
    """Return a page whose row i has class i mod K. Every `flag_every`-th row (0: none) is flagged for the next class.

    changes: other values of the content.
    """
    names = list(class_names)
    count = len(names)
    labels = np.arange(rows) % count
    flagged = np.arange(rows) % flag_every == 0 if flag_every else np.zeros(rows, bool)
    predicted = np.where(flagged, (labels + 1) % count, labels)
    sure = 0.9 - np.arange(rows) / (4 * rows)
    pred_probs = np.full((rows, count), 1.0)
    pred_probs *= ((1 - sure) / (count - 1))[:, None]
    pred_probs[np.arange(rows), predicted] = sure
    ids = np.array([example_id(i) for i in range(rows)], object)
    examples = make_examples(
        example_ids=ids,
        given_labels=np.array(names, object)[labels],
        status=np.full(rows, "scored", object),
        fold=np.arange(rows) % 2,
        files=np.full(rows, file, object),
        rows=np.arange(rows),
        digests=np.full(rows, "0" * 32, object),
        row=np.arange(rows),
        label=labels,
        pred_probs=pred_probs.astype(np.float32),
        class_names=names,
        predicted=predicted,
        label_score=pred_probs[np.arange(rows), labels],
        is_label_issue=flagged,
        p_wrong=np.where(flagged, sure, 0.1),
    )
    issues = issues_table(examples)
    row_of = {name: row for row, name in enumerate(ids)}
    shown = issues["example_id"].to_pylist() if previews else []
    per_pair = np.bincount(labels[flagged], minlength=count)
    order = np.argsort(-per_pair, kind="stable")
    rates = per_pair / np.bincount(labels, minlength=count)
    classes = pd.DataFrame(
        {
            "class_name": [names[k] for k in order],
            "status": "scored",
            "examples": np.bincount(labels, minlength=count)[order],
            "label_issues": per_pair[order],
            "inverse_label_issues": np.roll(per_pair, 1)[order],
            "label_noise": rates[order],
            "inverse_label_noise": np.roll(rates, 1)[order],
            "label_quality_score": 1 - rates[order],
            "mean_label_score": np.linspace(0.3, 0.9, count),
        }
    )
    pairs = [k for k in order if per_pair[k]]
    confusions = pd.DataFrame(
        {
            "given_label": pd.Series([names[k] for k in pairs], dtype=object),
            "suggested_label": pd.Series([names[(k + 1) % count] for k in pairs], dtype=object),
            "examples": per_pair[pairs],
            "estimated_examples": per_pair[pairs] * 1.25,
            "share_of_given": rates[pairs],
        }
    )
    tables = {
        "classes": classes_table(classes, rare_classes=rare_classes or {}),
        "confusions": confusions_table(confusions),
    }
    summary = summarize(
        Findings(
            int(flagged.sum()),
            ErrorRange(0.3, 0.25, 0.38, RateBasis.PROBABILITIES) if flag_every else CLEAN,
            Noise(NoiseKind.HARD_EXAMPLES, 0.9, "Hard examples are assumed to have more errors."),
            0.75 if flag_every else None,
            cut=0.5,
            notes=tuple(notes),
            gate=None if gate is None else from_record(Gate, gate),
            canaries=None if canaries is None else from_record(CanaryRecall, canaries),
        ),
        audit_url="s3://audits/dataset=pets/version=v3/audit=1",
        dataset=dataset,
        version=version,
        fingerprint="f" * 64,
        status="published",
        status_counts=status_counts or {"scored": rows, "rare_class": sum((rare_classes or {}).values())},
        **tables,
    )
    defaults: dict[str, Any] = {
        "summary": summary,
        "issues": issues,
        **tables,
        "folds": folds_table(
            [
                FoldRow(0, 0, rows // 2, rows // 2, 0.6125, 0.5, 0.25, 12, 3.5, "cpu", "float32", 2, 7, "a" * 64),
                FoldRow(1, 0, rows // 2, rows // 2, 0.7250, 0.6, None, None, None, None, None, None, None, None),
            ]
        ),
        "views": views_table([ViewRow("network", 1.0, 1.0, 0.66875, None, rows // 3, 0)]),
        "histogram": p_wrong_histogram(examples, summary.cut),
        "gallery": gallery_items(issues, [previews(row_of[name]) for name in shown] if previews else []),
        "provenance": {"fingerprint": "f" * 64, "seed": "0"},
        "files": tuple(PublishedFile(f"{name}.parquet", 1234, "b" * 64, rows) for name in FILES),
    }
    return PageContent(**{**defaults, **changes})


def changes(**values: Any) -> Changes:
    """Return changes since the previous version, with `values` in place of the defaults, as in `summary.json`."""
    issues = {"new": 2, "fixed": 88, "gone": 0, "dismissed": 0, "persistent": 1300, "flapping": 0}
    defaults: dict[str, Any] = {
        "predecessor": {
            "version": "v2",
            "audit_id": "abc",
            "created_at": "2026-11-20T03:00:00+00:00",
            "audit_url": "s3://audits/dataset=pets/version=v%2F2/audit=abc",
        },
        "held_versions": [],
        "issues": issues,
        "data": {"added": 0, "removed": 50, "relabeled": 3, "replaced": 0},
        "statuses": [],
        "other_status": 0,
        "relabeled": [
            {"given_label_before": "cat", "given_label": "dog", "examples": 2},
            {"given_label_before": None, "given_label": "cat", "examples": 1},
        ],
        "changed_settings": [],
        "warning": None,
        "notes": [],
    }
    return from_record(Changes, {**defaults, **values})
