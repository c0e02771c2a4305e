"""Random samples in storage, append-only beside the verdicts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from labelaudit.review.sampling import Sample
from labelaudit.steps.verdicts import READERS
from labelaudit.storage.layout import samples_folder
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.store import Store


def store_sample(store: Store, dataset: str, sample: Sample) -> str:
    """Store a sample unless the same one is there; returns its key."""
    sizes = "-".join(str(len(stratum.sampled)) for stratum in sample.strata)
    key = f"{samples_folder(dataset)}/{sample.audit_id}-seed-{sample.seed}-{sizes}.json"
    store.create(key, dump_json(sample.to_record()))
    return key


def read_samples(store: Store, dataset: str) -> list[Sample]:
    """All samples of a dataset, in the order of their keys. Raises `ReviewError` for a broken one."""
    keys = [file.path for file in store.find(samples_folder(dataset)) if file.path.endswith(".json")]
    with ThreadPoolExecutor(READERS) as pool:
        return [Sample.from_record(record) for record in pool.map(partial(read_json, store), keys)]
