"""The sidebar of every page: which dataset and audit, and who decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard import session, ui
from labelaudit.errors import LabelauditError
from labelaudit.storage.failures import without_secrets


@dataclass(frozen=True)
class Chosen:
    """What the pages show."""

    dataset: str
    audit: AuditRecord


def show_sidebar(page: str) -> None:
    """Of a page, by the name that it has in the address."""
    asked = _opened_address(page)
    with st.sidebar:
        ui.html('<div class="brand"><i></i>labelaudit</div>')
        names = session.datasets()
        if not names:
            raise LabelauditError(f"There is no audit below {without_secrets(session.settings().url)}.")
        words = {name: ui.option(name) for name in names}
        dataset = _choose("Dataset", words, "dataset", session.first_audited(), asked.get("dataset"))
        audits = session.audits(dataset)
        if not audits:
            raise LabelauditError(f"The dataset {dataset!r} has no published audit.")
        audit = _choose("Audit", audit_labels(audits), "audit", audits[0].name, asked.get("audit"))
        _write_address(page, {"dataset": dataset, "audit": audit})
        if why := session.why_read_only(chosen().audit):
            ui.html("<p>{chip}</p>", chip=ui.chip(why, "doubtful"))
        else:
            if "reviewer" not in st.session_state:
                st.session_state.reviewer = session.settings().reviewer
            st.text_input("Reviewer", key="reviewer", max_chars=100, persist_state="session")


def _opened_address(page: str) -> dict[str, str]:
    """Names by key in an address that was opened, or that the browser went back to; empty where neither happened."""
    address = {key: st.query_params[key] for key in ("dataset", "audit") if key in st.query_params}
    if not address or st.session_state.get("address") == (page, address):
        return {}
    st.session_state["address"] = page, address
    return address


def _write_address(page: str, names: dict[str, str]) -> None:
    """Have the address name what is shown, also by default: somebody else who opens it may have another default."""
    # Once, or the browser could not go back beyond an address without names.
    if st.session_state.get("address") != (page, names):
        st.session_state["address"] = page, names
        st.query_params.update(names)


def _choose(label: str, words: Mapping[str, str], key: str, default: str, asked: str | None) -> str:
    """One of several names, by a box that shows words for them. Says where what the address asked for is not here."""
    absent = f"{key} that is absent"
    wanted = st.session_state.get(key) if asked is None else asked
    shown = wanted if wanted in words else default
    if asked not in (None, shown):
        st.session_state[absent] = asked, shown
    if shown != st.session_state.get(key):
        st.session_state[key] = shown
    name = str(
        st.selectbox(
            label, list(words), format_func=lambda name: words.get(name, name), key=key, persist_state="session"
        )
    )
    missing, instead = st.session_state.get(absent, ("", ""))
    if name == instead:
        st.warning(f"The {label.lower()} {ui.plain(missing)} of the address is not here. This one is shown instead.")
    return name


def audit_labels(audits: Sequence[AuditRecord]) -> dict[str, str]:
    """Words for audits by name: version and day, and the id where both are the same."""
    words = {audit.name: f"{audit.version} \N{MIDDLE DOT} {ui.moment(audit.created_at)[:10]}" for audit in audits}
    counts = Counter(words.values())
    return {
        name: ui.option(text if counts[text] == 1 else f"{text} \N{MIDDLE DOT} {name.rpartition('/')[2][:6]}")
        for name, text in words.items()
    }


def chosen() -> Chosen:
    """The dataset and audit that the sidebar shows."""
    dataset = session.chosen(session.datasets(), "dataset")
    audits = {audit.name: audit for audit in session.audits(dataset)}
    return Chosen(dataset, audits[session.chosen(list(audits), "audit")])


def show_place() -> None:
    with st.sidebar:
        ui.html('<div class="place">{url}</div>', url=ui.clip(without_secrets(session.settings().url), 200))
