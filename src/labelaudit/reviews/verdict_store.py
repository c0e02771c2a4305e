"""Verdicts in storage: append-only, one object per batch, so that reviewers never overwrite each other.

A compacted object is a copy of many batches, which saves readers a request per batch. It is only a copy: a batch counts
as long as its own object exists, and copies may be missing, damaged, or overlap.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from pydantic import TypeAdapter

from labelaudit.errors import ReviewError, StorageError
from labelaudit.reviews.records import from_json
from labelaudit.reviews.verdicts import Verdict
from labelaudit.storage.layout import compacted_verdicts_folder, verdicts_folder
from labelaudit.storage.manifest import digest_of, dump_json
from labelaudit.storage.store import Store

# Objects are small, so the time goes into waiting for answers.
PARALLEL_READS = 16
# Reading this many batches one by one takes a second or two if the storage answers in 20 ms.
LOOSE_BATCHES = 1000

# The verdicts of one object, or why it cannot be read.
VerdictBatch = list[Verdict] | ReviewError
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _BatchFile:
    verdicts: list[Verdict]


@dataclass(frozen=True)
class _CompactedFile:
    batches: dict[str, _BatchFile]  # by file name


_BATCH_FILE = TypeAdapter(_BatchFile)
_COMPACTED_FILE = TypeAdapter(_CompactedFile)


class Batches(NamedTuple):
    """All objects of verdicts on a dataset, in the order of their keys."""

    by_key: dict[str, VerdictBatch]
    loose: list[str]  # keys of those that were read one by one

    def verdicts(self) -> list[Verdict]:
        """Return all verdicts.

        Raises:
            ReviewError: if an object cannot be read.
        """
        return [verdict for batch in self.by_key.values() for verdict in _readable(batch)]


def append_verdicts(store: Store, dataset: str, verdicts: Sequence[Verdict]) -> str:
    """Store verdicts as one new object and return its key."""
    # The time in the name is for people. Only the times in the verdicts decide which one is the latest.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:12]}.json"
    key = f"{verdicts_folder(dataset)}/{name}"
    store.write(key, batch_bytes(verdicts))
    return key


def read_verdicts(store: Store, dataset: str) -> list[Verdict]:
    """Return all verdicts on a dataset in the order in which they were stored.

    Raises:
        ReviewError: if an object cannot be read.
    """
    return read_verdict_batches(store, dataset).verdicts()


def read_and_compact_verdicts(store: Store, dataset: str) -> list[Verdict]:
    """Return the same as `read_verdicts`. If many objects were read one by one, store a copy for later readers."""
    batches = read_verdict_batches(store, dataset)
    verdicts = batches.verdicts()
    if len(batches.loose) > LOOSE_BATCHES:
        _compact(store, dataset, {key: _readable(batches.by_key[key]) for key in batches.loose})
    return verdicts


def read_verdict_batches(store: Store, dataset: str, known: Mapping[str, VerdictBatch] | None = None) -> Batches:
    """Return all objects of verdicts. One that cannot be read does not hide the others.

    Args:
        store: The store of the output.
        dataset: Name of the dataset.
        known: What an earlier call returned, by key. These objects are not read again, because they never change.

    Raises:
        StorageError: if the storage does not answer.
    """
    compacted_folder = compacted_verdicts_folder(dataset)
    found = [file.path for file in store.find(verdicts_folder(dataset)) if file.path.endswith(".json")]
    compacted = [key for key in found if key.startswith(f"{compacted_folder}/")]
    keys = [key for key in found if not key.startswith(f"{compacted_folder}/")]
    # A damaged object is read again, because it may have been repaired.
    batches: dict[str, VerdictBatch] = {
        key: batch for key, batch in (known or {}).items() if not isinstance(batch, ReviewError)
    }
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        # Later calls read only what is new, which is not compacted.
        if not batches:
            for copies in pool.map(partial(_read_compacted, store, dataset), compacted):
                batches.update(copies)
        loose = [key for key in keys if key not in batches]
        batches.update(zip(loose, pool.map(partial(_read_batch, store), loose), strict=True))
    return Batches({key: batches[key] for key in keys}, loose)


def batch_bytes(verdicts: Sequence[Verdict]) -> bytes:
    """Return one object of verdicts as JSON."""
    return dump_json(_batch_record(verdicts))


def batch_verdicts(data: bytes) -> list[Verdict]:
    """Return the verdicts in an object.

    Raises:
        ReviewError: if the object does not contain verdicts. The message is a clause.
    """
    return from_json(_BATCH_FILE, data).verdicts


def _batch_record(verdicts: Iterable[Verdict]) -> dict[str, object]:
    """Return the record of a `_BatchFile`. A reason is left out if there is none."""
    records = [asdict(verdict) for verdict in verdicts]
    for record in records:
        if record["remove_reason"] is None:
            del record["remove_reason"]
    return {"verdicts": records}


def _compact(store: Store, dataset: str, batches: Mapping[str, list[Verdict]]) -> None:
    folder = verdicts_folder(dataset)
    copies = {key.removeprefix(f"{folder}/"): _batch_record(batch) for key, batch in batches.items()}
    # If two processes copy the same batches, both write the same bytes.
    key = f"{compacted_verdicts_folder(dataset)}/{digest_of(sorted(copies))}.json"
    try:
        store.create(key, dump_json({"batches": copies}))
    except StorageError as error:
        _log.warning("Verdicts are read one by one, because their copy was not stored: %s", error)


def _read_compacted(store: Store, dataset: str, key: str) -> dict[str, VerdictBatch]:
    """Return batches by key; none if the object is damaged, so that the originals are read."""
    data = store.read(key)
    try:
        copies = from_json(_COMPACTED_FILE, data).batches
    except ReviewError as error:
        _log.warning("%s is not a copy of verdicts (%s). Remove it.", store.url_of(key), error)
        return {}
    return {f"{verdicts_folder(dataset)}/{name}": copy.verdicts for name, copy in copies.items()}


def _read_batch(store: Store, key: str) -> VerdictBatch:
    data = store.read(key)
    try:
        return batch_verdicts(data)
    except ReviewError as error:
        return ReviewError(
            f"{store.url_of(key)} cannot be read as verdicts: {error}. Repair it, or move it elsewhere and decide "
            "these rows again."
        )


def _readable(batch: VerdictBatch) -> list[Verdict]:
    if isinstance(batch, ReviewError):
        raise batch
    return batch
