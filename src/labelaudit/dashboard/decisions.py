"""What people decided, as all of them see it, and how one more decision gets there."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from labelaudit.dashboard.queries import Row
from labelaudit.errors import ReviewError, StorageError, StorageUnavailableError
from labelaudit.review.verdicts import Judged, Verdict, newest
from labelaudit.schemas import Decision
from labelaudit.steps.history import AuditRecord
from labelaudit.steps.verdicts import READERS, append_verdicts
from labelaudit.storage.layout import verdicts_folder
from labelaudit.storage.manifest import read_json
from labelaudit.storage.store import Store

# Decisions of others are seen after so long; one's own at once.
FRESH_SECONDS = 5.0


class Decisions:
    """All verdicts on one dataset, read once each: objects of verdicts never change. Safe for threads."""

    def __init__(self, store: Store, dataset: str, *, read_only: bool) -> None:
        self._store = store
        self._dataset = dataset
        self._read_only = read_only
        self._batches: dict[str, list[Verdict]] = {}
        self._holding: dict[Judged, Verdict] = {}
        self._looked = float("-inf")
        self._lock = threading.Lock()
        self.unreadable: tuple[str, ...] = ()  # keys of objects that hold no verdicts

    def holding(self) -> dict[Judged, Verdict]:
        """The newest verdict on each content and label."""
        with self._lock:
            if time.monotonic() - self._looked > FRESH_SECONDS:
                self._read_new()
            return self._holding

    def add(self, verdict: Verdict) -> None:
        """Store one more. Raises `ReviewError` in read-only mode, `StorageError` where it was not stored."""
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

    def _read_new(self) -> None:
        keys = [file.path for file in self._store.find(verdicts_folder(self._dataset)) if file.path.endswith(".json")]
        unread = [key for key in keys if key not in self._batches]
        with ThreadPoolExecutor(READERS) as pool:
            batches = list(pool.map(partial(_read, self._store), unread))
        self._batches.update(zip(unread, (batch or [] for batch in batches), strict=True))
        broken = [key for key, batch in zip(unread, batches, strict=True) if batch is None]
        self.unreadable = (*self.unreadable, *broken)
        # Also those that somebody removed.
        for gone in self._batches.keys() - set(keys):
            del self._batches[gone]
        self._settle()
        self._looked = time.monotonic()

    def _settle(self) -> None:
        self._holding = newest(verdict for batch in self._batches.values() for verdict in batch)


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


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def as_columns(holding: dict[Judged, Verdict]) -> tuple[Sequence[str | None], ...]:
    """ids, digests, labels and decisions of verdicts, as queries take them."""
    ids, digests, labels = zip(*holding, strict=True) if holding else ((), (), ())
    return list(ids), list(digests), list(labels), [str(verdict.verdict) for verdict in holding.values()]


def _read(store: Store, key: str) -> list[Verdict] | None:
    """The verdicts of one object; None where it holds something else."""
    try:
        return [Verdict.from_record(record) for record in read_json(store, key).get("verdicts", ())]
    except StorageUnavailableError:
        raise
    except (StorageError, ReviewError, TypeError, AttributeError):
        return None
