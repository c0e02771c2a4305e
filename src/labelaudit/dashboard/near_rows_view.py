"""The nearest rows below the row under review. A reviewer ticks those that get the same decision."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from labelaudit.dashboard import session, ui
from labelaudit.dashboard.cards import card
from labelaudit.dashboard.queries import AuditQueries, Row
from labelaudit.dashboard.row_verdicts import labeled_example, why_undecidable
from labelaudit.dashboard.sidebar import Selection


class NearRows:
    """The nearest rows of a row, and which of them are ticked.

    Args:
        digest: of the row under review. It is part of the keys of the ticks, so they never apply to another row.
    """

    def __init__(self, shown: Selection, rows: Sequence[Row], row: Row, digest: str) -> None:
        self._shown = shown
        self.rows = rows
        self._row = row
        self.digest = digest

    @property
    def ticked(self) -> list[Row]:
        """The rows that get the same decision."""
        return [row for number, row in enumerate(self.rows) if st.session_state.get(self._key(number))]

    @property
    def similar(self) -> list[int]:
        """The numbers of the undecided rows with the same given label that are flagged, as probably equal mistakes."""
        verdicts = session.last_read_verdicts(self._shown.audit)
        return [
            number
            for number, row in enumerate(self.rows)
            if row.was_flagged
            and row.given_label == self._row.given_label
            and why_undecidable(row) is None
            and labeled_example(row) not in verdicts
        ]

    def tick_similar(self) -> None:
        """Tick the similar rows, or take back all ticks if there are some. For callbacks."""
        has_ticks = bool(self.ticked)
        for number in range(len(self.rows)):
            st.session_state[self._key(number)] = not has_ticks and number in self.similar

    def show(self, tables: AuditQueries, *, can_decide: bool) -> None:
        if not self.rows:
            return
        ticks = " Ticked rows get the same decision." if can_decide else ""
        ui.html('<div class="head"><p>Nearest rows, by their features.{ticks}</p></div>', ticks=ticks)
        previews = tables.previews([row.example_id for row in self.rows])
        verdicts = session.current_verdicts(self._shown.audit)
        with st.container(horizontal=True, gap="small", key="nearest"):
            for number, row in enumerate(self.rows):
                with st.container(border=True, width=150, key=f"near-{number}"):
                    st.html(str(card(row, previews.get(row.example_id), verdicts)))
                    if can_decide and why_undecidable(row) is None:
                        st.checkbox("same", key=self._key(number))

    def _key(self, number: int) -> str:
        return f"tick-{number}-{self.digest}"
