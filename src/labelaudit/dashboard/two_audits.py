"""The page Compare: two audits of a dataset side by side."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import streamlit as st

from labelaudit.audit_changes import Changes
from labelaudit.audits.comparison import compare_published
from labelaudit.audits.decisive_settings import ROW_NUMBERS
from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard import session, ui
from labelaudit.dashboard.changes_view import show_changes
from labelaudit.dashboard.sidebar import selection, show_url

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig


def show_comparison() -> None:
    now = selection()
    audits = {audit.name: audit for audit in session.audits(now.dataset)}
    if len(audits) < 2:
        st.info("This dataset has only one audit. A comparison needs two.")
        return
    after = now.audit
    others = [name for name in audits if name != after.name]
    before = st.selectbox(
        f"Compare {ui.plain_text(after.version)} with",
        others,
        index=others.index(_suggested(after, audits)),
        # With the id: the label is part of the URL, and must not change when there are more audits.
        format_func=lambda name: ui.option(f"{name} \N{MIDDLE DOT} {ui.moment(audits[name].created_at)[:10]}"),
        key="before",
        bind="query-params",
    )
    _show_both(audits[str(before)], after)
    if after.has_made_up_ids or audits[str(before)].has_made_up_ids:
        st.info(f"Their rows cannot be compared. {ROW_NUMBERS}")
    else:
        show_changes(_changes(audits[str(before)], after))
    ui.heading("Classes", "Flagged rows and estimated noise, before and after.")
    _show_classes(audits[str(before)], after)
    show_url()


def _changes(before: AuditRecord, after: AuditRecord) -> Changes:
    """Return the changes that `labelaudit diff` reports. The summary of an audit has those since its predecessor."""
    if after.summary.changes is not None and _predecessor(after) == before.name:
        return after.summary.changes
    return _difference(before, after, before.folder, after.folder)


@st.cache_data(show_spinner="Comparing row by row …", max_entries=50)
def _difference(_before: AuditRecord, _after: AuditRecord, before_folder: str, after_folder: str) -> Changes:
    library = session.library()
    with closing(library.open(_before)) as old, closing(library.open(_after)) as new:
        return compare_published(library.published(_before, old), library.published(_after, new)).changes


def _predecessor(audit: AuditRecord) -> str | None:
    """Return the name of the audit that this one was compared with when it was made."""
    changes = audit.summary.changes
    return None if changes is None else f"{changes.predecessor.version}/{changes.predecessor.audit_id}"


def _suggested(after: AuditRecord, audits: dict[str, AuditRecord]) -> str:
    """Return the audit that the later one was compared with when it was made, or else the one before it."""
    predecessor = _predecessor(after)
    if predecessor in audits:
        return str(predecessor)
    names = list(audits)
    index = names.index(after.name)
    # Newest first. The oldest one is compared with the next newer one.
    return names[index + 1] if index + 1 < len(names) else names[index - 1]


def _show_both(before: AuditRecord, after: AuditRecord) -> None:
    old, new = before.summary, after.summary
    figures = (
        ("rows", ui.number(old.examples), ui.number(new.examples)),
        ("scored", ui.number(old.scored), ui.number(new.scored)),
        ("flagged", ui.number(old.issues), ui.number(new.issues)),
    )
    ui.html(
        '<p class="sentence"><bdi>{before}</bdi> \N{RIGHTWARDS ARROW} <bdi>{after}</bdi></p>',
        before=ui.clip(before.version, 60),
        after=ui.clip(after.version, 60),
    )
    shown = [(name, f"{first} \N{RIGHTWARDS ARROW} {then}", "") for name, first, then in figures]
    # Two ranges side by side are too wide for one figure.
    ui.figures([*shown, ("wrong labels", ui.wrong_labels(new), f"before: {ui.wrong_labels(old)}")])


def _show_classes(before: AuditRecord, after: AuditRecord) -> None:
    columns = ["class_name", "examples", "label_issues", "label_noise"]
    frames = [session.tables(audit).classes().select(columns).to_pandas() for audit in (before, after)]
    frame = frames[0].merge(frames[1], on="class_name", how="outer", suffixes=("_before", "_after"))
    frame["difference"] = frame["label_issues_after"].fillna(0) - frame["label_issues_before"].fillna(0)
    frame = frame.sort_values("difference", key=abs, ascending=False, kind="stable")
    frame["class_name"] = frame["class_name"].map(ui.option)
    st.dataframe(
        frame,
        hide_index=True,
        column_order=[
            "class_name",
            "examples_before",
            "examples_after",
            "label_issues_before",
            "label_issues_after",
            "difference",
            "label_noise_before",
            "label_noise_after",
        ],
        column_config={
            "class_name": "class",
            "examples_before": _count("rows before"),
            "examples_after": _count("rows after"),
            "label_issues_before": _count("flagged before"),
            "label_issues_after": _count("flagged after"),
            "difference": _count("difference"),
            "label_noise_before": st.column_config.NumberColumn("noise before", format="percent"),
            "label_noise_after": st.column_config.NumberColumn("noise after", format="percent"),
        },
    )


def _count(name: str) -> ColumnConfig:
    return st.column_config.NumberColumn(name, format="localized")
