"""All datasets, and all audits of one of them."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard import look, session
from labelaudit.dashboard.sidebar import selection, show_url
from labelaudit.errors import StorageError

# Of a dataset's versions in its picture.
TREND_VERSIONS = 200


def show() -> None:
    names = session.datasets()
    now = selection()
    if len(names) > 1:
        look.heading("Datasets", "The newest audit of each. Choose a row to see its audits below.")
        _show_datasets(names)
    newest = session.audits(now.dataset)[0]
    look.html(
        '<p class="subject"><bdi>{dataset}</bdi> <bdi>{version}</bdi> {gate}</p>'
        '<p class="sentence"><bdi>{verdict}</bdi></p>',
        dataset=now.dataset,
        version=newest.version,
        gate=look.gate_chip(newest.gate),
        verdict=look.clip(newest.summary.verdict, 600),
    )
    versions = session.versions(now.dataset)
    if len(versions) > 1:
        look.heading("Versions", "The newest audit of each version, oldest version first.")
        _show_trend(versions[-TREND_VERSIONS:])
    look.heading("Audits", "Newest first. Choose a row to open the audit.")
    _show_audits(session.audits(now.dataset))
    show_url()


def _show_datasets(names: list[str]) -> None:
    rows = [row for name in names if (row := _dataset_row(name))]

    def open_dataset() -> None:
        if selected := st.session_state["picked_dataset"]["selection"]["rows"]:
            session.go_to(rows[selected[0]]["dataset"])

    st.dataframe(
        pd.DataFrame([{**row, "dataset": look.option(row["dataset"])} for row in rows]),
        hide_index=True,
        on_select=open_dataset,
        selection_mode="single-row",
        key="picked_dataset",
        column_order=["dataset", "version", "audited", "rows", "flagged", "wrong", "rates", "gate"],
        column_config={**_columns(), "rates": st.column_config.LineChartColumn("over versions", y_min=0)},
    )


def _dataset_row(name: str) -> dict[str, Any] | None:
    """None where the dataset has no audit yet."""
    try:
        versions = session.versions(name)
    except StorageError:
        # Who chooses it reads why.
        return {"dataset": name, "gate": "cannot be read"}
    if not versions:
        return None
    rates = [audit.summary.estimated_error_rate for audit in versions]
    return {"dataset": name, "rates": rates[-50:], **_main(versions[-1])}


def _show_audits(audits: list[AuditRecord]) -> None:
    rows = [_main(audit) for audit in audits]
    dataset = selection().dataset

    def open_audit() -> None:
        if selected := st.session_state["picked_audit"]["selection"]["rows"]:
            session.go_to(dataset, rows[selected[0]]["name"])

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        on_select=open_audit,
        selection_mode="single-row",
        key="picked_audit",
        column_order=["version", "audited", "rows", "flagged", "wrong", "gate", "found"],
        column_config=_columns(),
    )


def _main(audit: AuditRecord) -> dict[str, Any]:
    return {
        "name": audit.name,
        "version": look.option(audit.version),
        "audited": look.moment(audit.created_at),
        "rows": audit.summary.examples,
        "flagged": audit.summary.issues,
        "wrong": audit.summary.estimated_error_rate,
        "gate": audit.gate or "",
        "found": look.option(audit.summary.verdict),
    }


def _columns() -> dict[str, Any]:
    return {
        "audited": st.column_config.TextColumn("audited (UTC)", width=150),
        "rows": st.column_config.NumberColumn(format="localized"),
        "flagged": st.column_config.NumberColumn(format="localized"),
        "wrong": st.column_config.NumberColumn("estimated wrong", format="percent"),
        "found": st.column_config.TextColumn(width="large"),
    }


def _show_trend(versions: list[AuditRecord]) -> None:
    """Estimated share of wrong labels by version."""
    frame = pd.DataFrame([_main(audit) for audit in versions]).drop(columns=["found", "name"])
    frame.insert(0, "place", range(len(frame)))
    colour = "#b3431a" if st.context.theme.type != "dark" else "#f2956b"
    # A specification of Vega-Lite: importing altair, which writes them, takes a second of the first page.
    chart = {
        "height": 210,
        "encoding": {
            # Versions are numbered along the axis, and named below it: two may be shown alike.
            "x": {
                "field": "place",
                "type": "ordinal",
                "axis": {
                    "labelExpr": _names(frame["version"].tolist()),
                    "labelAngle": 0,
                    "title": None,
                    "grid": False,
                    "labelLimit": 110,
                },
            },
            "y": {
                "field": "wrong",
                "type": "quantitative",
                "title": "estimated wrong",
                "axis": {"format": ".1%"},
                "scale": {"zero": True},
            },
            "tooltip": [
                *({"field": name, "type": "nominal"} for name in ("version", "audited")),
                *({"field": name, "type": "quantitative"} for name in ("rows", "flagged")),
                {"field": "wrong", "type": "quantitative", "format": ".2%"},
                {"field": "gate", "type": "nominal"},
            ],
        },
        "layer": [
            {"mark": {"type": "line", "color": colour, "strokeWidth": 2}},
            {"mark": {"type": "point", "color": colour, "filled": True, "size": 70}},
        ],
    }
    st.vega_lite_chart(frame, chart)


def _names(names: list[str]) -> str:
    """A Vega expression for the label of each place: a list of JSON strings, in which nothing is code."""
    return f"{json.dumps(names)}[datum.value]"
