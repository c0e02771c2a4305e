"""Verdicts in storage: append-only, each batch an object of its own, so that two reviewers never meet.

A compacted object is a copy of many batches, which saves a request for each of them. What is read does not depend on
it: it counts for those batches alone that are there, and may be missing, broken, or overlap with others.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from labelaudit.errors import ReviewError, StorageError
from labelaudit.reviews.records import checked_fields
from labelaudit.reviews.verdicts import Verdict
from labelaudit.storage.layout import compacted_verdicts_folder, verdicts_folder
from labelaudit.storage.manifest import digest_of, dump_json
from labelaudit.storage.store import Store

# Small objects, each a request of its own.
READERS = 16
# Batches that are read one by one in a second or two, from a storage that answers in 20 ms.
LOOSE_BATCHES = 1000

# The verdicts of one object, or why it cannot be read.
Batch = list[Verdict] | ReviewError
_log = logging.getLogger(__name__)


class Batches(NamedTuple):
    """All objects of verdicts on a dataset, in the order of their keys."""

    by_key: dict[str, Batch]
    loose: list[str]  # keys of those that were read one by one

    def verdicts(self) -> list[Verdict]:
        """All verdicts. Raises `ReviewError` for an object that cannot be read."""
        return [verdict for batch in self.by_key.values() for verdict in _sound(batch)]


def append_verdicts(store: Store, dataset: str, verdicts: Sequence[Verdict]) -> str:
    """Store verdicts as one new object; returns its key."""
    # Names in the order of time are for people; the order that counts stands in the verdicts.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:12]}.json"
    key = f"{verdicts_folder(dataset)}/{name}"
    store.write(key, dump_json(_record(verdicts)))
    return key


def read_verdicts(store: Store, dataset: str) -> list[Verdict]:
    """All verdicts on a dataset, in the order in which they were stored. Raises `ReviewError` for a broken one."""
    return read_batches(store, dataset).verdicts()


def read_and_compact_verdicts(store: Store, dataset: str) -> list[Verdict]:
    """All verdicts, like `read_verdicts`; where many objects had to be read, their copy is left for later readers."""
    batches = read_batches(store, dataset)
    verdicts = batches.verdicts()
    if len(batches.loose) > LOOSE_BATCHES:
        _compact(store, dataset, {key: _sound(batches.by_key[key]) for key in batches.loose})
    return verdicts


def read_batches(store: Store, dataset: str, known: Mapping[str, Batch] | None = None) -> Batches:
    """The objects of verdicts that are there now; a broken one hides no other.

    known: by key, what an earlier call read; objects never change. Raises `StorageError` where the storage refuses.
    """
    compacted_folder = compacted_verdicts_folder(dataset)
    found = [file.path for file in store.find(verdicts_folder(dataset)) if file.path.endswith(".json")]
    compacted = [key for key in found if key.startswith(f"{compacted_folder}/")]
    keys = [key for key in found if not key.startswith(f"{compacted_folder}/")]
    # What was broken is read again: somebody may have mended it.
    batches: dict[str, Batch] = {
        key: batch for key, batch in (known or {}).items() if not isinstance(batch, ReviewError)
    }
    with ThreadPoolExecutor(READERS) as pool:
        # Later on, what is new is loose.
        if not batches:
            for copies in pool.map(partial(_read_compacted, store, dataset), compacted):
                batches.update(copies)
        loose = [key for key in keys if key not in batches]
        batches.update(zip(loose, pool.map(partial(_read_batch, store), loose), strict=True))
    return Batches({key: batches[key] for key in keys}, loose)


def _compact(store: Store, dataset: str, batches: Mapping[str, Sequence[Verdict]]) -> None:
    folder = verdicts_folder(dataset)
    copies = {key.removeprefix(f"{folder}/"): _record(batch) for key, batch in batches.items()}
    # Of two who copy the same batches, both write the same bytes.
    key = f"{compacted_verdicts_folder(dataset)}/{digest_of(sorted(copies))}.json"
    try:
        store.create(key, dump_json({"batches": copies}))
    except StorageError as error:
        _log.warning("Verdicts are read one by one, because their copy was not stored: %s", error)


def _read_compacted(store: Store, dataset: str, key: str) -> dict[str, Batch]:
    """Batches by their keys; none where the object is broken: then they are read themselves."""
    data = store.read(key)
    try:
        copies = checked_fields(json.loads(data), {"batches": dict})["batches"]
        return {f"{verdicts_folder(dataset)}/{name}": _verdicts(copy) for name, copy in copies.items()}
    except (ValueError, RecursionError) as error:
        _log.warning("%s is no copy of verdicts (%s). Remove it.", store.url_of(key), error)
        return {}


def _read_batch(store: Store, key: str) -> Batch:
    data = store.read(key)
    try:
        return _verdicts(json.loads(data))
    except (ValueError, RecursionError) as error:
        problem = str(error).rstrip(".")
        return ReviewError(
            f"{store.url_of(key)} cannot be read as verdicts: {problem}. Mend it, or move it elsewhere and decide "
            "again what it decided."
        )


def _record(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {"verdicts": [verdict.to_record() for verdict in verdicts]}


def _verdicts(record: Any) -> list[Verdict]:
    """The verdicts of `_record`. Raises `ReviewError` where the record is none."""
    return [Verdict.from_record(one) for one in checked_fields(record, {"verdicts": list})["verdicts"]]


def _sound(batch: Batch) -> list[Verdict]:
    if isinstance(batch, ReviewError):
        raise batch
    return batch
