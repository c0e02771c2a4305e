"""What a feature store contains, and the removal of shards that nothing needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from labelaudit.feature_store.shard_files import ShardIndex
from labelaudit.feature_store.shard_listing import ShardListing, list_shards, read_features
from labelaudit.storage.layout import all_features_folder, feature_data_key, feature_index_key, features_folder
from labelaudit.storage.store import Store, StoredFile
from labelaudit.strings import Strings


@dataclass(frozen=True)
class StoredEncoder:
    """The stored features of one encoder for one dataset."""

    dataset: str
    encoder: str  # key of the encoder
    rows: int  # different contents
    dim: int | None  # None: no shard can be used
    shards: int
    bytes: int  # of all files
    last_written: float | None  # seconds since 1970; None if unknown
    damaged: tuple[str, ...]  # a sentence for each damaged shard
    unfinished: int  # data files without an index
    audits: int  # published audits of the dataset that used it


@dataclass(frozen=True)
class PrunedShard:
    """A shard that was removed, or would be."""

    dataset: str
    encoder: str
    shard: str  # name of its files
    rows: int  # 0 if it has no index that can be read
    bytes: int
    reason: str  # unused encoder | unused | damaged | unfinished


def stored_encoders(store: Store, dataset: str) -> list[str]:
    """Return the keys of the encoders with stored features of a dataset, sorted."""
    folder = all_features_folder(dataset)
    return sorted({file.path[len(folder) + 1 :].partition("/")[0] for file in store.find(folder)})


def survey_features(
    store: Store, dataset: str, audits: Mapping[str, int], *, verify: bool = False
) -> list[StoredEncoder]:
    """Return the stored features of a dataset, one entry for each encoder.

    Args:
        store: at the output URL.
        dataset: name of the dataset.
        audits: the number of its published audits by key of the encoder that they used.
        verify: read all data and compare checksums. Otherwise only missing files and wrong sizes are noticed.
    """
    found = []
    for encoder in stored_encoders(store, dataset):
        listing = _listing(store, dataset, encoder, verify=verify)
        times = [file.modified for file in listing.files if file.modified is not None]
        found.append(
            StoredEncoder(
                dataset=dataset,
                encoder=encoder,
                rows=len(pc.unique(Strings.joined(shard.digests for shard in listing.shards).arrow)),
                dim=listing.shards[0].dim if listing.shards else None,
                shards=len(listing.shards),
                bytes=sum(file.size for file in listing.files),
                last_written=max(times, default=None),
                damaged=tuple(damaged.note for damaged in listing.damaged),
                unfinished=len(listing.unfinished),
                audits=audits.get(encoder, 0),
            )
        )
    return found


def prune_features(
    store: Store,
    dataset: str,
    used: Mapping[str, Strings],
    *,
    before: float,
    verify: bool = False,
    is_dry_run: bool = False,
) -> list[PrunedShard]:
    """Remove old shards without a used content, old damaged shards, and old data without an index.

    The shards of an encoder that no audit used are removed once all of them are old. The index of a shard is removed
    before its data, so that no reader finds an index without data. An audit that still needs a removed content encodes
    it again.

    Args:
        store: at the output URL.
        dataset: name of the dataset.
        used: content digests of the published audits of the dataset, by key of the encoder that they used.
        before: remove only shards last written before this time, in seconds since 1970.
        verify: read all data to find damaged shards.
        is_dry_run: remove nothing.

    Returns:
        What was removed, or would be.
    """
    pruned = []
    for encoder in stored_encoders(store, dataset):
        listing = _listing(store, dataset, encoder, verify=verify)
        folder = features_folder(dataset, encoder)
        files = {file.path: file for file in listing.files}
        for name, rows, reason in _removable(listing, used.get(encoder), before):
            keys = (feature_index_key(folder, name), feature_data_key(folder, name))
            present = [files[key] for key in keys if key in files]
            if not _are_older(present, before):
                continue
            size = sum(file.size for file in present)
            pruned.append(PrunedShard(dataset, encoder, name, rows, size, reason))
            for file in () if is_dry_run else present:
                store.remove(file.path)
    return pruned


def _removable(listing: ShardListing, used: Strings | None, before: float) -> Iterable[tuple[str, int, str]]:
    """Yield name, rows and reason of each shard that nothing needs. `used` is None if no audit used the encoder."""
    for shard in listing.shards:
        if used is None:
            # An audit that is at work may need old shards too.
            if _are_older(listing.files, before):
                yield shard.name, shard.rows, "unused encoder"
        elif not (used.positions_of(shard.digests) >= 0).any():
            yield shard.name, shard.rows, "unused"
    for damaged in listing.damaged:
        yield damaged.name, 0, "damaged"
    for file in listing.unfinished:
        yield file.path.rpartition("/")[2].removesuffix(".parquet"), 0, "unfinished"


def _are_older(files: Sequence[StoredFile], before: float) -> bool:
    """Return whether all times are known and before a time."""
    return all(file.modified is not None and file.modified < before for file in files)


def _listing(store: Store, dataset: str, encoder: str, *, verify: bool) -> ShardListing:
    listing = list_shards(store, dataset, encoder)
    if not verify:
        return listing
    healthy: list[ShardIndex] = []
    damaged = list(listing.damaged)
    for shard in listing.shards:
        features = read_features(store, dataset, shard)
        if isinstance(features, np.ndarray):
            healthy.append(shard)
        else:
            damaged.append(features)
    return replace(listing, shards=tuple(healthy), damaged=tuple(damaged))
