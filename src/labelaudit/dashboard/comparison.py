"""Two audits of a dataset side by side."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import pandas as pd
import streamlit as st

from labelaudit.dashboard import look, session
from labelaudit.dashboard.queries import TwoAudits, connect
from labelaudit.dashboard.sidebar import chosen, show_place
from labelaudit.steps.deciding import ROW_NUMBERS, changed_settings, other_work_in_words
from labelaudit.steps.history import AuditRecord

_DATA = {
    "added": "rows that are new",
    "removed": "rows that are gone",
    "relabeled": "same content, other label",
    "replaced": "same id, other content",
}
_FLAGS = {
    "flagged_in_both": "flagged then and now",
    "flagged_before_only": "not flagged any more, or gone",
    "flagged_after_only": "not flagged before, or new",
    "flag_flips": "in one of both, on the same data",
}


def show() -> None:
    now = chosen()
    audits = {audit.name: audit for audit in session.audits(now.dataset)}
    if len(audits) < 2:
        st.info("This dataset has one audit. There is something to compare when it has two.")
        return
    after = now.audit
    others = [name for name in audits if name != after.name]
    before = st.selectbox(
        f"Compare {look.plain(after.version)} with",
        others,
        index=others.index(_suggested(after, audits)),
        # With the id, for these words stand in the address: they stay as they are when there are more audits.
        format_func=lambda name: look.option(f"{name} \N{MIDDLE DOT} {look.moment(audits[name].created_at)[:10]}"),
        key="before",
        bind="query-params",
    )
    _show_both(audits[str(before)], after)
    if after.has_made_up_ids or audits[str(before)].has_made_up_ids:
        st.info(f"The rows of both cannot be compared: {ROW_NUMBERS}")
    else:
        _show_rows(audits[str(before)], after)
    look.heading("Classes", "Flagged rows and estimated noise, before and after.")
    _show_classes(audits[str(before)], after)
    show_place()


def _show_rows(before: AuditRecord, after: AuditRecord) -> None:
    counts, relabeled = _differences(before, after, before.folder, after.folder)
    look.heading("Row by row", "Rows are the same where their ids are.")
    for meanings in (_DATA, _FLAGS):
        look.figures((name.replace("_", " "), look.number(counts[name]), about) for name, about in meanings.items())
    if relabeled:
        pairs = ", ".join(f"{old} \N{RIGHTWARDS ARROW} {new} ({count:,})" for old, new, count in relabeled)
        look.html("<p>Most relabeled: <bdi>{pairs}</bdi></p>", pairs=look.clip(pairs, 600))


def _suggested(after: AuditRecord, audits: dict[str, AuditRecord]) -> str:
    """The audit that the later one was compared with when it was made, else the one before it in time."""
    before = (after.summary.get("changes") or {}).get("predecessor") or {}
    predecessor = f"{before.get('version')}/{before.get('audit_id')}"
    if predecessor in audits:
        return predecessor
    names = list(audits)
    place = names.index(after.name)
    # Newest first; the oldest one has only younger ones beside it.
    return names[place + 1] if place + 1 < len(names) else names[place - 1]


def _show_both(before: AuditRecord, after: AuditRecord) -> None:
    rows = []
    for name, key, shown in (
        ("rows", "examples", look.number),
        ("scored", "scored", look.number),
        ("flagged", "issues", look.number),
        ("estimated wrong", "estimated_error_rate", look.share),
    ):
        old, new = before.summary.get(key), after.summary.get(key)
        rows.append((name, f"{shown(old)} \N{RIGHTWARDS ARROW} {shown(new)}", ""))
    look.html(
        '<p class="sentence"><bdi>{before}</bdi> \N{RIGHTWARDS ARROW} <bdi>{after}</bdi></p>',
        before=look.clip(before.version, 60),
        after=look.clip(after.version, 60),
    )
    look.figures(rows)
    other_work = other_work_in_words(changed_settings(before.deciding, after.deciding), before.version)
    if other_work:
        st.warning(look.plain(other_work, 1000), icon=":material/warning:")


@st.cache_data(show_spinner="Comparing row by row …", max_entries=50)
def _differences(
    _before: AuditRecord, _after: AuditRecord, before_folder: str, after_folder: str
) -> tuple[dict[str, int], list[tuple[str | None, str | None, int]]]:
    library = session.library()
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(library.open(audit))) for audit in (_before, _after)]
        paths = [files.required("examples.parquet") for files in opened]
        connection = stack.enter_context(closing(connect(library.cache.root)))
        both = TwoAudits(connection, *paths)
        return both.counts(), both.relabeled()


def _show_classes(before: AuditRecord, after: AuditRecord) -> None:
    columns = ["class_name", "examples", "label_issues", "label_noise"]
    frames = [pd.DataFrame(session.tables(audit).table("classes"), columns=columns) for audit in (before, after)]
    frame = frames[0].merge(frames[1], on="class_name", how="outer", suffixes=("_before", "_after"))
    frame["difference"] = frame["label_issues_after"].fillna(0) - frame["label_issues_before"].fillna(0)
    frame = frame.sort_values("difference", key=abs, ascending=False, kind="stable")
    frame["class_name"] = frame["class_name"].map(look.option)
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


def _count(name: str) -> Any:
    return st.column_config.NumberColumn(name, format="localized")
