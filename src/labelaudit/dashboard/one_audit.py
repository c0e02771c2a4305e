"""The page Audit: what one audit found, by class and by pair of classes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import streamlit as st

from labelaudit.audits.history import AuditRecord
from labelaudit.codec import JsonObject
from labelaudit.dashboard import session, ui
from labelaudit.dashboard.answers_view import show_annotators
from labelaudit.dashboard.changes_view import show_changes
from labelaudit.dashboard.queries import AuditQueries
from labelaudit.dashboard.sidebar import selection, show_url
from labelaudit.dashboard.slices_view import show_slices
from labelaudit.findings import Gate, Summary
from labelaudit.report.basis import basis_paragraphs
from labelaudit.report.charts import Measured, heat_map, histogram_chart
from labelaudit.report.svg import Chart
from labelaudit.schemas import Status
from labelaudit.shares import fraction_in_words
from labelaudit.storage.failures import without_secrets

_TABLE = '<table class="plain"><tbody>{rows}</tbody></table>'
_HISTOGRAM_HEADINGS = {
    Measured.P_WRONG: ("Likely wrong", "The probability that the label is wrong. A dashed line marks the cut."),
    Measured.LABEL_SCORE: ("Scores", "The probability of the given label, from a model that did not see the row."),
}
_OUTCOMES = {"passed": "good", "failed": "bad", "warned": "doubtful", "not measured": "doubtful"}


def show_one_audit() -> None:
    audit = selection().audit
    summary = audit.summary
    ui.html(
        '<p class="subject"><bdi>{dataset}</bdi> <bdi>{version}</bdi> {gate}</p>'
        '<p class="sentence"><bdi>{verdict}</bdi></p>',
        dataset=audit.dataset,
        version=audit.version,
        gate=ui.gate_chip(audit.gate),
        verdict=ui.clip(summary.verdict, 600),
    )
    ui.figures(_figures(summary))
    _show_basis(summary)
    if summary.gate:
        _show_gate(summary.gate)
    if summary.changes:
        show_changes(summary.changes)
    tables = session.tables(audit)
    classes, confusions = tables.classes(), tables.confusions()
    left, right = st.columns([1, 1], gap="large")
    with left:
        _show_confusions(audit.folder, classes, confusions)
    with right:
        ui.heading(*_HISTOGRAM_HEADINGS[tables.measured])
        ui.chart(_histogram(tables, audit.folder, summary.cut))
    ui.heading(
        "Classes", "The noisiest first. Noise: the expected share of rows of the class that belong to another one."
    )
    _show_classes(classes)
    show_annotators(summary.annotators, tables.annotators())
    if summary.slices is not None:
        show_slices(summary.slices, tables.slices())
    _show_list("Left out", [left.sentence for left in summary.left_out])
    _show_list("Notes", summary.notes)
    with st.expander("How this audit was made"):
        _show_provenance(audit)
    show_url()


def _show_list(title: str, sentences: Sequence[str]) -> None:
    if sentences:
        ui.heading(title)
        items = ui.joined(ui.fill("<li><bdi>{note}</bdi></li>", note=ui.clip(note, 600)) for note in sentences)
        ui.html('<ul class="notes">{items}</ul>', items=items)


def _figures(summary: Summary) -> list[tuple[str, str, str]]:
    rows, scored = summary.examples, summary.scored
    others = [
        f"{ui.number(count)} {status.replace('_', ' ')}"
        for status, count in summary.statuses.items()
        if status != Status.SCORED
    ]
    of = "of the scored labels" if summary.staying == scored else "of the scored labels that stay"
    found = [
        ("rows", ui.number(rows), "in this version"),
        ("scored", ui.number(scored), ", ".join(others) or "all of them"),
        ("flagged", ui.number(summary.issues), _correctly(summary)),
        ("wrong labels", ui.wrong_labels(summary), of),
    ]
    if summary.canaries is not None:
        found.append(("canaries caught", ui.share(summary.canaries.recall), "of planted errors"))
    if summary.review is not None and summary.review.precision is not None:
        precision = ui.share(summary.review.precision.estimate)
        found.append(("measured precision", precision, "of the flags that people reviewed"))
    return found


def _correctly(summary: Summary) -> str:
    precision = summary.flag_precision
    return "labels to review" if precision is None else f"{fraction_in_words(precision)} of them correctly"


def _show_basis(summary: Summary) -> None:
    """Show what the numbers rest on. Audits of earlier releases do not say it."""
    if paragraphs := basis_paragraphs(summary):
        items = ui.joined(
            ui.fill("<dt>{term}</dt><dd>{words}</dd>", term=term, words=words) for term, words in paragraphs
        )
        with st.expander("How these numbers were found"):
            ui.html('<dl class="values words">{items}</dl>', items=items)


def _show_gate(gate: Gate) -> None:
    ui.heading("Gate", ui.clip(gate.sentence, 600))
    rows = ui.joined(
        ui.fill(
            "<tr><td>{chip}</td><th><bdi>{rule}</bdi></th><td><bdi>{sentence}</bdi></td></tr>",
            chip=ui.chip(rule.outcome, _OUTCOMES[rule.outcome]),
            rule=ui.clip(rule.rule, 80),
            sentence=ui.clip(rule.sentence, 400),
        )
        for rule in gate.rules
    )
    ui.html(_TABLE, rows=rows)


def _show_confusions(folder: str, classes: pa.Table, confusions: pa.Table) -> None:
    ui.heading("Confusions", "Flagged rows by given label (down) and suggested label (across).")
    chart = _heat_map(folder, classes, confusions)
    if chart is None:
        ui.html("<p>Nothing is flagged.</p>")
    else:
        ui.chart(chart)


@st.cache_data(show_spinner=False, max_entries=20)
def _heat_map(folder: str, _classes: pa.Table, _confusions: pa.Table) -> Chart | None:
    found = heat_map(_confusions, sorted(_classes["class_name"].to_pylist()))
    return None if found is None else found[0]


@st.cache_data(show_spinner=False, max_entries=20)
def _histogram(_tables: AuditQueries, folder: str, cut: float | None) -> Chart:
    return histogram_chart(_tables.histogram(cut))


def _show_classes(classes: pa.Table) -> None:
    frame: pd.DataFrame = classes.to_pandas()
    if frame.empty:
        return
    frame["class_name"] = frame["class_name"].map(ui.option)
    worst = max(float(frame["label_noise"].max() or 0), 0.01)
    st.dataframe(
        frame,
        hide_index=True,
        column_order=[
            "class_name",
            "status",
            "examples",
            "label_issues",
            "inverse_label_issues",
            "label_noise",
            "inverse_label_noise",
            "mean_label_score",
        ],
        column_config={
            "class_name": "class",
            "examples": st.column_config.NumberColumn("rows", format="localized"),
            "label_issues": st.column_config.NumberColumn("flagged", format="localized"),
            "inverse_label_issues": st.column_config.NumberColumn("suggested elsewhere", format="localized"),
            "label_noise": st.column_config.ProgressColumn("noise", format="percent", min_value=0, max_value=worst),
            "inverse_label_noise": st.column_config.NumberColumn("missing from it", format="percent"),
            "mean_label_score": st.column_config.NumberColumn("mean score", format="%.3f"),
        },
    )


def _section(record: JsonObject, name: str) -> JsonObject:
    section = record.get(name)
    return section if isinstance(section, dict) else {}


def _show_provenance(audit: AuditRecord) -> None:
    manifest = session.library().manifest(audit).audit
    config, recipe, versions = (_section(manifest, name) for name in ("config", "recipe", "versions"))
    values = {
        "audit id": audit.audit_id,
        "fingerprint": audit.fingerprint,
        "audited at": audit.created_at,
        "folder": without_secrets(session.library().store.url_of(audit.folder)),
        "dataset": without_secrets(str(_section(config, "dataset").get("url", ""))),
        **{f"recipe: {name}": value for name, value in recipe.items() if value},
        **versions,
    }
    items = ui.joined(
        ui.fill("<dt>{name}</dt><dd>{value}</dd>", name=ui.clip(name, 80), value=ui.clip(value, 400))
        for name, value in values.items()
    )
    ui.html('<dl class="values">{items}</dl>', items=items)
