"""The verdicts given in one session: kept until they are stored, and undone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from functools import wraps
from typing import NamedTuple, ParamSpec

import streamlit as st

from labelaudit.dashboard import session, ui
from labelaudit.dashboard.queries import Address
from labelaudit.dashboard.row_verdicts import undo_verdict
from labelaudit.errors import LabelauditError, ReviewError, StorageError, StorageUnavailableError
from labelaudit.reviews.verdicts import LabeledExample, Verdict

# Verdicts that a session can undo.
MAX_UNDO = 200
# Verdicts that are not stored, as far as the page lists them.
LISTED = 5

_Arguments = ParamSpec("_Arguments")


class SessionVerdict(NamedTuple):
    """A verdict given in this session, with its row. Its dataset need not be the one that is shown now."""

    dataset: str
    address: Address
    verdict: Verdict
    replaced: Verdict | None = None  # the current verdict when this one was stored, as far as known
    also: tuple[SessionVerdict, ...] = ()  # those on other rows with the same key: stored and undone together

    @property
    def members(self) -> tuple[SessionVerdict, ...]:
        """This verdict and the others with the same key, each alone."""
        return (self._replace(also=()), *self.also)


def _together(members: Sequence[SessionVerdict]) -> SessionVerdict:
    return members[0]._replace(also=tuple(members[1:]))


class ReviewSession:
    """The verdicts of one session, oldest first. Thread-safe.

    Streamlit may end a callback whenever it uses the session state, and start the next one while it still runs. So one
    object with a lock contains all of it: each change is atomic.
    """

    def __init__(self) -> None:
        self.undoable: list[SessionVerdict] = []
        self.unsaved: list[SessionVerdict] = []
        self._lock = threading.RLock()

    def store(self, given: SessionVerdict) -> None:
        """Store a verdict. If that fails, it stays in `unsaved` and replaces one on the same row there.

        Raises:
            LabelauditError: if it was not stored.
        """
        about = {member.verdict.example for member in given.members}
        with self._lock:
            others = [_without(other, about) if other.dataset == given.dataset else other for other in self.unsaved]
            self.unsaved = [*(other for other in others if other is not None), given]
            self._store(given)

    def store_unsaved(self) -> None:
        """Try to store all unsaved verdicts again. One that is refused does not stop the others.

        Raises:
            LabelauditError: the first one. If the storage does not answer, the others are not tried.
        """
        refusals: list[LabelauditError] = []
        with self._lock:
            for given in self.unsaved:
                try:
                    self._store(given)
                except StorageUnavailableError:
                    raise
                except LabelauditError as error:
                    refusals.append(error)
        if refusals:
            raise refusals[0]

    def discard(self, given: Sequence[SessionVerdict]) -> None:
        """Remove unsaved verdicts."""
        with self._lock:
            self.unsaved = [one for one in self.unsaved if one not in given]

    def undo(self, given: SessionVerdict, reviewer: str) -> int:
        """Restore what the verdicts replaced that were given with one key, and return on how many rows.

        Verdicts that someone changed since stay as they are.

        Returns:
            0 if they were undone before.

        Raises:
            ReviewError: if someone changed all of them. Nothing is undone then.
            LabelauditError: if nothing was stored.
        """
        with self._lock:
            if given not in self.undoable:
                return 0
            reviews = session.reviews(given.dataset)
            reviews.refresh()
            undone = [member for member in given.members if _is_current(member.verdict, reviews.current)]
            if undone:
                # One object in storage, so all or none are undone.
                reviews.add([reviews.dated_now(undo_verdict(one.verdict, one.replaced, reviewer)) for one in undone])
            self.undoable = [other for other in self.undoable if other != given]
        if not undone:
            raise ReviewError(_why_not_undone(given.verdict, reviews.current.get(given.verdict.example)))
        return len(undone)

    def _store(self, given: SessionVerdict) -> None:
        reviews = session.reviews(given.dataset)
        # A verdict does not wait for those of others.
        with contextlib.suppress(StorageError):
            reviews.refresh()
        members = [one._replace(replaced=reviews.current.get(one.verdict.example)) for one in given.members]
        stored = {verdict.example for verdict in reviews.add([one.verdict for one in members]).new}
        new = [one for one in members if one.verdict.example in stored]
        if new:
            self.undoable = [*self.undoable, _together(new)][-MAX_UNDO:]
        self.discard([given])


def _without(given: SessionVerdict, examples: Set[LabeledExample]) -> SessionVerdict | None:
    """Return verdicts of one key without those on some rows, or None if there are no others."""
    left = [member for member in given.members if member.verdict.example not in examples]
    return _together(left) if left else None


def _is_current(verdict: Verdict, current: Mapping[LabeledExample, Verdict]) -> bool:
    found = current.get(verdict.example)
    return found is not None and (found.answer, found.reviewer) == (verdict.answer, verdict.reviewer)


def review_session() -> ReviewSession:
    """Return the verdicts of this session."""
    if "review_session" not in st.session_state:
        st.session_state["review_session"] = ReviewSession()
    found: ReviewSession = st.session_state["review_session"]
    return found


def show_errors(callback: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Decorate a callback so that the next page shows its error. Streamlit would show a traceback."""

    @wraps(callback)
    def guarded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except LabelauditError as error:
            st.session_state["problem"] = str(error)

    return guarded


def show_unsaved() -> None:
    """Show the last error, and the verdicts that are not stored yet."""
    # A container of its own, even if it is empty: the browser redraws elements that move.
    with st.container():
        if problem := st.session_state.pop("problem", None):
            st.error(ui.plain_text(problem, 1000))
        mine = review_session()
        if mine.unsaved:
            _show_unsaved(mine, mine.unsaved)


def _show_unsaved(mine: ReviewSession, unsaved: Sequence[SessionVerdict]) -> None:
    message, retry, discard = st.columns([6, 2, 2], vertical_alignment="center")
    with message:
        members = [member for one in unsaved for member in one.members]
        items = [
            ui.fill(
                "<li>{chip} on <bdi>{id}</bdi> of <bdi>{dataset}</bdi></li>",
                chip=ui.verdict_chip(*one.verdict.answer),
                id=ui.clip(one.verdict.example_id, 100),
                dataset=ui.clip(one.dataset, 100),
            )
            for one in members[:LISTED]
        ]
        more = [ui.fill("<li>and {count} more</li>", count=len(members) - LISTED)] if len(members) > LISTED else []
        ui.html('Not stored yet:<ul class="notes">{items}</ul>', items=ui.joined([*items, *more]))
    retry.button("Try again", key="again", on_click=show_errors(mine.store_unsaved), type="primary", width="stretch")
    discard.button("Forget", key="forget", on_click=mine.discard, args=(unsaved,), width="stretch")


def _why_not_undone(verdict: Verdict, current: Verdict | None) -> str:
    if current is None:
        return f"The verdict on {verdict.example_id!r} was taken back already."
    said = ui.verdict_in_words(str(current.verdict), current.right_label, current.remove_reason)
    return (
        f"{current.reviewer} decided on {verdict.example_id!r} since: {said}. Nothing was undone. "
        "To change it, decide again."
    )
