"""All verdicts on one dataset, and the one rule that decides which new ones are stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from labelaudit.errors import ReviewError, StorageError
from labelaudit.reviews.verdict_store import VerdictBatch, append_verdicts, read_verdict_batches
from labelaudit.reviews.verdicts import (
    NO_ANSWER,
    Content,
    CurrentVerdicts,
    Verdict,
    current,
    current_by_reviewer,
    latest_on_contents,
)
from labelaudit.storage.store import Store


@dataclass(frozen=True)
class Added:
    """New verdicts, sorted by the rule."""

    new: list[Verdict]  # to store
    repeated: int = 0  # the answer is current already
    overruled: int = 0  # the reviewer's earlier answer again, but someone else decided otherwise since


def sort_new(verdicts: Iterable[Verdict], stored: Iterable[Verdict]) -> Added:
    """Apply the rule: return which verdicts to store.

    A verdict is new if its answer differs from the reviewer's last answer on the same labeled example (for a removal,
    on the same content). The same answer
    is new only if someone else's differing answer is current and the reviewer decided again after the last answer.
    Taking a verdict back is new if there is a current one, even from someone else.
    """
    verdicts = list(verdicts)
    about = _on_same_contents(stored, verdicts)
    standing, by_reviewer = current(about), current_by_reviewer(about)
    new, repeated, overruled = [], 0, 0
    for verdict in verdicts:
        newest = standing.get(verdict.example)
        current_answer = newest.answer if newest else NO_ANSWER
        mine = newest if verdict.verdict is None else _last_of(verdict, by_reviewer)
        if verdict.answer != (mine.answer if mine else NO_ANSWER):
            new.append(verdict)
        elif verdict.answer == current_answer:
            repeated += 1
        elif mine is not None and verdict.decided_at > mine.decided_at:
            new.append(verdict)
        else:
            overruled += 1
    return Added(new, repeated, overruled)


def _on_same_contents(stored: Iterable[Verdict], verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the stored verdicts on the contents of others: a removal applies under every label."""
    contents = {verdict.example.content for verdict in verdicts}
    return [verdict for verdict in stored if verdict.example.content in contents]


def _last_of(verdict: Verdict, by_reviewer: Mapping[str, CurrentVerdicts[Verdict]]) -> Verdict | None:
    """Return the last verdict of the same reviewer on the same example."""
    mine = by_reviewer.get(verdict.reviewer)
    return None if mine is None else mine.get(verdict.example)


class Reviews:
    """All verdicts on one dataset. Each stored object is read once, because it never changes. Thread-safe.

    A new object is empty: call `refresh` before you read or add.
    """

    def __init__(self, store: Store, dataset: str, *, read_only: bool = False) -> None:
        self._store = store
        self._dataset = dataset
        self._read_only = read_only
        self._batches: dict[str, VerdictBatch] = {}
        self._latest: dict[Content, Verdict] = {}
        self._current: CurrentVerdicts[Verdict] = current(())
        self._refreshed = float("-inf")
        self._lock = threading.Lock()

    @property
    def current(self) -> CurrentVerdicts[Verdict]:
        """The current verdict on each labeled example, as last read."""
        return self._current

    @property
    def problems(self) -> list[ReviewError]:
        """One error for each stored object that cannot be read. The verdicts in it are missing here."""
        with self._lock:
            return [batch for batch in self._batches.values() if isinstance(batch, ReviewError)]

    def refresh(self, max_age_seconds: float = 0.0) -> None:
        """Read what is new in storage, unless the last read was less than `max_age_seconds` ago.

        Raises:
            StorageError: if the storage cannot be read. What was read before stays.
        """
        with self._lock:
            if time.monotonic() - self._refreshed >= max_age_seconds:
                self._batches = read_verdict_batches(self._store, self._dataset, self._batches).by_key
                self._update()
                self._refreshed = time.monotonic()

    def dated_now(self, verdict: Verdict) -> Verdict:
        """Return a verdict that was decided now, dated later than the one that the reviewer has seen.

        Call this when the reviewer decides, not when the verdict is stored: someone else may decide in between.
        """
        with self._lock:
            return verdict.after(self._latest.get(verdict.example.content))

    def dated_as_imported(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Return verdicts of a file, which does not say when they were decided.

        An answer that repeats the reviewer's last one keeps the time of that one: it is the same verdict again. So a
        second import of a file never overrules someone who decided in between. Other answers were decided now.
        """
        verdicts = list(verdicts)
        with self._lock:
            by_reviewer = current_by_reviewer(_on_same_contents(self._verdicts(), verdicts))
        dated = []
        for verdict in verdicts:
            last = _last_of(verdict, by_reviewer)
            is_same = last is not None and last.answer == verdict.answer
            dated.append(replace(verdict, decided_at=last.decided_at) if last and is_same else self.dated_now(verdict))
        return dated

    def add(self, verdicts: Sequence[Verdict]) -> Added:
        """Store verdicts that are new by the rule of `sort_new`, all of them or none.

        Raises:
            ReviewError: if the reviews are read-only.
            StorageError: if the storage refuses. Nothing is stored.
        """
        with self._lock:
            added = sort_new(verdicts, self._verdicts())
        if not added.new:
            return added
        count = len(added.new)
        what = f"The verdict on {added.new[0].example_id!r} was" if count == 1 else f"{count:,} verdicts were"
        if self._read_only:
            raise ReviewError(
                f"{what} not stored: this dashboard is read-only. Restart it without --read-only to decide."
            )
        try:
            key = append_verdicts(self._store, self._dataset, added.new)
        except OSError as error:
            raise StorageError(f"{what} not stored: {error}. Repair the storage, then try again.") from error
        with self._lock:
            self._batches[key] = added.new
            self._update()
        return added

    def _verdicts(self) -> list[Verdict]:
        return [one for batch in self._batches.values() if not isinstance(batch, ReviewError) for one in batch]

    def _update(self) -> None:
        self._latest = latest_on_contents(self._verdicts())
        self._current = current(self._verdicts())
