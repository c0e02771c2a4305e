"""The first page: all datasets, and all audits of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard import session, ui
from labelaudit.dashboard.sidebar import selection, show_url
from labelaudit.errors import StorageError
from labelaudit.report.charts import TrendPoint, trend_chart

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

# Versions in the chart, the newest ones.
TREND_VERSIONS = 200
_CHART_HELP = (
    "The newest audit of each version, oldest first. The band is the range that the share of wrong labels may be in. "
    "Hollow dots: the gate failed."
)


def show_overview() -> None:
    names = session.datasets()
    now = selection()
    if len(names) > 1:
        ui.heading("Datasets", "The newest audit of each. Choose a row to see its audits below.")
        _show_datasets(names)
    newest = session.audits(now.dataset)[0]
    ui.html(
        '<p class="subject"><bdi>{dataset}</bdi> <bdi>{version}</bdi> {gate}</p>'
        '<p class="sentence"><bdi>{verdict}</bdi></p>',
        dataset=now.dataset,
        version=newest.version,
        gate=ui.gate_chip(newest.gate),
        verdict=ui.clip(newest.summary.verdict, 600),
    )
    versions = session.versions(now.dataset)
    if len(versions) > 1:
        ui.heading(
            "Versions",
            _CHART_HELP,
        )
        ui.chart(trend_chart([_trend_point(audit) for audit in versions[-TREND_VERSIONS:]]))
    ui.heading("Audits", "Newest first. Choose a row to open the audit.")
    _show_audits(session.audits(now.dataset))
    show_url()


def _show_datasets(names: list[str]) -> None:
    rows = {name: row for name in names if (row := _dataset_row(name))}
    shown = list(rows)

    def open_dataset() -> None:
        if selected := st.session_state["picked_dataset"]["selection"]["rows"]:
            session.go_to(shown[selected[0]])

    st.dataframe(
        pd.DataFrame([{"dataset": ui.option(name), **row} for name, row in rows.items()]),
        hide_index=True,
        on_select=open_dataset,
        selection_mode="single-row",
        key="picked_dataset",
        column_order=["dataset", "version", "audited", "rows", "flagged", "wrong", "rates", "gate"],
        column_config={**_columns(), "rates": st.column_config.LineChartColumn("over versions", y_min=0)},
    )


def _dataset_row(name: str) -> dict[str, object] | None:
    """Return a row of the table of datasets, or None if the dataset has no audit yet."""
    try:
        versions = session.versions(name)
    except StorageError:
        # The page of the dataset shows the error.
        return {"gate": "cannot be read"}
    if not versions:
        return None
    rates = [audit.summary.error_range.estimate for audit in versions]
    return {"rates": rates[-50:], **_main(versions[-1])}


def _show_audits(audits: list[AuditRecord]) -> None:
    rows = [_main(audit) for audit in audits]
    dataset = selection().dataset

    def open_audit() -> None:
        if selected := st.session_state["picked_audit"]["selection"]["rows"]:
            session.go_to(dataset, audits[selected[0]].name)

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        on_select=open_audit,
        selection_mode="single-row",
        key="picked_audit",
        column_order=["version", "audited", "rows", "flagged", "wrong", "gate", "found"],
        column_config=_columns(),
    )


def _main(audit: AuditRecord) -> dict[str, object]:
    return {
        "version": ui.option(audit.version),
        "audited": ui.moment(audit.created_at),
        "rows": audit.summary.examples,
        "flagged": audit.summary.issues,
        "wrong": ui.wrong_labels(audit.summary),
        "gate": audit.gate or "",
        "found": ui.option(audit.summary.verdict),
    }


def _columns() -> dict[str, ColumnConfig]:
    return {
        "audited": st.column_config.TextColumn("audited (UTC)", width=150),
        "rows": st.column_config.NumberColumn(format="localized"),
        "flagged": st.column_config.NumberColumn(format="localized"),
        "wrong": st.column_config.TextColumn("wrong labels"),
        "found": st.column_config.TextColumn(width="large"),
    }


def _trend_point(audit: AuditRecord) -> TrendPoint:
    summary = audit.summary
    return TrendPoint(
        version=audit.version,
        error_range=summary.error_range,
        rows=summary.staying,
        flagged_share=summary.issues / max(summary.staying, 1),
        is_held=audit.gate == "failed",
    )
