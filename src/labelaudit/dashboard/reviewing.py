"""The page Review: the rows of an audit as a gallery with filters, or one row at full size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import streamlit as st

from labelaudit.dashboard import deciding, session, ui
from labelaudit.dashboard.cards import show_cards
from labelaudit.dashboard.map_view import chosen_box, has_map, show_map
from labelaudit.dashboard.queries import (
    ANSWERED,
    ANY_ISSUE,
    NO_VERDICTS,
    AuditQueries,
    Filters,
    Order,
    Reviewed,
    Shown,
    Slice,
)
from labelaudit.dashboard.row_verdicts import as_columns
from labelaudit.dashboard.sidebar import Selection, selection
from labelaudit.schemas import Decision, Status

_PAGE = 30
# Slices that can be chosen.
_SLICES = 1_000
# Unreadable objects of verdicts that the page lists.
SHOWN_PROBLEMS = 3

_Option = TypeVar("_Option")


def show_review() -> None:
    shown = selection()
    tables = session.tables(shown.audit)
    filters = _filters(shown, tables)
    address = session.opened_example()
    row = tables.find(address, filters) if address else None
    session.link_example(row.address if row else None)
    _show_problems(shown.dataset)
    if row is not None:
        deciding.show_row(shown, tables, filters, row)
    else:
        _show_gallery(shown, tables, filters)


def _show_problems(dataset: str) -> None:
    """Warn that verdicts are missing because their object cannot be read."""
    if not session.library().contains_verdicts:
        return
    reviews = session.reviews(dataset)
    reviews.refresh(session.FRESH_SECONDS)
    for problem in reviews.problems[:SHOWN_PROBLEMS]:
        st.warning(ui.plain_text(str(problem), 1000))


def _filters(selected: Selection, tables: AuditQueries) -> Filters:
    names = tables.class_names()
    groups = [group for group in Shown if group not in ANSWERED or selected.audit.summary.annotators is not None]
    with st.sidebar:
        shown = _select("Show", [*groups, *(s for s in Status if s != Status.SCORED)], "show", labels=_status_label)
        reviewed = _select("Decided", [*Reviewed, *Decision], "decided")
        given = _pick("Given label", names, "given")
        suggested = _pick("Suggested label", names, "suggested")
        order = _select("Sort", list(Order), "sort")
        least_wrong, most_wrong = st.slider(
            "Likely wrong", 0.0, 1.0, (0.0, 1.0), 0.01, key="wrong", bind="query-params", persist_state="session"
        )
        lowest, highest = st.slider(
            "Label score", 0.0, 1.0, (0.0, 1.0), 0.01, key="score", bind="query-params", persist_state="session"
        )
        fold = _pick("Fold", _folds(tables, selected.audit.folder), "fold")
        slices = _slices(tables, selected.audit.folder)
        in_slice = _pick("Slice", list(slices), "slice") if slices else None
        issues = _issues(tables, selected.audit.folder)
        issue = _pick("Input quality", [ANY_ISSUE, *issues], "quality", labels=_status_label) if issues else None
        contains = st.text_input("Id contains", key="id", bind="query-params", persist_state="session")
        has_changes = session.files(selected.audit, selected.audit.folder).has("changes.parquet")
        if has_map(selected):
            st.toggle("Map", key="map", bind="query-params", persist_state="session")
        new_only = has_changes and st.toggle("New only", key="new", bind="query-params", persist_state="session")
    return Filters(
        shown=shown,
        given_label=given,
        suggested_label=suggested,
        lowest=lowest,
        highest=highest,
        least_wrong=least_wrong,
        most_wrong=most_wrong,
        order=order,
        fold=fold,
        input_issue=issue,
        reviewed=reviewed,
        id_contains=contains or "",
        slice=None if in_slice is None else slices[in_slice],
        new_only=bool(new_only),
        # A box on a map that is not shown could not be seen or removed.
        box=chosen_box(selected) if st.session_state.get("map") and has_map(selected) else None,
        sample=_sample(tables, selected.audit.folder, selected.audit.fingerprint) if shown == Shown.SAMPLE else (),
    )


def _select(label: str, options: Sequence[_Option], key: str, labels: Callable[[_Option], str] = ui.option) -> _Option:
    return st.selectbox(
        label, options, format_func=labels, key=key, bind="query-params", persist_state="session", on_change=_to_start
    )


def _pick(
    label: str, options: Sequence[_Option], key: str, labels: Callable[[_Option], str] = ui.option
) -> _Option | None:
    """Return one of the options, or None for any."""
    return st.selectbox(
        label,
        options,
        index=None,
        placeholder="any",
        format_func=labels,
        key=key,
        bind="query-params",
        persist_state="session",
        on_change=_to_start,
    )


def _status_label(status: str) -> str:
    return status.replace("_", " ")


def _to_start() -> None:
    st.session_state["page_number"] = 1


@st.cache_data(show_spinner=False, max_entries=20)
def _folds(_tables: AuditQueries, folder: str) -> list[int]:
    return _tables.folds()


@st.cache_data(show_spinner=False, max_entries=20)
def _slices(_tables: AuditQueries, folder: str) -> dict[str, Slice]:
    """Return the slices that can be chosen, by what the select box shows: the worst first."""
    names = _tables.slices().select(["column", "value"]).slice(0, _SLICES).to_pylist()
    return {f"{name['column']}: {name['value']}": Slice(name["column"], name["value"]) for name in names}


def _issues(_tables: AuditQueries, folder: str) -> list[str]:
    return _tables.input_issues()


@st.cache_data(show_spinner=False, max_entries=20)
def _sample(_tables: AuditQueries, folder: str, fingerprint: str) -> tuple[str, ...]:
    return _tables.random_sample(fingerprint)


def _show_gallery(shown: Selection, tables: AuditQueries, filters: Filters) -> None:
    if st.session_state.get("map") and has_map(shown):
        show_map(shown, tables)
    found = session.current_verdicts(shown.audit)
    verdicts = as_columns(found) if found else NO_VERDICTS
    count = tables.count(filters, verdicts)
    pages = max(1, -(-count // _PAGE))
    number = min(max(1, int(st.session_state.get("page_number", 1))), pages)
    page = tables.page(filters, verdicts, offset=(number - 1) * _PAGE, limit=_PAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        ui.html(
            '<p class="subject" style="margin:0"><bdi>{dataset}</bdi> <bdi>{version}</bdi></p>'
            '<div class="head"><h2 style="margin:0">{count} {what}</h2></div>',
            dataset=shown.dataset,
            version=shown.audit.version,
            count=f"{count:,}",
            what="example" if count == 1 else "examples",
        )
        if page and st.button("One by one", shortcut="Enter", type="primary", key="start"):
            undecided = tables.page(replace(filters, reviewed=Reviewed.UNDECIDED), verdicts, limit=1)
            is_free = filters.reviewed == Reviewed.ANY and undecided
            session.open_example((undecided if is_free else page)[0].address)
            st.rerun()
        st.button("Back", disabled=number == 1, shortcut="Left", key="back", on_click=_turn, args=(number - 1,))
        st.text(f"{number:,} of {pages:,}")
        st.button("More", disabled=number == pages, shortcut="Right", key="more", on_click=_turn, args=(number + 1,))
    if message := st.session_state.pop("message", None):
        st.success(message)
    if page:
        show_cards(shown, tables, page)
    else:
        st.info(_why_empty(shown, filters))


def _why_empty(shown: Selection, filters: Filters) -> str:
    has_outliers = session.files(shown.audit, shown.audit.folder).has("outliers.parquet")
    if filters.shown == Shown.OUTLIERS and not has_outliers:
        return (
            "Outliers were not searched, because the audit has too few rows or no features. Features need an encoder, "
            "vectors or a table."
        )
    return "No example matches these filters."


def _turn(number: int) -> None:
    st.session_state["page_number"] = number
