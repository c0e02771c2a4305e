"""Encode the rows of a version whose features are not stored yet, shard by shard."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.audits.version import load_version
from labelaudit.data.decoded_parts import rows_decoded_together
from labelaudit.feature_store.stored_features import FeatureStore
from labelaudit.feature_store.version_shards import ShardChoice, VersionShards
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.pipeline.damage_notes import keep_damage_notes
from labelaudit.pipeline.encoding_list import (
    EncodingList,
    RowsToEncode,
    commit_encoding_list,
    load_encoding_list,
    mark_shard,
    names_of_other_rows,
)
from labelaudit.storage.cache import Cache
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.store import Store, open_dataset
from labelaudit.strings import Strings

_log = logging.getLogger(__name__)

# Rows of a shard: about 80 seconds of one core for the encoders of `labelaudit[encoders]`, which encode 27
# photographs or 53 texts of 240 characters per second. A kill loses no more than that.
_MOST_ROWS = {"image": 2_048, "text": 4_096}
# Shards of a small dataset, so that several workers or GPUs have work.
_PARALLEL = 8
# Fewer rows take a few seconds, to which loading the encoder would add much.
_FEWEST_ROWS = 256
# Increase it if the file of a cache entry changes its meaning.
FEATURES_LAYOUT = 2
_FEATURES, _SHARDS = "features.npy", "shards.json"
# What must be known of a row to find it again.
_PLACES = ("content_digest", "label", "file", "row", "position")


def plan_encoding(reference: PlanReference) -> EncodingReference | None:
    """Find the scored rows without stored features, and divide them into shards; None if no view needs features.

    Each content is encoded once, even if several rows have it. Rows that are decoded together are in as few shards as
    possible. A run that resumes gets the list of the first run.
    """
    plan = load_plan(reference)
    if plan.encoder is None:
        return None
    store = output_store(reference)
    features = _feature_store(reference, plan)
    scored = _scored_rows(reference, plan)
    is_stored = features.are_stored(scored.digests)
    keep_damage_notes(store, plan, features.notes)
    missing = scored[~is_stored]

    def make() -> EncodingList:
        together = _decoded_together(reference, plan, missing) if len(missing) else []
        shards = [missing[part] for part in shard_parts(together, plan.kind)]
        return EncodingList.of(shards, int(is_stored.sum()), features.names)

    return commit_encoding_list(store, f"{plan.work_folder}/encoding", missing.digests, make)


def shard_parts(together: Sequence[int], kind: str) -> list[slice]:
    """Return consecutive parts of rows of a kind of data, each for one shard.

    Args:
        together: numbers of consecutive rows that are decoded together. These are divided only if they are too many for
            one shard, into parts of nearly the same size.
        kind: of the data.
    """
    rows = sum(together)
    most = min(_MOST_ROWS[kind], -(-rows // max(1, min(_PARALLEL, rows // _FEWEST_ROWS))))
    ends = [0]
    free = 0  # rows that the last shard can still take
    for count in together:
        if count > free:
            cuts = np.linspace(0, count, -(-count // most) + 1).astype(int)
            ends += (ends[-1] + cuts[1:]).tolist()
            free = most - int(cuts[-1] - cuts[-2])
        else:
            ends[-1] += count
            free -= count
    return [slice(first, last) for first, last in pairwise(ends)]


def encode_shard(
    reference: PlanReference,
    encoding: EncodingReference,
    shard: int,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
    is_pinned: bool = False,
) -> None:
    """Encode the rows of one shard whose features are not stored yet, and store them.

    Args:
        on_progress: Called with the rows encoded so far and the rows of the shard.
        threads: limit of CPU threads; None keeps those of the process.
        is_pinned: this process sees only the GPUs of its shard.

    Raises:
        DatasetError: a row has changed since this audit began, or cannot be decoded.
        TrainingError: the encoder returned no features, or the device is missing.
    """
    plan = load_plan(reference)
    store = output_store(reference)
    listed = load_encoding_list(store, encoding)
    features = _feature_store(reference, plan, names_of_other_rows(store, encoding, listed, [shard]))
    rows = listed.shard(shard)
    missing = rows[~features.are_stored(rows.digests)]
    keep_damage_notes(store, plan, features.notes)
    if len(missing):
        encoded = _encode(reference, plan, missing, on_progress, threads=threads, is_pinned=is_pinned)
        name = features.add(missing.digests, encoded)
        mark_shard(store, encoding, shard, name)


def missing_shards(reference: PlanReference, encoding: EncodingReference, shards: list[int]) -> list[int]:
    """Return those of the shards that are not stored yet.

    This needs one listing of the features and one of the marks. An index is read only once by each process.
    """
    plan = load_plan(reference)
    store = output_store(reference)
    listed = load_encoding_list(store, encoding)
    features = _feature_store(reference, plan, names_of_other_rows(store, encoding, listed, shards))
    is_stored = features.are_stored(listed.digests(shards))
    ends = np.cumsum([0, *(listed.sizes[shard] for shard in shards)])
    parts = zip(shards, pairwise(ends), strict=True)
    return [shard for shard, (first, last) in parts if not is_stored[first:last].all()]


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
    return digest_of(FEATURES_LAYOUT, _stored_spec(plan).key, plan.fingerprint, plan.statuses)[:32]


def _servers(reference: PlanReference, plan: Plan) -> VersionShards:
    """Return the shards that contain the features of the scored rows."""
    rows = load_version(reference, plan, ("content_digest", "label"))
    features = _feature_store(reference, plan)
    return VersionShards(features.shards_of(rows.of_scored(rows.examples.content_digest)))


def _gather_features(
    reference: PlanReference, plan: Plan, path: Path, chosen: VersionShards, *, is_pinned: bool
) -> VersionShards:
    """Write the features of a version to a file, and return the shards that contain them."""
    rows = load_version(reference, plan, ("content_digest", "label"))
    digests = rows.of_scored(rows.examples.content_digest)
    out = _zeros_on_disk(path, (len(rows.examples.label), _stored_spec(plan).dim))
    store = output_store(reference)
    preferred = _feature_store(reference, plan, only=chosen)
    is_complete = preferred.read_into(digests, out, rows.scored).all()
    keep_damage_notes(store, plan, preferred.notes)
    if is_complete:
        return chosen
    features = _feature_store(reference, plan)
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
    rows = _scored_rows(reference, plan)
    rows = rows[np.sort(np.unique(rows.digests.positions_of(lost)))]
    for part in shard_parts([len(rows)], plan.kind):
        yield rows[part].digests, _encode(reference, plan, rows[part], is_pinned=is_pinned)


def _zeros_on_disk(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return a mapped array of float16 in a new file, all of whose space on the disk is reserved."""
    array = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    # A write to a mapped page kills the process if the disk is full; this raises an error instead.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _encode(
    reference: PlanReference,
    plan: Plan,
    rows: RowsToEncode,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
    is_pinned: bool,
) -> np.ndarray:
    # Imported late, because the process that plans needs no torch.
    from labelaudit.pipeline.encode_rows import encode_rows

    spec = _spec(plan)
    return encode_rows(reference, plan, spec, rows, on_progress, threads=threads, is_pinned=is_pinned)


def _scored_rows(reference: PlanReference, plan: Plan) -> RowsToEncode:
    """Return the first row of each content among the scored rows, in reading order."""
    rows = load_version(reference, plan, _PLACES)
    examples = rows.examples
    order = rows.scored[np.argsort(examples.position[rows.scored], kind="stable")]
    digests = examples.content_digest[order]
    first = order[digests.positions_of(digests) == np.arange(len(digests))]
    return RowsToEncode(examples.content_digest[first], examples.file[first], examples.row[first])


def _decoded_together(reference: PlanReference, plan: Plan, rows: RowsToEncode) -> list[int]:
    assert plan.columns is not None, "no dataset is read for external probabilities"
    source = open_dataset(reference.dataset_url, reference.storage_options, marker=reference.marker)
    return rows_decoded_together(source, plan.columns, rows.file, rows.row)


def _feature_store(
    reference: PlanReference,
    plan: Plan,
    without: Collection[str] = (),
    *,
    only: VersionShards | None = None,
) -> FeatureStore:
    names = None if only is None else only.names
    return FeatureStore(output_store(reference), plan.dataset, _stored_spec(plan), without, only=names)


def _spec(plan: Plan) -> EncoderSpec:
    assert plan.encoder is not None, "no view needs features"
    return plan.encoder


def _stored_spec(plan: Plan) -> EncoderSpec:
    assert plan.stored_encoder is not None, "no view needs features"
    return plan.stored_encoder
