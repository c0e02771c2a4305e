"""One row at full size, and deciding on it with keys or buttons."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property

import streamlit as st
from markupsafe import Markup
from streamlit.delta_generator import DeltaGenerator

from labelaudit.audits.decisive_settings import ROW_NUMBERS
from labelaudit.dashboard import cards, keeping, session, ui
from labelaudit.dashboard.decisions import NO_NAME, as_columns, judged, verdict_on, why_undecidable
from labelaudit.dashboard.queries import AuditTables, Filters, Judgement, Row, VerdictColumns
from labelaudit.dashboard.sidebar import Chosen
from labelaudit.schemas import Decision
from labelaudit.storage.manifest import digest_of

KEYS = "1234567890"
PROBABILITIES = 5
# Nobody decides on a row within so short a time: that is the second of two clicks, meant for the row before it.
UNSEEN_SECONDS = 0.4


def show(now: Chosen, tables: AuditTables, filters: Filters, row: Row) -> None:
    desk = Desk(now, tables, filters, row)
    _show_bar(desk)
    picture, side = st.columns([11, 9], gap="large")
    with picture:
        st.html(str(cards.whole(tables.previews([row.example_id]).get(row.example_id))))
    with side:
        _show_question(row)
        if now.audit.has_made_up_ids:
            st.info(f"Nothing can be decided here: {ROW_NUMBERS}")
        elif session.why_read_only(now.audit) is None:
            _show_decisions(desk)
        st.html(str(_said(now, row)))
        _show_probabilities(tables, row)
        _show_values(row)
    desk.remember_when_shown()


class Desk:
    """What the buttons of one row do."""

    def __init__(self, now: Chosen, tables: AuditTables, filters: Filters, row: Row) -> None:
        self.now = now
        self.tables = tables
        self.filters = filters
        self.row = row

    @cached_property
    def digest(self) -> str:
        """Of the row, for the keys of what decides on it: a second click does not meet what decides on the next row."""
        return digest_of(self.now.audit.folder, self.row.address)[:12]

    def remember_when_shown(self) -> None:
        digest, _ = st.session_state.get("shown", ("", 0))
        if digest != self.digest:
            st.session_state["shown"] = (self.digest, time.monotonic())

    @keeping.telling
    def go(self, forward: bool) -> None:
        """To the next or previous row of the gallery."""
        found = self.tables.neighbour(self.row, self.filters, self._verdicts(), forward=forward)
        if found is None:
            st.toast("This is the last one." if forward else "This is the first one.")
        else:
            session.open_example(found.address)

    @keeping.telling
    def decide(self, decision: Decision, right_label: str | None = None) -> None:
        if self._is_unseen():
            st.toast("Not decided: this row has only just appeared. Decide again.")
            return
        verdict = verdict_on(self.row, self.now.audit, decision, right_label, session.reviewer())
        verdict = session.decisions(self.now.dataset).later(verdict)
        keeping.kept().store(keeping.Step(self.now.dataset, self.row.address, verdict))
        self._go_to_undecided()

    @keeping.telling
    def undo(self, step: keeping.Step) -> None:
        """Take a decision back, and show its row where its dataset is open."""
        taken_back = keeping.kept().undo(step, session.reviewer())
        # Streamlit may end a callback here, to begin with that of a second click: this one still has to show the row.
        if step.dataset == self.now.dataset:
            session.open_example(step.address)
        if taken_back:
            st.toast(ui.plain(f"Taken back: {step.verdict.verdict} on {step.verdict.example_id} of {step.dataset}."))

    def _is_unseen(self) -> bool:
        digest, moment = st.session_state.get("shown", ("", 0))
        return bool(digest == self.digest and time.monotonic() - moment < UNSEEN_SECONDS)

    def _go_to_undecided(self) -> None:
        """The next one in the order of the gallery, then from its start."""
        asked = self.filters.judgement
        wanted = replace(self.filters, judgement=Judgement.UNDECIDED) if asked == Judgement.ANY else self.filters
        verdicts = self._verdicts()
        found = self.tables.neighbour(self.row, wanted, verdicts) or next(
            iter(self.tables.page(wanted, verdicts, limit=1)), None
        )
        if found is None or found.address == self.row.address:
            st.session_state["message"] = "All of these are decided."
            session.open_example(None)
        else:
            session.open_example(found.address)

    def _verdicts(self) -> VerdictColumns:
        return as_columns(session.known(self.now.audit))


def _show_bar(desk: Desk) -> None:
    row, flagged = desk.row, desk.now.audit.summary.get("issues", 0)
    back, place, undo, before, after = st.columns([2, 6, 1.7, 2, 1.7], vertical_alignment="center")
    with place:
        ui.html(
            '<p class="subject" style="margin:0"><bdi>{dataset}</bdi> <bdi>{version}</bdi> <span>{rank}</span></p>',
            dataset=desk.now.dataset,
            version=desk.now.audit.version,
            rank=f"#{row.rank:,} of {flagged:,} flagged" if row.rank else row.status.replace("_", " "),
        )
    close = session.open_example
    back.button("Gallery", shortcut="Esc", key="gallery", on_click=close, args=(None,), width="stretch")
    if session.why_read_only(desk.now.audit) is None:
        _show_undo(undo, desk)
    before.button("Previous", shortcut="Left", key="previous", on_click=desk.go, args=(False,), width="stretch")
    after.button("Next", shortcut="Right", key="next", on_click=desk.go, args=(True,), width="stretch")


def _show_undo(place: DeltaGenerator, desk: Desk) -> None:
    last = next(reversed(keeping.kept().steps), None)
    place.button(
        "Undo",
        shortcut="U",
        # Of the decision: a second click takes back no second one.
        key=f"undo-{digest_of(last.dataset, last.verdict.to_record())[:12]}" if last else "undo",
        on_click=desk.undo,
        args=(last,),
        disabled=last is None,
        width="stretch",
    )


def _show_question(row: Row) -> None:
    suggested = row.suggested_label if row.suggested_label != row.given_label else None
    second = (
        ui.fill('<span>suggested</span><b class="suggested"><bdi>{name}</bdi></b>', name=ui.clip(suggested, 200))
        if suggested is not None
        else Markup("")
    )
    given = ui.clip(row.given_label, 200) if row.given_label is not None else "no label"
    ui.html(
        '<div class="question"><span>given</span><b class="given"><bdi>{given}</bdi></b>{second}</div>',
        given=given,
        second=second,
    )


def _show_decisions(desk: Desk) -> None:
    row = desk.row
    if why := why_undecidable(row):
        st.info(ui.plain(why, 600))
        return
    if not session.reviewer():
        st.warning(NO_NAME)
        return
    suggested = row.suggested_label if row.suggested_label != row.given_label else None
    with st.container(horizontal=True, gap="small", key="decide"):
        st.button("Fine", shortcut="F", key=f"fine-{desk.digest}", on_click=desk.decide, args=(Decision.FINE,))
        if suggested is not None:
            label = f"Wrong: {ui.plain(suggested, 30)}"
            st.button(
                label,
                shortcut="W",
                key=f"wrong-{desk.digest}",
                type="primary",
                on_click=desk.decide,
                args=(Decision.WRONG, suggested),
            )
        st.button(
            "Ambiguous",
            shortcut="A",
            key=f"ambiguous-{desk.digest}",
            on_click=desk.decide,
            args=(Decision.AMBIGUOUS,),
        )
    names, others = _labels(desk)
    # Classes that are digits have their own keys.
    keys = names if set(names) <= set(KEYS) else list(KEYS)
    st.caption("Wrong, and the right label is")
    with st.container(horizontal=True, gap="xsmall", key="labels"):
        for key, name in zip(keys, names, strict=False):
            st.button(
                ui.plain(name, 24),
                shortcut=key,
                key=f"label-{key}-{desk.digest}",
                disabled=name == row.given_label,
                on_click=desk.decide,
                args=(Decision.WRONG, name),
            )
    if others:
        _show_other_labels(desk, others)


def _show_other_labels(desk: Desk, others: list[str]) -> None:
    key = f"other-{desk.digest}"

    def decide() -> None:
        if name := st.session_state.get(key):
            st.session_state[key] = None
            desk.decide(Decision.WRONG, name)

    st.selectbox(
        "Another label",
        others,
        index=None,
        format_func=ui.option,
        key=key,
        placeholder="Another label …",
        label_visibility="collapsed",
        on_change=decide,
    )


def _labels(desk: Desk) -> tuple[list[str], list[str]]:
    """Labels with a key of their own, and the others. Few classes keep their keys; of many, those come first that are
    most often suggested for the given label."""
    names = sorted(row["class_name"] for row in desk.tables.table("classes"))
    if len(names) <= len(KEYS):
        return names, []
    given = desk.row.given_label
    pairs = [pair for pair in desk.tables.table("confusions") if pair["given_label"] == given]
    pairs.sort(key=lambda pair: -pair["examples"])
    likely = dict.fromkeys([str(desk.row.suggested_label), *(pair["suggested_label"] for pair in pairs)])
    first = [name for name in likely if name in names and name != given][: len(KEYS)]
    return first, [name for name in names if name not in first and name != given]


def _said(now: Chosen, row: Row) -> Markup:
    """Who decided what."""
    holding = session.holding(now.audit)
    if holding is None and row.verdict:
        chip, who = ui.verdict_chip(row.verdict, row.right_label), "when the audit was made"
    elif verdict := (holding or {}).get(judged(row)):
        chip = ui.verdict_chip(verdict.verdict, verdict.right_label)
        who = f"by {ui.clip(verdict.reviewer, 100)}, {ui.moment(verdict.decided_at)}"
    else:
        chip, who = ui.chip("undecided"), ""
    return ui.fill('<div class="said">{chip}<bdi>{who}</bdi></div>', chip=chip, who=who)


def _show_probabilities(tables: AuditTables, row: Row) -> None:
    if row.status != "scored":
        return
    shares = tables.probabilities(row.example_id, row.fold or 0)
    first = dict(list(shares.items())[:PROBABILITIES])
    if row.given_label in shares:
        first[str(row.given_label)] = shares[str(row.given_label)]
    if not first:
        return
    kinds = {row.suggested_label: "suggested", row.given_label: "given"}
    bars = ui.joined(
        ui.fill(
            '<span><bdi>{name}</bdi></span><i class="{kind}"><i style="width:{width}%"></i></i><em>{share}</em>',
            name=ui.clip(name, 60),
            kind=kinds.get(name, ""),
            width=f"{100 * share:.1f}",
            share=ui.share(share),
        )
        for name, share in first.items()
    )
    ui.html(
        '<div class="head"><p>What the model that did not see it makes of it</p></div><div class="bars">{bars}</div>',
        bars=bars,
    )


def _show_values(row: Row) -> None:
    values = {
        "id": row.example_id,
        "label score": ui.score(row.label_score),
        "margin": "-" if row.margin is None else f"{row.margin:.3f}",
        "status": row.status.replace("_", " ") + (", flagged" if row.is_label_issue else ""),
        "fold": "-" if row.fold is None else str(row.fold),
        "read from": f"{row.file}, row {row.row}",
    }
    items = ui.joined(
        ui.fill("<dt>{name}</dt><dd>{value}</dd>", name=name, value=ui.clip(value, 300))
        for name, value in values.items()
    )
    ui.html('<dl class="values">{items}</dl>', items=items)
