"""What became of rows and flags between two audits, in the words of the report and of `labelaudit diff`."""

from __future__ import annotations

import streamlit as st

from labelaudit.dashboard import look
from labelaudit.findings import Changes
from labelaudit.report.changes import counted_data
from labelaudit.schemas import DataChange, IssueChange

_FLAGS = {
    IssueChange.NEW: "not flagged before",
    IssueChange.FIXED: "under another label now",
    IssueChange.GONE: "not in the data any more",
    IssueChange.DISMISSED: "judged fine",
    IssueChange.PERSISTENT: "then and now",
    IssueChange.FLAPPING: "in one of both, same data",
}
_ROWS = {
    DataChange.ADDED: "not there before",
    DataChange.REMOVED: "not there any more",
    DataChange.RELABELED: "same content, other label",
    DataChange.REPLACED: "same id, other content",
}
_PAIRS = 10


def show_changes(changes: Changes) -> None:
    """`changes` of a summary, or of `audits.comparison.compare_published`."""
    version = look.clip(changes.predecessor.version, 60)
    look.heading(f"Since version {version}", look.clip(f"Data: {counted_data(changes)}.", 600))
    if changes.warning:
        st.warning(look.plain(changes.warning, 1000), icon=":material/warning:")
    figures = [
        *((f"{name} flags", changes.issues[name], meaning) for name, meaning in _FLAGS.items()),
        *((f"rows {name}", changes.data[name], meaning) for name, meaning in _ROWS.items()),
    ]
    look.figures((name, look.number(count), about) for name, count, about in figures if count)
    if changes.relabeled:
        look.html("<p>Most relabeled: <bdi>{pairs}</bdi></p>", pairs=look.clip(_pairs(changes), 600))


def _pairs(changes: Changes) -> str:
    return ", ".join(
        f"{pair.given_label_before or 'no label'} \N{RIGHTWARDS ARROW} {pair.given_label or 'no label'}"
        f" ({pair.examples:,})"
        for pair in changes.relabeled[:_PAIRS]
    )
