"""Verdicts in storage: append-only, each batch an object of its own, so that two reviewers never meet."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from labelaudit.review.verdicts import Verdict
from labelaudit.storage.layout import verdicts_folder
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.store import Store

# Small objects, each a request of its own.
READERS = 16


def append_verdicts(store: Store, dataset: str, verdicts: Sequence[Verdict]) -> str:
    """Store verdicts as one new object; returns its key."""
    # Names in the order of time are for people; the order that counts stands in the verdicts.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:12]}.json"
    key = f"{verdicts_folder(dataset)}/{name}"
    store.write(key, dump_json({"verdicts": [verdict.to_record() for verdict in verdicts]}))
    return key


def read_verdicts(store: Store, dataset: str) -> list[Verdict]:
    """All verdicts on a dataset, in the order in which they were stored. Raises `ReviewError` for a broken one."""
    keys = [file.path for file in store.find(verdicts_folder(dataset)) if file.path.endswith(".json")]
    with ThreadPoolExecutor(READERS) as pool:
        records = list(pool.map(partial(read_json, store), keys))
    return [Verdict.from_record(record) for batch in records for record in batch.get("verdicts", ())]
