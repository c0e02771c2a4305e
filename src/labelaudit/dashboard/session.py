"""What a session of the dashboard uses: settings, library, tables and verdicts, and what the user has selected."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

import streamlit as st

from labelaudit.audits.history import AuditRecord, newest_of_versions
from labelaudit.dashboard.library import AuditFiles, Library
from labelaudit.dashboard.queries import Address, AuditQueries, connect
from labelaudit.dashboard.settings import Settings
from labelaudit.errors import StorageError
from labelaudit.reviews.dataset_reviews import Reviews
from labelaudit.reviews.verdicts import LabeledExample, Verdict

# Audits whose flagged rows are in memory at a time, over all sessions.
_OPEN_AUDITS = 4
# After this time, new audits and the verdicts of others are visible.
FRESH = "15s"
FRESH_SECONDS = 5.0
# URL parameters that name the open row.
_LINKED = ("example", "file", "row")

_Option = TypeVar("_Option")


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
    """Return the audits of a dataset, newest first."""
    return library().audits(dataset)[::-1]


def first_audited() -> str:
    """Return the first dataset with audits that can be read, or the first dataset if there is none."""
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
    """Return the newest audit of each version, oldest version first."""
    return newest_of_versions(audits(dataset))


@st.cache_resource(show_spinner=False, max_entries=4 * _OPEN_AUDITS)
def files(_audit: AuditRecord, folder: str) -> AuditFiles:
    return library().open(_audit)


@st.cache_resource(show_spinner="Opening the audit …", max_entries=_OPEN_AUDITS)
def _tables(_audit: AuditRecord, folder: str) -> AuditQueries:
    return AuditQueries(connect(library().cache.root), files(_audit, folder).path)


def tables(audit: AuditRecord) -> AuditQueries:
    """Return the tables of an audit. Their files are fetched when they are first used."""
    return _tables(audit, audit.folder)


@st.cache_resource(show_spinner=False)
def reviews(dataset: str) -> Reviews:
    return Reviews(library().store, dataset, read_only=is_read_only())


def current_verdicts(audit: AuditRecord) -> Mapping[LabeledExample, Verdict] | None:
    """Return the current verdicts on the dataset of an audit, or None if they are out of reach."""
    if not has_verdicts(audit):
        return None
    found = reviews(audit.dataset)
    found.refresh(FRESH_SECONDS)
    return found.current


def last_read_verdicts(audit: AuditRecord) -> Mapping[LabeledExample, Verdict]:
    """Return the current verdicts, as last read if the storage does not answer; empty if they are out of reach."""
    with contextlib.suppress(StorageError):
        return current_verdicts(audit) or {}
    return reviews(audit.dataset).current


def is_read_only() -> bool:
    return settings().read_only or not library().contains_verdicts


def has_verdicts(audit: AuditRecord) -> bool:
    """Return whether verdicts are below the URL, and can apply to the rows of this audit."""
    return library().contains_verdicts and not audit.has_made_up_ids


def why_read_only(audit: AuditRecord) -> str | None:
    """Return in a few words why an audit cannot be reviewed, or None if it can."""
    if settings().read_only:
        return "read-only"
    if not library().contains_verdicts:
        return "read-only: the URL is of one version"
    return "read-only: rows without ids" if audit.has_made_up_ids else None


def selected(options: Sequence[_Option], key: str) -> _Option:
    """Return the option that is selected under a key of the session state, or else the first one."""
    value = st.session_state.get(key)
    return next((option for option in options if option == value), options[0])


def go_to(dataset: str, audit: str | None = None) -> None:
    """Select a dataset, or open one of its audits. For callbacks."""
    st.session_state["dataset"] = dataset
    if audit is not None:
        st.session_state["audit"] = audit
        st.session_state["page wanted"] = "audit"


def reviewer() -> str:
    """Return the name of the reviewer, or empty text."""
    return str(st.session_state.get("reviewer", "")).strip()


def open_example(address: Address | None) -> None:
    """Show one row at full size, or the gallery again."""
    st.session_state["example"] = address


def opened_example() -> Address | None:
    """Return the open row: the last one of `open_example`, or the one in the link that started the session."""
    if "example" not in st.session_state and "example" in st.query_params:
        row = st.query_params.get("row", "")
        number = int(row) if re.fullmatch("[0-9]{1,15}", row) else None
        open_example(Address(st.query_params["example"], st.query_params.get("file"), number))
    address: Address | None = st.session_state.get("example")
    return address


def link_example(address: Address | None) -> None:
    """Name the open row in the URL of the page."""
    for name, value in zip(_LINKED, address or (None, None, None), strict=True):
        if value is not None:
            st.query_params[name] = str(value)
        elif name in st.query_params:
            del st.query_params[name]
