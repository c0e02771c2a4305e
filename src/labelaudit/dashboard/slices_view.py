"""The view of slices on the page Audit: the worst ones in sentences, and a table."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import streamlit as st

from labelaudit.dashboard import ui
from labelaudit.shares import ratio_in_words
from labelaudit.slice_findings import Slices

# Rows of the table.
_SHOWN = 200


def show_slices(found: Slices, table: pa.Table) -> None:
    """Show the slices of an audit: `slices` of its summary, and its table SLICES."""
    ui.heading(
        "Slices",
        "Each value of a column, compared with the other values of the column among rows with the same given labels. "
        "The page Review has a filter for them.",
    )
    if found.worst:
        items = ui.joined(ui.fill("<li><bdi>{words}</bdi></li>", words=ratio_in_words(one)) for one in found.worst)
        ui.html('<ul class="notes">{items}</ul>', items=items)
    else:
        ui.html("<p>No value has more wrong labels than the others, beyond chance.</p>")
    frame: pd.DataFrame = table.slice(0, _SHOWN).to_pandas()
    for name in ("column", "value"):
        frame[name] = frame[name].map(ui.option)
    worst = max(float(frame["share"].max() or 0), 0.01)
    st.dataframe(
        frame,
        hide_index=True,
        column_order=["column", "value", "is_worse", "scored", "flagged", "share", "ratio", "low", "high", "q_value"],
        column_config={
            "is_worse": st.column_config.CheckboxColumn("worse", help="has more wrong labels than the others"),
            "scored": st.column_config.NumberColumn("scored", format="localized"),
            "flagged": st.column_config.NumberColumn("flagged", format="localized"),
            "share": st.column_config.ProgressColumn("likely wrong", format="percent", min_value=0, max_value=worst),
            "ratio": st.column_config.NumberColumn("times the others", format="%.2f"),
            "low": st.column_config.NumberColumn("from", format="%.2f", help="95 % interval"),
            "high": st.column_config.NumberColumn("to", format="%.2f", help="95 % interval"),
            "q_value": st.column_config.NumberColumn("q-value", format="%.2g"),
        },
    )
    if len(table) > _SHOWN:
        ui.html("<p>The first {shown} of {total} values.</p>", shown=_SHOWN, total=ui.number(len(table)))
