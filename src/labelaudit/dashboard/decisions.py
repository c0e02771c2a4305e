"""What people decided, as all of them see it, and how one more decision gets there."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard.queries import Row
from labelaudit.errors import ReviewError, StorageError
from labelaudit.reviews.verdict_store import Batch, append_verdicts, read_batches
from labelaudit.reviews.verdicts import Judged, Verdict, last_words, now, standing
from labelaudit.schemas import Decision, Status
from labelaudit.storage.store import Store

# Decisions of others are seen after so long; one's own at once.
FRESH_SECONDS = 5.0
NO_NAME = "Write your name into the field Reviewer of the sidebar: every decision bears one."


class Decisions:
    """All verdicts on one dataset, read once each: objects of verdicts never change. Safe for threads."""

    def __init__(self, store: Store, dataset: str, *, read_only: bool) -> None:
        self._store = store
        self._dataset = dataset
        self._read_only = read_only
        self._batches: dict[str, Batch] = {}
        self._last: dict[Judged, Verdict] = {}
        self._holding: dict[Judged, Verdict] = {}
        self._looked = float("-inf")
        self._lock = threading.Lock()

    def holding(self) -> dict[Judged, Verdict]:
        """The newest verdict on each content and label. Raises `StorageError` where the storage refuses."""
        with self._lock:
            self._look()
            return self._holding

    def expire(self) -> None:
        """Who asks next sees also what others decided a moment ago."""
        with self._lock:
            self._looked = float("-inf")

    def known(self) -> dict[Judged, Verdict]:
        """As `holding`, and what was seen last where the storage refuses: no decision waits for those of others."""
        with contextlib.suppress(StorageError):
            return self.holding()
        return self._holding

    def problems(self) -> list[ReviewError]:
        """Of each object that cannot be read, why: what it decides is missing here."""
        with self._lock:
            self._look()
            return [batch for batch in self._batches.values() if isinstance(batch, ReviewError)]

    def later(self, verdict: Verdict) -> Verdict:
        """The same decision, later than all that was seen on its row, whatever the clocks say.

        To be asked for when it is made, and not when it is stored: somebody else may have decided in between.
        """
        with self._lock:
            return verdict.after(self._last.get(verdict.judged))

    def add(self, verdict: Verdict) -> None:
        """Store one more.

        Raises `ReviewError` in read-only mode, `StorageError` where it was not stored.
        """
        if self._read_only:
            raise ReviewError(
                f"The decision on {verdict.example_id!r} was not stored: this dashboard is read-only. "
                "Start it without --read-only to decide."
            )
        try:
            key = append_verdicts(self._store, self._dataset, [verdict])
        except OSError as error:
            raise StorageError(
                f"The decision on {verdict.example_id!r} was not stored: {error}. Mend the storage, then try again."
            ) from error
        with self._lock:
            self._batches[key] = [verdict]
            self._settle()

    def _look(self) -> None:
        if time.monotonic() - self._looked >= FRESH_SECONDS:
            self._batches = read_batches(self._store, self._dataset, self._batches).by_key
            self._settle()
            self._looked = time.monotonic()

    def _settle(self) -> None:
        batches = [batch for batch in self._batches.values() if not isinstance(batch, ReviewError)]
        self._last = last_words(verdict for batch in batches for verdict in batch)
        self._holding = standing(self._last)


def judged(row: Row) -> Judged:
    """What a verdict on the row is about. Rows without a label are not judged, and have an empty one here."""
    return Judged(row.example_id, row.content_digest, row.given_label or "")


def why_undecidable(row: Row) -> str | None:
    """Why nobody can decide on a row; None where one can."""
    if row.status == Status.DUPLICATE_ID:
        return (
            f"Another row has the id {row.example_id!r} too, and a decision could not tell them apart. Give each row "
            "an id of its own in the dataset."
        )
    if row.given_label is None:
        return f"{row.example_id!r} has no label that could be judged. Label it in the dataset."
    return None


def verdict_on(
    row: Row, audit: AuditRecord, decision: Decision | None, right_label: str | None, reviewer: str
) -> Verdict:
    """A verdict of now. Raises `ReviewError` for a row that cannot be judged, a decision that contradicts itself, and
    without a reviewer."""
    if problem := why_undecidable(row):
        raise ReviewError(problem)
    if not reviewer:
        raise ReviewError(NO_NAME)
    return Verdict(
        *judged(row),
        verdict=decision,
        right_label=right_label,
        reviewer=reviewer,
        decided_at=now(),
        audit_id=audit.audit_id,
        was_flagged=row.was_flagged,
    )


def undoing(verdict: Verdict, before: Verdict | None, reviewer: str) -> Verdict:
    """The verdict of now that brings back what held before another one. Raises `ReviewError` without a reviewer."""
    if not reviewer:
        raise ReviewError(NO_NAME)
    return replace(
        verdict,
        verdict=before.verdict if before else None,
        right_label=before.right_label if before else None,
        reviewer=reviewer,
        decided_at=now(),
    )


def is_repeated(verdict: Verdict, holding: Verdict | None) -> bool:
    """Whether what holds is the same decision of the same reviewer."""
    words = (verdict.verdict, verdict.right_label, verdict.reviewer)
    return holding is not None and words == (holding.verdict, holding.right_label, holding.reviewer)


def as_columns(holding: dict[Judged, Verdict]) -> tuple[Sequence[str | None], ...]:
    """ids, digests, labels and decisions of verdicts, as queries take them."""
    ids, digests, labels = zip(*holding, strict=True) if holding else ((), (), ())
    return list(ids), list(digests), list(labels), [str(verdict.verdict) for verdict in holding.values()]
