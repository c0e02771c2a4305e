"""Random samples in storage, append-only beside the verdicts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from labelaudit.errors import ReviewError
from labelaudit.reviews.sampling import Sample
from labelaudit.reviews.verdict_store import READERS
from labelaudit.storage.layout import samples_folder
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store


def store_sample(store: Store, dataset: str, sample: Sample) -> str:
    """Store a sample unless the same one is there; returns its key."""
    sizes = "-".join(str(len(stratum.sampled)) for stratum in sample.strata)
    key = f"{samples_folder(dataset)}/{sample.audit_id}-seed-{sample.seed}-{sizes}.json"
    # Two at once are of the same rows, so either may stand: no conditional write, for which the storage would be probed
    # where a reviewer may not write.
    if not store.exists(key):
        store.write(key, dump_json(sample.to_record()))
    return key


def read_samples(store: Store, dataset: str) -> list[Sample]:
    """All samples of a dataset, in the order of their keys. Raises `ReviewError` for a broken one."""
    keys = [file.path for file in store.find(samples_folder(dataset)) if file.path.endswith(".json")]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(partial(_read_sample, store), keys))


def _read_sample(store: Store, key: str) -> Sample:
    data = store.read(key)
    try:
        return Sample.from_record(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise ReviewError(
            f"{store.url_of(key)} cannot be read as a sample: {error}. Remove it; the same audit and seed give the "
            "same sample again."
        ) from error
