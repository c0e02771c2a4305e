"""One row at full size, with the keys and buttons that decide on it."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from functools import cached_property

import streamlit as st
from markupsafe import Markup
from streamlit.delta_generator import DeltaGenerator

from labelaudit.audits.decisive_settings import ROW_NUMBERS
from labelaudit.dashboard import cards, session, ui
from labelaudit.dashboard.answers_view import show_answers
from labelaudit.dashboard.near_rows_view import NearRows
from labelaudit.dashboard.queries import AuditQueries, Filters, Reviewed, Row, VerdictColumns
from labelaudit.dashboard.review_session import SessionVerdict, review_session, show_errors
from labelaudit.dashboard.row_verdicts import NO_NAME, as_columns, labeled_example, verdict_on, why_undecidable
from labelaudit.dashboard.sidebar import Selection
from labelaudit.report.quality_section import split_issues
from labelaudit.reviews.verdicts import Answer
from labelaudit.schemas import Decision, RemoveReason
from labelaudit.storage.manifest import digest_of

KEYS = "1234567890"
_PROBABILITIES = 5
# A click this soon after a row appears was meant for the row before it.
UNSEEN_SECONDS = 0.4


def show_row(shown: Selection, tables: AuditQueries, filters: Filters, row: Row) -> None:
    actions = RowActions(shown, tables, filters, row)
    _show_bar(actions)
    picture, side = st.columns([11, 9], gap="large")
    can_decide = session.why_read_only(shown.audit) is None and why_undecidable(row) is None
    with picture:
        st.html(str(cards.full_size(tables.previews([row.example_id]).get(row.example_id))))
        actions.near.show(tables, can_decide=can_decide)
    with side:
        _show_question(row)
        if shown.audit.has_made_up_ids:
            st.info(f"These rows cannot be reviewed. {ROW_NUMBERS}")
        elif session.why_read_only(shown.audit) is None:
            _show_decisions(actions)
        st.html(str(_current_verdict(shown, row)))
        show_answers(tables, row)
        _show_probabilities(tables, row)
        _show_values(row)
    actions.remember_when_shown()


class RowActions:
    """What the buttons of one row do."""

    def __init__(self, shown: Selection, tables: AuditQueries, filters: Filters, row: Row) -> None:
        self.shown = shown
        self.tables = tables
        self.filters = filters
        self.row = row

    @cached_property
    def digest(self) -> str:
        """A digest of the row. It is part of the keys of its buttons, so a second click never hits the next row."""
        return digest_of(self.shown.audit.folder, self.row.address)[:12]

    @cached_property
    def near(self) -> NearRows:
        """The nearest rows, and those among them that get the same decision."""
        return NearRows(self.shown, self.tables.nearest(self.row), self.row, self.digest)

    def remember_when_shown(self) -> None:
        digest, _ = st.session_state.get("shown", ("", 0))
        if digest != self.digest:
            st.session_state["shown"] = (self.digest, time.monotonic())

    @show_errors
    def go(self, forward: bool) -> None:
        """Open the next or previous row of the gallery."""
        self.ask_for_reason(False)
        found = self.tables.neighbour(self.row, self.filters, self._verdicts(), forward=forward)
        if found is None:
            st.toast("This is the last one." if forward else "This is the first one.")
        else:
            session.open_example(found.address)

    @show_errors
    def decide(self, decision: Decision, right_label: str | None = None, remove_reason: str | None = None) -> None:
        if self._is_unseen():
            st.toast("Not decided: this row has only just appeared. Decide again.")
            return
        # A row that has the right label already is not wrong.
        others = [row for row in self.near.ticked if row.given_label != right_label]
        answer = Answer(decision, right_label, remove_reason)
        given, *also = (self._verdict(row, answer) for row in (self.row, *others))
        self.ask_for_reason(False)
        review_session().store(given._replace(also=tuple(also)))
        if self.near.ticked:
            st.toast(ui.plain_text(_decided_in_words(1 + len(also), len(self.near.ticked) - len(also), right_label)))
        self._go_to_undecided()

    def _verdict(self, row: Row, answer: Answer) -> SessionVerdict:
        verdict = verdict_on(row, self.shown.audit, answer, session.reviewer())
        verdict = session.reviews(self.shown.dataset).dated_now(verdict)
        return SessionVerdict(self.shown.dataset, row.address, verdict)

    @show_errors
    def undo(self, given: SessionVerdict) -> None:
        """Undo a verdict, and open its row if its dataset is shown."""
        undone = review_session().undo(given, session.reviewer())
        # Streamlit may end this callback before a second click starts another: that one must open the row too.
        if given.dataset == self.shown.dataset:
            session.open_example(given.address)
        if undone:
            st.toast(ui.plain_text(_undone_in_words(given, undone)))

    @property
    def asks_for_reason(self) -> bool:
        """Whether the row is to be removed as soon as the reviewer chooses a reason."""
        return bool(st.session_state.get("removing") == self.digest)

    def ask_for_reason(self, is_wanted: bool) -> None:
        if is_wanted and self._is_unseen():
            st.toast("This row has only just appeared. Press again.")
            return
        st.session_state["removing"] = self.digest if is_wanted else None

    def _is_unseen(self) -> bool:
        digest, moment = st.session_state.get("shown", ("", 0))
        return bool(digest == self.digest and time.monotonic() - moment < UNSEEN_SECONDS)

    def _go_to_undecided(self) -> None:
        """Open the next undecided row of the gallery, or else the first one."""
        is_any = self.filters.reviewed == Reviewed.ANY
        wanted = replace(self.filters, reviewed=Reviewed.UNDECIDED) if is_any else self.filters
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
        return as_columns(session.last_read_verdicts(self.shown.audit))


def _decided_in_words(decided: int, left: int, right_label: str | None) -> str:
    rows = "1 row" if decided == 1 else f"{decided} rows"
    already = "" if not left else f" {left} ticked with the label {right_label} already: not decided."
    return f"Decided on {rows}.{already}"


def _undone_in_words(given: SessionVerdict, undone: int) -> str:
    verdict, count = given.verdict, len(given.members)
    if count == 1:
        return f"Undone: {verdict.verdict} on {verdict.example_id} of {given.dataset}."
    left = "" if undone == count else f" Others decided on {count - undone} of the rows since, and that stays."
    return f"Undone: {verdict.verdict} on {undone} rows of {given.dataset}.{left}"


def _show_bar(actions: RowActions) -> None:
    row, flagged = actions.row, actions.shown.audit.summary.issues
    back, title, undo, previous, following = st.columns([2, 6, 1.7, 2, 1.7], vertical_alignment="center")
    with title:
        ui.html(
            '<p class="subject" style="margin:0"><bdi>{dataset}</bdi> <bdi>{version}</bdi> <span>{rank}</span></p>',
            dataset=actions.shown.dataset,
            version=actions.shown.audit.version,
            rank=f"#{row.rank:,} of {flagged:,} flagged" if row.rank else row.status.replace("_", " "),
        )
    close = session.open_example
    back.button("Gallery", shortcut="Esc", key="gallery", on_click=close, args=(None,), width="stretch")
    if session.why_read_only(actions.shown.audit) is None:
        _show_undo(undo, actions)
    previous.button("Previous", shortcut="Left", key="previous", on_click=actions.go, args=(False,), width="stretch")
    following.button("Next", shortcut="Right", key="next", on_click=actions.go, args=(True,), width="stretch")


def _show_undo(column: DeltaGenerator, actions: RowActions) -> None:
    last = next(reversed(review_session().undoable), None)
    column.button(
        "Undo",
        shortcut="U",
        # The key depends on the verdict, so a second click does not undo another one.
        key=f"undo-{digest_of(last.dataset, asdict(last.verdict))[:12]}" if last else "undo",
        on_click=actions.undo,
        args=(last,),
        disabled=last is None,
        width="stretch",
    )


def _show_question(row: Row) -> None:
    suggested = row.suggested_label
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


def _show_decisions(actions: RowActions) -> None:
    row = actions.row
    if why := why_undecidable(row):
        st.info(ui.plain_text(why, 600))
        return
    if not session.reviewer():
        st.warning(NO_NAME)
        return
    suggested = row.suggested_label
    with st.container(horizontal=True, gap="small", key="decide"):
        st.button("Fine", shortcut="F", key=f"fine-{actions.digest}", on_click=actions.decide, args=(Decision.FINE,))
        if suggested is not None:
            label = f"Wrong: {ui.plain_text(suggested, 30)}"
            st.button(
                label,
                shortcut="W",
                key=f"wrong-{actions.digest}",
                type="primary",
                on_click=actions.decide,
                args=(Decision.WRONG, suggested),
            )
        st.button(
            "Ambiguous",
            shortcut="A",
            key=f"ambiguous-{actions.digest}",
            on_click=actions.decide,
            args=(Decision.AMBIGUOUS,),
        )
        is_asking = actions.asks_for_reason
        st.button(
            "Cancel" if is_asking else "Remove …",
            # Streamlit does not allow R, which reloads pages.
            shortcut="X",
            key=f"remove-{actions.digest}",
            on_click=actions.ask_for_reason,
            args=(not is_asking,),
        )
    _show_ticks(actions.near)
    if is_asking:
        _show_reasons(actions)
    else:
        _show_labels(actions)


def _show_reasons(actions: RowActions) -> None:
    """Show the reasons to remove the row, in place of the labels, with the same keys."""
    st.caption("Remove it from the dataset. The reason:")
    with st.container(horizontal=True, gap="xsmall", key="reasons"):
        for key, reason in zip(KEYS, RemoveReason, strict=False):
            st.button(
                reason.value,
                shortcut=key,
                key=f"reason-{key}-{actions.digest}",
                on_click=actions.decide,
                args=(Decision.REMOVE, None, reason.value),
            )
    key = f"own-{actions.digest}"

    def decide() -> None:
        if own := st.session_state.get(key, "").strip():
            actions.decide(Decision.REMOVE, None, own)

    # A form, because an input alone is also taken when it loses the focus, for example to the button Cancel.
    with st.form(f"own-reason-{actions.digest}", border=False):
        st.text_input("Another reason", key=key, placeholder="Another reason …", label_visibility="collapsed")
        st.form_submit_button("Remove for this reason", on_click=decide)


def _show_labels(actions: RowActions) -> None:
    """Show the labels that may be right, the first ones with a key of their own."""
    row = actions.row
    names, others = _labels(actions)
    # Classes that are digits are their own keys.
    keys = names if set(names) <= set(KEYS) else list(KEYS)
    st.caption("Wrong: the right label is")
    with st.container(horizontal=True, gap="xsmall", key="labels"):
        for key, name in zip(keys, names, strict=False):
            st.button(
                ui.plain_text(name, 24),
                shortcut=key,
                key=f"label-{key}-{actions.digest}",
                disabled=name == row.given_label,
                on_click=actions.decide,
                args=(Decision.WRONG, name),
            )
    if others:
        _show_other_labels(actions, others)


def _show_ticks(near: NearRows) -> None:
    """Show the key that ticks similar rows, and how many rows a decision is about."""
    ticked = len(near.ticked)
    if not ticked and not near.similar:
        return
    label = "Only this row" if ticked else f"Same for {len(near.similar)} similar"
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="ticks"):
        st.button(label, shortcut="S", key=f"similar-{near.digest}", on_click=near.tick_similar)
        if ticked:
            st.caption(f"A decision is about {1 + ticked} rows: this one and {ticked} below.")


def _show_other_labels(actions: RowActions, others: list[str]) -> None:
    key = f"other-{actions.digest}"

    def decide() -> None:
        if name := st.session_state.get(key):
            st.session_state[key] = None
            actions.decide(Decision.WRONG, name)

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


def _labels(actions: RowActions) -> tuple[list[str], list[str]]:
    """Return the labels with a key of their own, and the other labels.

    Up to ten classes keep their keys. Otherwise the labels with keys are those most often suggested for the given one.
    """
    names = actions.tables.class_names()
    if len(names) <= len(KEYS):
        return names, []
    given = actions.row.given_label
    pairs = [pair for pair in actions.tables.confusions().to_pylist() if pair["given_label"] == given]
    pairs.sort(key=lambda pair: -pair["examples"])
    likely = dict.fromkeys([actions.row.suggested_label, *(pair["suggested_label"] for pair in pairs)])
    first = [name for name in likely if name in names and name != given][: len(KEYS)]
    return first, [name for name in names if name not in first and name != given]


def _current_verdict(shown: Selection, row: Row) -> Markup:
    verdicts = session.current_verdicts(shown.audit)
    if verdicts is None and row.verdict:
        chip, who = ui.verdict_chip(row.verdict, row.right_label, row.remove_reason), "when the audit was made"
    elif verdict := (verdicts or {}).get(labeled_example(row)):
        chip = ui.verdict_chip(*verdict.answer)
        who = f"by {ui.clip(verdict.reviewer, 100)}, {ui.moment(verdict.decided_at)}"
    else:
        chip, who = ui.chip("undecided"), ""
    return ui.fill('<div class="said">{chip}<bdi>{who}</bdi></div>', chip=chip, who=who)


def _show_probabilities(tables: AuditQueries, row: Row) -> None:
    if row.status != "scored":
        return
    shares = tables.probabilities(row.example_id, row.fold or 0)
    first = dict(list(shares.items())[:_PROBABILITIES])
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
        '<div class="head"><p>Predicted by a model that did not see this row</p></div><div class="bars">{bars}</div>',
        bars=bars,
    )


def _show_values(row: Row) -> None:
    values = {
        "id": row.example_id,
        "likely wrong": ui.share(row.p_wrong),
        "label score": ui.score(row.label_score),
        **({} if row.views_agree is None else {"views for one other label": f"{row.views_agree:g}"}),
        **({} if row.outlier_score is None else {"distance from others": f"{row.outlier_score:.2f} times the usual"}),
        **({} if row.input_issues is None else {"input": ", ".join(split_issues(row.input_issues))}),
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
