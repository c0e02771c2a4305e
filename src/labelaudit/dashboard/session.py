"""What a session of the dashboard works with: settings, the library, the tables of an audit, decisions."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import streamlit as st

from labelaudit.audits.history import AuditRecord, newest_of_versions
from labelaudit.dashboard.decisions import Decisions
from labelaudit.dashboard.library import AuditFiles, Library
from labelaudit.dashboard.queries import Address, AuditTables, connect
from labelaudit.dashboard.settings import Settings
from labelaudit.errors import StorageError
from labelaudit.reviews.verdicts import Judged, Verdict

# Audits whose flagged rows are held in memory at a time, over all sessions.
OPEN_AUDITS = 4
# New audits are seen after so long.
FRESH = "15s"
# Of the row at full size, in the address of the page.
_LINKED = ("example", "file", "row")


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    return Settings.from_json(sys.argv[1])


@st.cache_resource(show_spinner=False)
def library() -> Library:
    return Library(settings().url)


@st.cache_resource(show_spinner=False, ttl=FRESH)
def datasets() -> list[str]:
    return sorted(library().datasets())


@st.cache_resource(show_spinner=False, ttl=FRESH, max_entries=1000)
def audits(dataset: str) -> list[AuditRecord]:
    """Newest first."""
    return library().audits(dataset)[::-1]


def first_audited() -> str:
    """The first dataset that has audits: of another one they may be under way, or cannot be read.

    The first one where none has any.
    """
    names = datasets()
    return next((name for name in names if _has_audits(name)), names[0])


def _has_audits(dataset: str) -> bool:
    try:
        return bool(audits(dataset))
    except StorageError as error:
        if error.transient:
            raise
        return False


def versions(dataset: str) -> list[AuditRecord]:
    """The newest audit of each version, oldest version first."""
    return newest_of_versions(audits(dataset))


@st.cache_resource(show_spinner=False, max_entries=4 * OPEN_AUDITS)
def files(_audit: AuditRecord, folder: str) -> AuditFiles:
    return library().open(_audit)


@st.cache_resource(show_spinner="Opening the audit …", max_entries=OPEN_AUDITS)
def _tables(_audit: AuditRecord, folder: str) -> AuditTables:
    return AuditTables(connect(library().cache.root), files(_audit, folder).path)


def tables(audit: AuditRecord) -> AuditTables:
    """The queries over an audit, whose files are fetched when they are asked for."""
    return _tables(audit, audit.folder)


@st.cache_resource(show_spinner=False)
def decisions(dataset: str) -> Decisions:
    return Decisions(library().store, dataset, read_only=is_read_only())


def holding(audit: AuditRecord) -> dict[Judged, Verdict] | None:
    """The newest verdict on each content and label; None where verdicts are not known."""
    return decisions(audit.dataset).holding() if knows_decisions(audit) else None


def known(audit: AuditRecord) -> dict[Judged, Verdict]:
    """As `holding`, and what was seen last where the storage refuses; empty where verdicts are not known."""
    return decisions(audit.dataset).known() if knows_decisions(audit) else {}


def is_read_only() -> bool:
    return settings().read_only or not library().knows_decisions


def knows_decisions(audit: AuditRecord) -> bool:
    """Whether verdicts are within the URL, and about the rows of this audit."""
    return library().knows_decisions and not audit.has_made_up_ids


def why_read_only(audit: AuditRecord) -> str | None:
    """Why nothing can be decided on an audit, in a few words; None where it can."""
    if settings().read_only:
        return "read-only"
    if not library().knows_decisions:
        return "read-only: the URL is of one version"
    return "read-only: rows without ids" if audit.has_made_up_ids else None


def chosen(options: Sequence[Any], key: str) -> Any:
    """The option that the session has chosen under a key, the first one where it has none of them."""
    value = st.session_state.get(key)
    return value if value in options else options[0]


def go_to(dataset: str, audit: str | None = None) -> None:
    """From a callback: choose a dataset, or open one of its audits."""
    st.session_state["dataset"] = dataset
    if audit is not None:
        st.session_state["audit"] = audit
        st.session_state["page wanted"] = "audit"


def reviewer() -> str:
    """Who decides; empty where nobody is named."""
    return str(st.session_state.get("reviewer", "")).strip()


def open_example(address: Address | None) -> None:
    """Show one row at full size, or the gallery again."""
    st.session_state["example"] = address


def opened_example() -> Address | None:
    """What `open_example` was told last; before that, the row of the link with which the session began."""
    if "example" not in st.session_state and "example" in st.query_params:
        row = st.query_params.get("row", "")
        known = int(row) if re.fullmatch("[0-9]{1,15}", row) else None
        open_example(Address(st.query_params["example"], st.query_params.get("file"), known))
    address: Address | None = st.session_state.get("example")
    return address


def link_example(address: Address | None) -> None:
    """Let the address of the page name a row at full size, or none."""
    for name, value in zip(_LINKED, address or (None, None, None), strict=True):
        if value is not None:
            st.query_params[name] = str(value)
        elif name in st.query_params:
            del st.query_params[name]
