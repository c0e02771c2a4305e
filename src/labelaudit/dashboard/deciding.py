"""One row at full size, and deciding on it with keys or buttons."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import streamlit as st
from markupsafe import Markup

from labelaudit.dashboard import cards, look, session
from labelaudit.dashboard.decisions import Decisions, as_columns, judged, undoing, verdict_on
from labelaudit.dashboard.queries import NO_VERDICTS, AuditTables, Filters, Judgement, Row, VerdictColumns
from labelaudit.dashboard.sidebar import Chosen
from labelaudit.errors import LabelauditError
from labelaudit.review.verdicts import Verdict
from labelaudit.schemas import Decision
from labelaudit.steps.deciding import ROW_NUMBERS

KEYS = "1234567890"
PROBABILITIES = 5
# Of decisions that can be taken back in a session.
UNDONE = 200


class Step(NamedTuple):
    """A decision of this session, and what held before it."""

    verdict: Verdict
    before: Verdict | None


def show(now: Chosen, tables: AuditTables, filters: Filters, row: Row) -> None:
    desk = Desk(now, tables, filters, row)
    _show_bar(desk)
    _show_unsaved(desk)
    picture, side = st.columns([11, 9], gap="large")
    with picture:
        st.html(str(cards.whole(tables.previews([row.example_id]).get(row.example_id))))
    with side:
        _show_question(row)
        if now.audit.has_made_up_ids:
            st.info(f"Nothing can be decided here: {ROW_NUMBERS}")
        if session.why_read_only(now.audit) is None and row.given_label is not None:
            _show_decisions(desk)
        st.html(str(_said(desk.holding(), row)))
        _show_probabilities(tables, row)
        _show_values(row)


class Desk:
    """What the buttons of one row do."""

    def __init__(self, now: Chosen, tables: AuditTables, filters: Filters, row: Row) -> None:
        self.now = now
        self.tables = tables
        self.filters = filters
        self.row = row

    @property
    def decisions(self) -> Decisions:
        return session.decisions(self.now.dataset)

    def holding(self) -> Verdict | None:
        """The verdict on the row, whoever made it."""
        return self.decisions.holding().get(judged(self.row)) if session.knows_decisions(self.now.audit) else None

    def go(self, forward: bool) -> None:
        """To the next or previous row of the gallery."""
        found = self.tables.neighbour(self.row, self.filters, self._verdicts(), forward=forward)
        if found is None:
            st.toast("This is the last one." if forward else "This is the first one.")
        else:
            session.open_example(found.example_id)

    def decide(self, decision: Decision, right_label: str | None = None) -> None:
        try:
            verdict = verdict_on(self.row, self.now.audit, decision, right_label, _reviewer())
        except LabelauditError as error:
            st.session_state["problem"] = str(error)
            return
        self.store(Step(verdict, self.holding()))

    def store(self, step: Step) -> None:
        """Keep the decision until it is stored, then go on."""
        st.session_state["unsaved"] = step
        try:
            self.decisions.add(step.verdict)
        except LabelauditError as error:
            st.session_state["problem"] = str(error)
            return
        del st.session_state["unsaved"]
        steps = [*st.session_state.get("steps", ()), step]
        st.session_state["steps"] = steps[-UNDONE:]
        st.session_state["decided_here"] = st.session_state.get("decided_here", 0) + 1
        self._go_to_undecided()

    def undo(self) -> None:
        """Take back the last decision of this session, and show its row."""
        steps = st.session_state.get("steps", [])
        if not steps:
            return
        last: Step = steps[-1]
        try:
            self.decisions.add(undoing(last.verdict, last.before))
        except LabelauditError as error:
            st.session_state["problem"] = str(error)
            return
        st.session_state["steps"] = steps[:-1]
        st.toast("Taken back.")
        session.open_example(last.verdict.example_id)

    def drop(self) -> None:
        del st.session_state["unsaved"]

    def _go_to_undecided(self) -> None:
        """The next one in the order of the gallery, then from its start."""
        asked = self.filters.judgement
        wanted = replace(self.filters, judgement=Judgement.UNDECIDED) if asked == Judgement.ANY else self.filters
        verdicts = self._verdicts()
        found = self.tables.neighbour(self.row, wanted, verdicts) or next(
            iter(self.tables.page(wanted, verdicts, limit=1)), None
        )
        if found is None or found.example_id == self.row.example_id:
            st.session_state["message"] = "All of these are decided."
            session.open_example(None)
        else:
            session.open_example(found.example_id)

    def _verdicts(self) -> VerdictColumns:
        return as_columns(self.decisions.holding()) if session.knows_decisions(self.now.audit) else NO_VERDICTS


def _reviewer() -> str:
    return str(st.session_state.get("reviewer", "")).strip()


def _show_bar(desk: Desk) -> None:
    row, flagged = desk.row, desk.now.audit.summary.get("issues", 0)
    back, place, undo, before, after = st.columns([2, 6, 1.7, 2, 1.7], vertical_alignment="center")
    with place:
        look.html(
            '<p class="subject" style="margin:0"><bdi>{dataset}</bdi> <bdi>{version}</bdi> <span>{rank}</span></p>',
            dataset=desk.now.dataset,
            version=desk.now.audit.version,
            rank=f"#{row.rank:,} of {flagged:,} flagged" if row.rank else row.status.replace("_", " "),
        )
    close = session.open_example
    back.button("Gallery", shortcut="Esc", key="gallery", on_click=close, args=(None,), width="stretch")
    if session.why_read_only(desk.now.audit) is None:
        has_steps = bool(st.session_state.get("steps"))
        undo.button("Undo", shortcut="U", key="undo", on_click=desk.undo, disabled=not has_steps, width="stretch")
    before.button("Previous", shortcut="Left", key="previous", on_click=desk.go, args=(False,), width="stretch")
    after.button("Next", shortcut="Right", key="next", on_click=desk.go, args=(True,), width="stretch")


def _show_unsaved(desk: Desk) -> None:
    if problem := st.session_state.pop("problem", None):
        st.error(look.plain(problem, 1000))
    step: Step | None = st.session_state.get("unsaved")
    if step is None:
        return
    said, again, drop = st.columns([6, 2, 2], vertical_alignment="center")
    with said:
        look.html(
            "<p>Not stored yet: {chip} on <bdi>{id}</bdi>.</p>",
            chip=look.verdict_chip(step.verdict.verdict, step.verdict.right_label),
            id=look.clip(step.verdict.example_id, 100),
        )
    again.button("Try again", key="again", on_click=desk.store, args=(step,), type="primary", width="stretch")
    drop.button("Forget it", key="forget", on_click=desk.drop, width="stretch")


def _show_question(row: Row) -> None:
    suggested = row.suggested_label if row.suggested_label != row.given_label else None
    second = (
        look.fill('<span>suggested</span><b class="suggested"><bdi>{name}</bdi></b>', name=look.clip(suggested, 200))
        if suggested is not None
        else Markup("")
    )
    given = look.clip(row.given_label, 200) if row.given_label is not None else "no label"
    look.html(
        '<div class="question"><span>given</span><b class="given"><bdi>{given}</bdi></b>{second}</div>',
        given=given,
        second=second,
    )


def _show_decisions(desk: Desk) -> None:
    row = desk.row
    if not _reviewer():
        st.warning("Write your name into the field Reviewer of the sidebar: every decision bears one.")
        return
    suggested = row.suggested_label if row.suggested_label != row.given_label else None
    with st.container(horizontal=True, gap="small", key="decide"):
        st.button("Fine", shortcut="F", key="fine", on_click=desk.decide, args=(Decision.FINE,))
        if suggested is not None:
            label = f"Wrong: {look.plain(suggested, 30)}"
            st.button(
                label, shortcut="W", key="wrong", type="primary", on_click=desk.decide, args=(Decision.WRONG, suggested)
            )
        st.button("Ambiguous", shortcut="A", key="ambiguous", on_click=desk.decide, args=(Decision.AMBIGUOUS,))
    names, others = _labels(desk)
    # Classes that are digits have their own keys.
    keys = names if set(names) <= set(KEYS) else list(KEYS)
    st.caption("Wrong, and the right label is")
    with st.container(horizontal=True, gap="xsmall", key="labels"):
        for key, name in zip(keys, names, strict=False):
            st.button(
                look.plain(name, 24),
                shortcut=key,
                key=f"label-{key}",
                disabled=name == row.given_label,
                on_click=desk.decide,
                args=(Decision.WRONG, name),
            )
    if others:
        _show_other_labels(desk, others)


def _show_other_labels(desk: Desk, others: list[str]) -> None:
    def decide() -> None:
        if name := st.session_state.get("other"):
            st.session_state["other"] = None
            desk.decide(Decision.WRONG, name)

    st.selectbox(
        "Another label",
        others,
        index=None,
        format_func=look.option,
        key="other",
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


def _said(verdict: Verdict | None, row: Row) -> Markup:
    """Who decided what."""
    if verdict is not None:
        chip = look.verdict_chip(verdict.verdict, verdict.right_label)
        who = f"by {look.clip(verdict.reviewer, 100)}, {look.moment(verdict.decided_at)}"
    elif row.verdict and not session.library().knows_decisions:
        chip, who = look.verdict_chip(row.verdict, row.right_label), "when the audit was made"
    else:
        chip, who = look.chip("undecided"), ""
    return look.fill('<div class="said">{chip}<bdi>{who}</bdi></div>', chip=chip, who=who)


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
    bars = look.joined(
        look.fill(
            '<span><bdi>{name}</bdi></span><i class="{kind}"><i style="width:{width}%"></i></i><em>{share}</em>',
            name=look.clip(name, 60),
            kind=kinds.get(name, ""),
            width=f"{100 * share:.1f}",
            share=look.share(share),
        )
        for name, share in first.items()
    )
    look.html(
        '<div class="head"><p>What the model that did not see it makes of it</p></div><div class="bars">{bars}</div>',
        bars=bars,
    )


def _show_values(row: Row) -> None:
    values = {
        "id": row.example_id,
        "label score": look.score(row.label_score),
        "margin": "-" if row.margin is None else f"{row.margin:.3f}",
        "status": row.status.replace("_", " ") + (", flagged" if row.is_label_issue else ""),
        "fold": "-" if row.fold is None else str(row.fold),
        "read from": f"{row.file}, row {row.row}",
    }
    items = look.joined(
        look.fill("<dt>{name}</dt><dd>{value}</dd>", name=name, value=look.clip(value, 300))
        for name, value in values.items()
    )
    look.html('<dl class="values">{items}</dl>', items=items)
