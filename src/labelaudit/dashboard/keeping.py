"""The decisions of one session: kept until they are stored, and taken back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import NamedTuple, ParamSpec

import streamlit as st

from labelaudit.dashboard import session, ui
from labelaudit.dashboard.decisions import is_repeated, undoing
from labelaudit.dashboard.queries import Address
from labelaudit.errors import LabelauditError, ReviewError, StorageUnavailableError
from labelaudit.reviews.verdicts import Verdict

# Of decisions that can be taken back in a session.
UNDONE = 200
# Of decisions that are not stored, by name.
NAMED = 5

_Arguments = ParamSpec("_Arguments")


class Step(NamedTuple):
    """A decision of this session, wherever the session has gone since."""

    dataset: str
    address: Address
    verdict: Verdict
    before: Verdict | None = None  # what held, as far as was known when it was stored


class Kept:
    """The decisions of one session, the last one last. Safe for threads.

    Streamlit may end a callback at any access to its session state, and begin the next one while it still runs. So
    this is one object: what a callback does to it is done as a whole, and no two do it at once.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []  # can be taken back
        self.unsaved: list[Step] = []  # are not stored yet
        self._lock = threading.RLock()

    def store(self, step: Step) -> None:
        """Store a decision, which is kept until that is done; one on the same row that waits is replaced.

        Raises `LabelauditError` where it could not be stored.
        """
        about = (step.dataset, step.verdict.judged)
        with self._lock:
            others = [other for other in self.unsaved if (other.dataset, other.verdict.judged) != about]
            self.unsaved = [*others, step]
            self._store(step)

    def store_unsaved(self) -> None:
        """Try all again: one that is refused holds up no other, a storage that does not answer holds up all.

        Raises the first `LabelauditError`.
        """
        refusals: list[LabelauditError] = []
        with self._lock:
            for step in self.unsaved:
                try:
                    self._store(step)
                except StorageUnavailableError:
                    raise
                except LabelauditError as error:
                    refusals.append(error)
        if refusals:
            raise refusals[0]

    def forget(self, forgotten: Sequence[Step]) -> None:
        with self._lock:
            self.unsaved = [step for step in self.unsaved if step not in forgotten]

    def undo(self, step: Step, reviewer: str) -> bool:
        """Bring back what held before, in the dataset of the decision; False where that is done already.

        Raises `ReviewError` where the decision does not hold any more, and `LabelauditError` where nothing was stored.
        """
        with self._lock:
            if step not in self.steps:
                return False
            decisions = session.decisions(step.dataset)
            decisions.expire()
            holding = decisions.holding().get(step.verdict.judged)
            if is_repeated(step.verdict, holding):
                decisions.add(decisions.later(undoing(step.verdict, step.before, reviewer)))
            self.steps = [other for other in self.steps if other != step]
        if not is_repeated(step.verdict, holding):
            raise ReviewError(_since(step.verdict, holding))
        return True

    def _store(self, step: Step) -> None:
        decisions = session.decisions(step.dataset)
        decisions.expire()
        before = decisions.known().get(step.verdict.judged)
        # The second of two clicks, or one decision made twice.
        if not is_repeated(step.verdict, before):
            decisions.add(step.verdict)
            self.steps = [*self.steps, step._replace(before=before)][-UNDONE:]
        self.forget([step])


def kept() -> Kept:
    """Of this session."""
    if "kept" not in st.session_state:
        st.session_state["kept"] = Kept()
    found: Kept = st.session_state["kept"]
    return found


def telling(callback: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """A callback whose errors the next page tells of. Streamlit would show a traceback."""

    @wraps(callback)
    def told(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except LabelauditError as error:
            st.session_state["problem"] = str(error)

    return told


def show_unsaved() -> None:
    """What went wrong, and what is not stored yet."""
    # A place of its own, also when it is empty: the browser draws anew whatever moves.
    with st.container():
        if problem := st.session_state.pop("problem", None):
            st.error(ui.plain(problem, 1000))
        mine = kept()
        if mine.unsaved:
            _show_waiting(mine, mine.unsaved)


def _show_waiting(mine: Kept, waiting: Sequence[Step]) -> None:
    said, again, drop = st.columns([6, 2, 2], vertical_alignment="center")
    with said:
        named = [
            ui.fill(
                "<li>{chip} on <bdi>{id}</bdi> of <bdi>{dataset}</bdi></li>",
                chip=ui.verdict_chip(step.verdict.verdict, step.verdict.right_label),
                id=ui.clip(step.verdict.example_id, 100),
                dataset=ui.clip(step.dataset, 100),
            )
            for step in waiting[:NAMED]
        ]
        more = [ui.fill("<li>and {count} more</li>", count=len(waiting) - NAMED)] if len(waiting) > NAMED else []
        ui.html('Not stored yet:<ul class="notes">{items}</ul>', items=ui.joined([*named, *more]))
    again.button("Try again", key="again", on_click=telling(mine.store_unsaved), type="primary", width="stretch")
    drop.button("Forget", key="forget", on_click=mine.forget, args=(waiting,), width="stretch")


def _since(verdict: Verdict, holding: Verdict | None) -> str:
    """Why a decision cannot be taken back."""
    if holding is None:
        return f"The decision on {verdict.example_id!r} was taken back already."
    arrow = f" \N{RIGHTWARDS ARROW} {holding.right_label}" if holding.right_label else ""
    return (
        f"{holding.reviewer} decided on {verdict.example_id!r} since: {holding.verdict}{arrow}. That stays; "
        "decide anew to change it."
    )
