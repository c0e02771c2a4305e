"""Which shards of features are stored, from one listing and their index files."""

from __future__ import annotations

import json
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from labelaudit.errors import StorageError
from labelaudit.feature_store.shard_files import DamagedShardError, ShardIndex, read_shard
from labelaudit.storage.layout import feature_data_key, feature_index_key, features_folder
from labelaudit.storage.store import Store, StoredFile

_READERS = 16
_DATA, _INDEX = ".parquet", ".json"
# Index files that this process has read, because several steps of an audit need those of all shards. Each takes about
# 100 KB. The token of a file changes with its content.
_known: dict[tuple[str, StoredFile], ShardIndex] = {}
_MOST_KNOWN = 2_000


@dataclass(frozen=True)
class DamagedShard:
    """A shard that is ignored."""

    name: str
    note: str  # a sentence that names it and the reason


@dataclass(frozen=True)
class ShardListing:
    """The shards of one encoder, sorted by name, and all files of its folder."""

    shards: tuple[ShardIndex, ...]
    damaged: tuple[DamagedShard, ...]
    files: tuple[StoredFile, ...]

    @property
    def unfinished(self) -> tuple[StoredFile, ...]:
        """Data files without an index, whose writer is still at work or was killed."""
        names = {file.path for file in self.files}
        return tuple(
            file
            for file in self.files
            if file.path.endswith(_DATA) and file.path.removesuffix(_DATA) + _INDEX not in names
        )


def list_shards(
    store: Store, dataset: str, encoder: str, dim: int | None = None, without: Collection[str] = ()
) -> ShardListing:
    """Return the shards of an encoder.

    Args:
        store: at the output URL.
        dataset: name of the dataset.
        encoder: key of the encoder.
        dim: number of features; None: any.
        without: names of shards that are left out. Their index is not read.

    Raises:
        StorageUnavailableError: the storage did not answer.
    """
    folder = features_folder(dataset, encoder)
    files = tuple(store.find(folder))
    sizes = {file.path: file.size for file in files}
    left_out = {feature_index_key(folder, name) for name in without}
    indexes = [file for file in files if file.path.endswith(_INDEX) and file.path not in left_out]
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(partial(_checked_index, store, folder, encoder, dim, sizes), indexes))
    return ShardListing(
        shards=tuple(shard for shard in found if isinstance(shard, ShardIndex)),
        damaged=tuple(shard for shard in found if isinstance(shard, DamagedShard)),
        files=files,
    )


def read_features(store: Store, dataset: str, shard: ShardIndex) -> np.ndarray | DamagedShard:
    """Return the features of a shard, (n, d) float16 in the order of its index, or why they cannot be used.

    Raises:
        StorageUnavailableError: the storage did not answer.
    """
    key = feature_data_key(features_folder(dataset, shard.encoder), shard.name)
    try:
        return read_shard(_read(store, key), shard)
    except DamagedShardError as error:
        return _damaged(store, key, shard.name, error)


def _checked_index(
    store: Store, folder: str, encoder: str, dim: int | None, sizes: dict[str, int], file: StoredFile
) -> ShardIndex | DamagedShard | None:
    """Return the index of a shard whose data is there; None if it was removed since the listing."""
    name = file.path[len(folder) + 1 :].removesuffix(_INDEX)
    data_key = feature_data_key(folder, name)
    try:
        index = _known_index(store, encoder, name, file)
    except DamagedShardError as error:
        return _damaged(store, file.path, name, error)
    if index is None:
        return None
    if dim is not None and index.dim != dim:
        reason = f"its features have {index.dim} values, not {dim}"
        return _damaged(store, file.path, name, DamagedShardError(reason))
    # A listing may miss a file that was written while it was made.
    size = sizes.get(data_key) if data_key in sizes else store.size(data_key) if store.exists(data_key) else None
    if size != index.size:
        reason = "it is missing" if size is None else f"it has {size:,} bytes, not {index.size:,} as recorded"
        return _damaged(store, data_key, name, DamagedShardError(reason))
    return index


def _known_index(store: Store, encoder: str, name: str, file: StoredFile) -> ShardIndex | None:
    """Return the index in a file, which is read once per process; None if it was removed since the listing."""
    known = _known.get((store.url, file)) if file.token is not None else None
    if known is not None:
        return known
    data = _read(store, file.path, may_be_gone=True)
    if not data and not store.exists(file.path):
        return None
    index = ShardIndex.from_record(_json_object(data), name=name, encoder=encoder)
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[store.url, file] = index
    return index


def _json_object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedShardError("it is not JSON") from error
    if not isinstance(value, dict):
        raise DamagedShardError("it is not a JSON object")
    return value


def _read(store: Store, key: str, *, may_be_gone: bool = False) -> bytes:
    try:
        return store.read(key)
    except StorageError as error:
        if error.transient:
            raise
        if may_be_gone and not store.exists(key):
            return b""
        raise DamagedShardError(f"it cannot be read ({error})") from error


def _damaged(store: Store, key: str, name: str, error: DamagedShardError) -> DamagedShard:
    return DamagedShard(name, f"The features in {store.url_of(key)} are not used: {error}.")
