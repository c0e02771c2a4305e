"""What people decided, as all of them see it, and how one more decision gets there."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from labelaudit.dashboard.queries import Row
from labelaudit.errors import ReviewError, StorageError
from labelaudit.review.verdicts import Judged, Verdict, last_words, now, standing
from labelaudit.schemas import Decision
from labelaudit.steps.history import AuditRecord
from labelaudit.steps.verdicts import Batch, append_verdicts, read_batches
from labelaudit.storage.store import Store

# Decisions of others are seen after so long; one's own at once.
FRESH_SECONDS = 5.0


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
        """The newest verdict on each content and label."""
        with self._lock:
            self._look()
            return self._holding

    def problems(self) -> list[ReviewError]:
        """Of each object that cannot be read, why: what it decides is missing here."""
        with self._lock:
            self._look()
            return [batch for batch in self._batches.values() if isinstance(batch, ReviewError)]

    def add(self, verdict: Verdict) -> None:
        """Store one more, decided after what is known of its row.

        Raises `ReviewError` in read-only mode, `StorageError` where it was not stored.
        """
        if self._read_only:
            raise ReviewError(
                f"The decision on {verdict.example_id!r} was not stored: this dashboard is read-only. "
                "Start it without --read-only to decide."
            )
        try:
            with self._lock:
                self._look()
                verdict = verdict.after(self._last.get(verdict.judged))
            key = append_verdicts(self._store, self._dataset, [verdict])
        except OSError as error:
            raise StorageError(
                f"The decision on {verdict.example_id!r} was not stored: {error}. Mend the storage, then try again."
            ) from error
        with self._lock:
            self._batches[key] = [verdict]
            self._settle()

    def _look(self) -> None:
        if time.monotonic() - self._looked > FRESH_SECONDS:
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


def verdict_on(
    row: Row, audit: AuditRecord, decision: Decision | None, right_label: str | None, reviewer: str
) -> Verdict:
    """A verdict of now. Raises `ReviewError` where no label was given, or none of it is right."""
    if row.given_label is None:
        raise ReviewError(f"{row.example_id!r} has no label that could be judged. Label it in the dataset.")
    return Verdict(
        *judged(row),
        verdict=decision,
        right_label=right_label,
        reviewer=reviewer,
        decided_at=now(),
        audit_id=audit.audit_id,
        was_flagged=row.was_flagged,
    )


def undoing(verdict: Verdict, before: Verdict | None) -> Verdict:
    """The verdict that brings back what held before another one, in the name of who undoes it."""
    return replace(
        verdict,
        verdict=before.verdict if before else None,
        right_label=before.right_label if before else None,
        decided_at=now(),
    )


def as_columns(holding: dict[Judged, Verdict]) -> tuple[Sequence[str | None], ...]:
    """ids, digests, labels and decisions of verdicts, as queries take them."""
    ids, digests, labels = zip(*holding, strict=True) if holding else ((), (), ())
    return list(ids), list(digests), list(labels), [str(verdict.verdict) for verdict in holding.values()]
