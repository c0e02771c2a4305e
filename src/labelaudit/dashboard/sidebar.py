"""The sidebar of every page: which dataset and audit, and who decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from labelaudit.dashboard import look, session
from labelaudit.errors import LabelauditError
from labelaudit.steps.history import AuditRecord


@dataclass(frozen=True)
class Chosen:
    """What the pages show."""

    dataset: str
    audit: AuditRecord


def show_sidebar() -> None:
    with st.sidebar:
        look.html('<div class="brand"><i></i>labelaudit</div>')
        names = session.datasets()
        if not names:
            raise LabelauditError(f"There is no audit below {session.settings().url}.")
        dataset = st.selectbox(
            "Dataset", names, format_func=look.option, key="dataset", bind="query-params", persist_state="session"
        )
        audits = session.audits(str(dataset))
        if not audits:
            raise LabelauditError(f"The dataset {dataset!r} has no published audit.")
        labels = audit_labels(audits)
        st.selectbox(
            "Audit",
            list(labels),
            format_func=lambda name: look.option(labels.get(name, name)),
            key="audit",
            bind="query-params",
            persist_state="session",
        )
        if why := session.why_read_only(chosen().audit):
            look.html("<p>{chip}</p>", chip=look.chip(why, "doubtful"))
        else:
            if "reviewer" not in st.session_state:
                st.session_state.reviewer = session.settings().reviewer
            st.text_input("Reviewer", key="reviewer", max_chars=100, persist_state="session")


def audit_labels(audits: Sequence[AuditRecord]) -> dict[str, str]:
    """Words for audits by name: version and day, and the id where both are the same."""
    words = {audit.name: f"{audit.version} \N{MIDDLE DOT} {look.moment(audit.created_at)[:10]}" for audit in audits}
    counts = Counter(words.values())
    return {
        name: text if counts[text] == 1 else f"{text} \N{MIDDLE DOT} {name.rpartition('/')[2][:6]}"
        for name, text in words.items()
    }


def chosen() -> Chosen:
    """The dataset and audit that the sidebar shows."""
    dataset = session.chosen(session.datasets(), "dataset")
    audits = {audit.name: audit for audit in session.audits(dataset)}
    return Chosen(dataset, audits[session.chosen(list(audits), "audit")])


def show_place() -> None:
    with st.sidebar:
        look.html('<div class="place">{url}</div>', url=look.clip(session.settings().url, 200))
