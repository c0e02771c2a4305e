"""The sidebar of every page: dataset, audit and reviewer."""

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
class Selection:
    """The dataset and the audit that the pages show."""

    dataset: str
    audit: AuditRecord


def show_sidebar(page: str) -> None:
    """Show the sidebar. `page` is the path of the page in the URL."""
    linked = _opened_address(page)
    with st.sidebar:
        ui.html('<div class="brand"><i></i>labelaudit</div>')
        names = session.datasets()
        if not names:
            raise LabelauditError(
                f"There is no audit below {without_secrets(session.settings().url)}. Audit a dataset first."
            )
        labels = {name: ui.option(name) for name in names}
        dataset = _select("Dataset", labels, "dataset", session.first_audited(), linked.get("dataset"))
        audits = session.audits(dataset)
        if not audits:
            raise LabelauditError(f"The dataset {dataset!r} does not have a published audit. Audit it first.")
        audit = _select("Audit", audit_labels(audits), "audit", audits[0].name, linked.get("audit"))
        _write_address(page, {"dataset": dataset, "audit": audit})
        if why := session.why_read_only(selection().audit):
            ui.html("<p>{chip}</p>", chip=ui.chip(why, "doubtful"))
        else:
            if "reviewer" not in st.session_state:
                st.session_state.reviewer = session.settings().reviewer
            st.text_input("Reviewer", key="reviewer", max_chars=100, persist_state="session")


def _opened_address(page: str) -> dict[str, str]:
    """Return dataset and audit from a URL that was opened, or that the browser went back to; else nothing."""
    address = {key: st.query_params[key] for key in ("dataset", "audit") if key in st.query_params}
    if not address or st.session_state.get("address") == (page, address):
        return {}
    st.session_state["address"] = page, address
    return address


def _write_address(page: str, names: dict[str, str]) -> None:
    """Name the dataset and audit in the URL, even defaults: these may be others when the link is opened later."""
    # Only on a change: otherwise the browser could not go back past a URL without names.
    if st.session_state.get("address") != (page, names):
        st.session_state["address"] = page, names
        st.query_params.update(names)


def _select(label: str, labels: Mapping[str, str], key: str, default: str, linked: str | None) -> str:
    """Show a select box for the names in `labels` and return the selected one. Warn if the linked one is missing."""
    missing_key = f"missing {key}"
    wanted = st.session_state.get(key) if linked is None else linked
    shown = wanted if wanted in labels else default
    if linked not in (None, shown):
        st.session_state[missing_key] = linked, shown
    if shown != st.session_state.get(key):
        st.session_state[key] = shown
    name = str(
        st.selectbox(
            label, list(labels), format_func=lambda name: labels.get(name, name), key=key, persist_state="session"
        )
    )
    missing, instead = st.session_state.get(missing_key, ("", ""))
    if name == instead:
        st.warning(f"The {label.lower()} {ui.plain_text(missing)} of the link is not here. This one is shown instead.")
    return name


def audit_labels(audits: Sequence[AuditRecord]) -> dict[str, str]:
    """Return labels for audits by name: version and day, and the id if these are the same for several audits."""
    labels = {audit.name: f"{audit.version} \N{MIDDLE DOT} {ui.moment(audit.created_at)[:10]}" for audit in audits}
    counts = Counter(labels.values())
    return {
        name: ui.option(text if counts[text] == 1 else f"{text} \N{MIDDLE DOT} {name.rpartition('/')[2][:6]}")
        for name, text in labels.items()
    }


def selection() -> Selection:
    """Return the dataset and audit that the sidebar shows."""
    dataset = session.selected(session.datasets(), "dataset")
    audits = {audit.name: audit for audit in session.audits(dataset)}
    return Selection(dataset, audits[session.selected(list(audits), "audit")])


def show_url() -> None:
    with st.sidebar:
        ui.html('<div class="place">{url}</div>', url=ui.clip(without_secrets(session.settings().url), 200))
