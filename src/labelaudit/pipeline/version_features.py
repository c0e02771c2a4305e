"""The features of all rows of a version, put together from stored shards once per machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelaudit.audits.audit_plan import Plan, output_store
from labelaudit.audits.references import PlanReference
from labelaudit.audits.version import load_version
from labelaudit.feature_store.version_shards import ShardChoice, VersionShards
from labelaudit.pipeline.damage_notes import keep_damage_notes
from labelaudit.pipeline.encode import encode_contents, open_feature_store, scored_contents, shard_parts, stored_spec
from labelaudit.storage.cache import Cache
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.store import Store
from labelaudit.strings import Strings

_log = logging.getLogger(__name__)

# Increase it if the files of a cache entry change their meaning.
FEATURES_LAYOUT = 2
_FEATURES, _SHARDS = "features.npy", "shards.json"


@dataclass(frozen=True, eq=False)
class VersionFeatures:
    """The features of a version.

    Attributes:
        values: of all rows in canonical order, (N, d) float16, memory-mapped; zeros if not scored.
        digest: equal digests mean equal values.
    """

    values: np.ndarray
    digest: str


@contextmanager
def open_features(reference: PlanReference, plan: Plan, *, is_pinned: bool = False) -> Iterator[VersionFeatures]:
    """Yield the features of a version.

    They are put together once per machine, on all machines from the shards that the first fold chose. Features that are
    no longer stored, or damaged, are encoded again; later folds then use the new ones.

    Args:
        is_pinned: this process sees only the GPUs of its fold.
    """
    choice = _shard_choice(output_store(reference), plan)
    chosen = choice.load() or choice.create(_servers(reference, plan))

    def build(folder: Path) -> None:
        used = _gather_features(reference, plan, folder / _FEATURES, chosen, is_pinned=is_pinned)
        (folder / _SHARDS).write_bytes(used.to_json())
        if used != chosen:
            choice.replace(used)

    key = digest_of(_version_key(plan), chosen.digest)[:32]
    with Cache(max_bytes=reference.cache_bytes).entry(f"features-{key}", build) as folder:
        used = VersionShards.from_json((folder / _SHARDS).read_bytes())
        yield VersionFeatures(np.load(folder / _FEATURES, mmap_mode="r"), used.digest)


def features_digest(store: Store, plan: Plan) -> str | None:
    """Return the `digest` of the features that a fold would open now; None if no fold has opened any.

    Args:
        plan: of an audit with an encoder.
    """
    chosen = _shard_choice(store, plan).load()
    return None if chosen is None else chosen.digest


def _shard_choice(store: Store, plan: Plan) -> ShardChoice:
    return ShardChoice(store, plan.dataset, _version_key(plan))


def _version_key(plan: Plan) -> str:
    # Which rows are scored depends on the number of folds, and so do the statuses.
    return digest_of(FEATURES_LAYOUT, stored_spec(plan).key, plan.fingerprint, plan.statuses)[:32]


def _servers(reference: PlanReference, plan: Plan) -> VersionShards:
    """Return the shards that contain the features of the scored rows."""
    rows = load_version(reference, plan, ("content_digest", "label"))
    features = open_feature_store(reference, plan)
    return VersionShards(features.shards_of(rows.of_scored(rows.examples.content_digest)))


def _gather_features(
    reference: PlanReference, plan: Plan, path: Path, chosen: VersionShards, *, is_pinned: bool
) -> VersionShards:
    """Write the features of a version to a file, and return the shards that contain them."""
    rows = load_version(reference, plan, ("content_digest", "label"))
    digests = rows.of_scored(rows.examples.content_digest)
    out = _zeros_on_disk(path, (len(rows.examples.label), stored_spec(plan).dim))
    store = output_store(reference)
    preferred = open_feature_store(reference, plan, only=chosen)
    is_complete = preferred.read_into(digests, out, rows.scored).all()
    keep_damage_notes(store, plan, preferred.notes)
    if is_complete:
        return chosen
    features = open_feature_store(reference, plan)
    found = features.read_into(digests, out, rows.scored)
    keep_damage_notes(store, plan, features.notes)
    for lost, encoded in _encoded_again(reference, plan, digests[~found], is_pinned=is_pinned):
        features.add(lost, encoded)
        at = lost.positions_of(digests)
        out[rows.scored[at >= 0]] = encoded[at[at >= 0]]
    return VersionShards(features.shards_of(digests))


def _encoded_again(
    reference: PlanReference, plan: Plan, lost: Strings, *, is_pinned: bool
) -> Iterator[tuple[Strings, np.ndarray]]:
    """Encode rows whose features were lost, and yield their digests and features in parts."""
    if not len(lost):
        return
    _log.warning("The features of %d rows are no longer stored in full, so they are encoded again.", len(lost))
    rows = scored_contents(reference, plan)
    rows = rows[np.sort(np.unique(rows.digests.positions_of(lost)))]
    for part in shard_parts([len(rows)], plan.kind):
        yield rows[part].digests, encode_contents(reference, plan, rows[part], is_pinned=is_pinned)


def _zeros_on_disk(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return a mapped array of float16 in a new file, all of whose space on the disk is reserved."""
    array = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    # A write to a mapped page kills the process if the disk is full; this raises an error instead.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
