"""The view of what happened to rows and flags between two audits."""

from __future__ import annotations

import streamlit as st

from labelaudit.audit_changes import Changes
from labelaudit.dashboard import ui
from labelaudit.report.changes import DATA_MEANINGS, MEANINGS, counted_data
from labelaudit.report.slices import slice_changes_in_words

# Pairs of labels that are listed.
_PAIRS = 10


def show_changes(changes: Changes) -> None:
    """Show `changes` of a summary or of `labelaudit.audits.comparison`."""
    version = ui.clip(changes.predecessor.version, 60)
    ui.heading(f"Since version {version}", ui.clip(f"Data: {counted_data(changes)}.", 600))
    if changes.warning:
        st.warning(ui.plain_text(changes.warning, 1000), icon=":material/warning:")
    figures = [
        *((f"{name} flags", changes.issues[name], meaning) for name, meaning in MEANINGS.items()),
        *((f"rows {name}", changes.data[name], meaning) for name, meaning in DATA_MEANINGS.items()),
    ]
    ui.figures((name, ui.number(count), about) for name, count, about in figures if count)
    for sentence in slice_changes_in_words(changes.slices, changes.predecessor.version):
        ui.html("<p><bdi>{sentence}</bdi></p>", sentence=ui.clip(sentence, 600))
    if changes.relabeled:
        ui.html("<p>Most relabeled: <bdi>{pairs}</bdi></p>", pairs=ui.clip(_pairs(changes), 600))


def _pairs(changes: Changes) -> str:
    return ", ".join(
        f"{pair.given_label_before or 'no label'} \N{RIGHTWARDS ARROW} {pair.given_label or 'no label'}"
        f" ({pair.examples:,})"
        for pair in changes.relabeled[:_PAIRS]
    )
