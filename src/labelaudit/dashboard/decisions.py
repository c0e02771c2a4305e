"""What people decided, as all of them see it, and how one more decision gets there."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from labelaudit.dashboard.queries import Row
from labelaudit.errors import ReviewError, StorageError
from labelaudit.review.verdicts import Judged, Verdict, newest
from labelaudit.schemas import Decision, Status
from labelaudit.steps.history import AuditRecord
from labelaudit.steps.verdicts import READERS, append_verdicts
from labelaudit.storage.layout import verdicts_folder
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
        self._batches: dict[str, list[Verdict] | ReviewError] = {}
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
        """Of each object that holds no verdicts, what is wrong with it."""
        with self._lock:
            self._look()
            return [batch for batch in self._batches.values() if isinstance(batch, ReviewError)]

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

    def _look(self) -> None:
        """Read what is new, unless that was done a moment ago."""
        if time.monotonic() - self._looked < FRESH_SECONDS:
            return
        keys = [file.path for file in self._store.find(verdicts_folder(self._dataset)) if file.path.endswith(".json")]
        # What is broken may have been mended since.
        unread = [key for key in keys if not isinstance(self._batches.get(key), list)]
        with ThreadPoolExecutor(READERS) as pool:
            self._batches.update(zip(unread, pool.map(partial(_read, self._store), unread), strict=True))
        # Also those that somebody removed.
        for gone in self._batches.keys() - set(keys):
            del self._batches[gone]
        self._settle()
        self._looked = time.monotonic()

    def _settle(self) -> None:
        batches = [batch for batch in self._batches.values() if isinstance(batch, list)]
        self._holding = newest(verdict for batch in batches for verdict in batch)


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


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def as_columns(holding: dict[Judged, Verdict]) -> tuple[Sequence[str | None], ...]:
    """ids, digests, labels and decisions of verdicts, as queries take them."""
    ids, digests, labels = zip(*holding, strict=True) if holding else ((), (), ())
    return list(ids), list(digests), list(labels), [str(verdict.verdict) for verdict in holding.values()]


def _read(store: Store, key: str) -> list[Verdict] | ReviewError:
    """The verdicts of one object, or what is wrong with it. Raises `StorageError` where the storage refuses."""
    data = store.read(key)
    try:
        return [Verdict.from_record(record) for record in json.loads(data)["verdicts"]]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        return ReviewError(f"{store.url_of(key)} holds no verdicts ({str(error)[:200]}). Mend it, or remove it.")
