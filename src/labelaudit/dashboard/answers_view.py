"""The answers of annotators: next to a row under review, and a table of all annotators."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import streamlit as st
from markupsafe import Markup

from labelaudit.dashboard import ui
from labelaudit.dashboard.queries import AuditQueries, GivenAnswer, Row
from labelaudit.findings import Annotators
from labelaudit.shares import whole_percent

# Answers next to a row. Few rows have more.
_ANSWERS = 50


def show_answers(tables: AuditQueries, row: Row) -> None:
    """Show who gave which label to a row; nothing without answers."""
    if row.status == "scored" and (answers := tables.answers(row.example_id)):
        ui.html("{answers}", answers=answers_html(answers, row))


def answers_html(answers: Sequence[GivenAnswer], row: Row) -> Markup:
    """Return the answers to a row as a table, those of the best annotators first."""
    kinds = {row.suggested_label: "suggested", row.given_label: "given"}
    rows = ui.joined(
        ui.fill(
            '<tr><th><bdi>{annotator}</bdi></th><td><b class="{kind}"><bdi>{label}</bdi></b></td>'
            '<td class="number">{quality}</td></tr>',
            annotator=ui.clip(answer.annotator, 60),
            kind=kinds.get(answer.label, ""),
            label=ui.clip(answer.label, 80),
            quality="-" if answer.quality is None else whole_percent(answer.quality),
        )
        for answer in answers[:_ANSWERS]
    )
    more = ui.fill("<p>and {count} more</p>", count=f"{len(answers) - _ANSWERS:,}") if len(answers) > _ANSWERS else ""
    return ui.fill(
        '<div class="head"><p>Answers, and how often each annotator is right</p></div>'
        '<table class="plain"><tbody>{rows}</tbody></table>{more}',
        rows=rows,
        more=more,
    )


def show_annotators(found: Annotators | None, annotators: pa.Table) -> None:
    """Show all annotators, the surely worst first; nothing without answers."""
    if found is None or not len(annotators):
        return
    ui.heading(
        "Annotators",
        f"{found.answers:,} answers. Right: the estimated share of right answers with its 95 % interval; "
        f"{whole_percent(found.quality)} of all answers are right. The surely worst come first.",
    )
    frame: pd.DataFrame = annotators.to_pandas()
    for name in ("annotator", "worst_class"):
        frame[name] = frame[name].map(ui.option)
    shares = {
        "quality": "right",
        "quality_low": "from",
        "quality_high": "to",
        "agreement_with_consensus": "agreement",
        "worst_class_agreement": "agreement there",
    }
    st.dataframe(
        frame,
        hide_index=True,
        column_order=[
            *("annotator", "answers", "quality", "quality_low", "quality_high", "agreement_with_consensus"),
            *("worst_class", "worst_class_agreement"),
        ],
        column_config={
            "answers": st.column_config.NumberColumn(format="localized"),
            "worst_class": "worst class",
            **{name: st.column_config.NumberColumn(label, format="percent") for name, label in shares.items()},
        },
    )
