"""The rows of an audit as a gallery, filtered; and one of them at full size, where it is decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from labelaudit.dashboard import deciding, session, ui
from labelaudit.dashboard.cards import show_cards
from labelaudit.dashboard.decisions import as_columns
from labelaudit.dashboard.queries import AuditTables, Filters, Judgement, Shown
from labelaudit.dashboard.sidebar import Chosen, chosen
from labelaudit.schemas import Decision, Status

PAGE = 30
# Objects of decisions that cannot be read, of which the page tells.
PROBLEMS = 3


def show() -> None:
    now = chosen()
    tables = session.tables(now.audit)
    filters = _filters(now, tables)
    address = session.opened_example()
    row = tables.find(address, filters) if address else None
    session.link_example(row.address if row else None)
    _show_problems(now.dataset)
    if row is not None:
        deciding.show(now, tables, filters, row)
    else:
        _show_gallery(now, tables, filters)


def _show_problems(dataset: str) -> None:
    """Decisions that cannot be read are no reason to hide the others, but nobody may think that all are there."""
    if not session.library().knows_decisions:
        return
    for problem in session.decisions(dataset).problems()[:PROBLEMS]:
        st.warning(ui.plain(str(problem), 1000))


def _filters(now: Chosen, tables: AuditTables) -> Filters:
    names = sorted(row["class_name"] for row in tables.table("classes"))
    with st.sidebar:
        shown = _select("Show", [*Shown, *(s for s in Status if s != Status.SCORED)], "show", words=_status_words)
        judged = _select("Decided", [*Judgement, *Decision], "decided")
        given = _pick("Given label", names, "given")
        suggested = _pick("Suggested label", names, "suggested")
        lowest, highest = st.slider(
            "Label score", 0.0, 1.0, (0.0, 1.0), 0.01, key="score", bind="query-params", persist_state="session"
        )
        fold = _pick("Fold", _folds(tables, now.audit.folder), "fold")
        contains = st.text_input("Id contains", key="id", bind="query-params", persist_state="session")
        has_changes = session.files(now.audit, now.audit.folder).has("changes.parquet")
        new_only = has_changes and st.toggle("New only", key="new", bind="query-params", persist_state="session")
    return Filters(
        shown=shown,
        given_label=given,
        suggested_label=suggested,
        lowest=lowest,
        highest=highest,
        fold=fold,
        judgement=judged,
        id_contains=contains or "",
        new_only=bool(new_only),
        sample=_sample(tables, now.audit.folder, now.audit.fingerprint) if shown == Shown.SAMPLE else (),
    )


def _select(label: str, options: list[Any], key: str, words: Any = ui.option) -> Any:
    return st.selectbox(
        label, options, format_func=words, key=key, bind="query-params", persist_state="session", on_change=_to_start
    )


def _pick(label: str, options: list[Any], key: str) -> Any:
    """One of the options, or None for any."""
    return st.selectbox(
        label,
        options,
        index=None,
        placeholder="any",
        format_func=ui.option,
        key=key,
        bind="query-params",
        persist_state="session",
        on_change=_to_start,
    )


def _status_words(status: str) -> str:
    return status.replace("_", " ")


def _to_start() -> None:
    st.session_state["page_number"] = 1


@st.cache_data(show_spinner=False, max_entries=20)
def _folds(_tables: AuditTables, folder: str) -> list[int]:
    return _tables.folds()


@st.cache_data(show_spinner=False, max_entries=20)
def _sample(_tables: AuditTables, folder: str, fingerprint: str) -> tuple[str, ...]:
    return _tables.random_sample(fingerprint)


def _show_gallery(now: Chosen, tables: AuditTables, filters: Filters) -> None:
    verdicts = as_columns(session.holding(now.audit) or {})
    count = tables.count(filters, verdicts)
    pages = max(1, -(-count // PAGE))
    number = min(max(1, int(st.session_state.get("page_number", 1))), pages)
    page = tables.page(filters, verdicts, offset=(number - 1) * PAGE, limit=PAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        ui.html(
            '<p class="subject" style="margin:0"><bdi>{dataset}</bdi> <bdi>{version}</bdi></p>'
            '<div class="head"><h2 style="margin:0">{count} {what}</h2></div>',
            dataset=now.dataset,
            version=now.audit.version,
            count=f"{count:,}",
            what="example" if count == 1 else "examples",
        )
        if page and st.button("One by one", shortcut="Enter", type="primary", key="start"):
            undecided = tables.page(replace(filters, judgement=Judgement.UNDECIDED), verdicts, limit=1)
            is_free = filters.judgement == Judgement.ANY and undecided
            session.open_example((undecided if is_free else page)[0].address)
            st.rerun()
        st.button("Back", disabled=number == 1, shortcut="Left", key="back", on_click=_turn, args=(number - 1,))
        st.text(f"{number:,} of {pages:,}")
        st.button("More", disabled=number == pages, shortcut="Right", key="more", on_click=_turn, args=(number + 1,))
    if message := st.session_state.pop("message", None):
        st.success(message)
    if page:
        show_cards(now, tables, page)
    else:
        st.info("No example matches these filters.")


def _turn(number: int) -> None:
    st.session_state["page_number"] = number
