"""Random samples in storage, append-only next to the verdicts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial

from pydantic import TypeAdapter

from labelaudit.errors import ReviewError
from labelaudit.reviews.records import from_json
from labelaudit.reviews.sampling import FLAGGED, UNFLAGGED, Sample
from labelaudit.reviews.verdict_store import PARALLEL_READS
from labelaudit.storage.layout import samples_folder
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store

_SAMPLE = TypeAdapter(Sample)


def store_sample(store: Store, dataset: str, sample: Sample) -> str:
    """Store a sample unless it exists, and return its key."""
    sizes = "-".join(str(len(stratum.sampled)) for stratum in sample.strata)
    if all(stratum.name not in (FLAGGED, UNFLAGGED) for stratum in sample.strata):
        sizes = f"p_wrong-{sizes}"
    key = f"{samples_folder(dataset)}/{sample.audit_id}-seed-{sample.seed}-{sizes}.json"
    # Two writers draw the same rows, so either object will do. A conditional write would first probe the storage,
    # which fails if a reviewer may not write there.
    if not store.exists(key):
        store.write(key, sample_bytes(sample))
    return key


def sample_bytes(sample: Sample) -> bytes:
    """Return a sample as JSON."""
    return dump_json(asdict(sample))


def sample_of(data: bytes) -> Sample:
    """Return the sample in an object.

    Raises:
        ReviewError: if the object does not contain a sample. The message is a clause.
    """
    return from_json(_SAMPLE, data)


def read_samples(store: Store, dataset: str) -> list[Sample]:
    """Return all samples of a dataset in the order of their keys.

    Raises:
        ReviewError: if an object cannot be read.
    """
    keys = [file.path for file in store.find(samples_folder(dataset)) if file.path.endswith(".json")]
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        return list(pool.map(partial(_read_sample, store), keys))


def _read_sample(store: Store, key: str) -> Sample:
    data = store.read(key)
    try:
        return sample_of(data)
    except ReviewError as error:
        raise ReviewError(
            f"{store.url_of(key)} cannot be read as a sample: {error}. Remove it; the same audit and seed give the "
            "same sample again."
        ) from error
