"""Encode the rows of a version whose features are not stored yet, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

import numpy as np

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.audits.version import load_version
from labelaudit.data.decoded_parts import rows_decoded_together
from labelaudit.feature_store.stored_features import FeatureStore
from labelaudit.feature_store.version_shards import VersionShards
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
from labelaudit.storage.store import open_dataset

# Rows of a shard: about 80 seconds of one core for the encoders of `labelaudit[encoders]`, which encode 27
# photographs or 53 texts of 240 characters per second. A kill loses no more than that.
_MOST_ROWS = {"image": 2_048, "text": 4_096}
# Shards of a small dataset, so that several workers or GPUs have work.
_PARALLEL = 8
# Fewer rows take a few seconds, to which loading the encoder would add much.
_FEWEST_ROWS = 256
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
    features = open_feature_store(reference, plan)
    scored = scored_contents(reference, plan)
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
    features = open_feature_store(reference, plan, names_of_other_rows(store, encoding, listed, [shard]))
    rows = listed.shard(shard)
    missing = rows[~features.are_stored(rows.digests)]
    keep_damage_notes(store, plan, features.notes)
    if len(missing):
        encoded = encode_contents(reference, plan, missing, on_progress, threads=threads, is_pinned=is_pinned)
        name = features.add(missing.digests, encoded)
        mark_shard(store, encoding, shard, name)


def missing_shards(reference: PlanReference, encoding: EncodingReference, shards: list[int]) -> list[int]:
    """Return those of the shards that are not stored yet.

    This needs one listing of the features and one of the marks. An index is read only once by each process.
    """
    plan = load_plan(reference)
    store = output_store(reference)
    listed = load_encoding_list(store, encoding)
    features = open_feature_store(reference, plan, names_of_other_rows(store, encoding, listed, shards))
    is_stored = features.are_stored(listed.digests(shards))
    ends = np.cumsum([0, *(listed.sizes[shard] for shard in shards)])
    parts = zip(shards, pairwise(ends), strict=True)
    return [shard for shard, (first, last) in parts if not is_stored[first:last].all()]


def encode_contents(
    reference: PlanReference,
    plan: Plan,
    rows: RowsToEncode,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
    is_pinned: bool,
) -> np.ndarray:
    """Return the features of n rows, (n, d) float16. Arguments as for `encode_shard`."""
    # Imported late, because the process that plans needs no torch.
    from labelaudit.pipeline.encode_rows import encode_rows

    spec = _spec(plan)
    return encode_rows(reference, plan, spec, rows, on_progress, threads=threads, is_pinned=is_pinned)


def scored_contents(reference: PlanReference, plan: Plan) -> RowsToEncode:
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


def open_feature_store(
    reference: PlanReference,
    plan: Plan,
    without: Collection[str] = (),
    *,
    only: VersionShards | None = None,
) -> FeatureStore:
    """Return the stored features of a plan's dataset and encoder.

    Args:
        without: names of shards that are ignored.
        only: the shards that are used; None: all.
    """
    names = None if only is None else only.names
    return FeatureStore(output_store(reference), plan.dataset, stored_spec(plan), without, only=names)


def _spec(plan: Plan) -> EncoderSpec:
    assert plan.encoder is not None, "no view needs features"
    return plan.encoder


def stored_spec(plan: Plan) -> EncoderSpec:
    """Return the spec under which the features of a plan are stored."""
    assert plan.stored_encoder is not None, "no view needs features"
    return plan.stored_encoder
