"""The features of one encoder for the contents of one dataset."""

from __future__ import annotations

import logging
from collections.abc import Collection
from itertools import pairwise

import numpy as np

from labelaudit.feature_store.shard_files import ShardIndex, make_shard
from labelaudit.feature_store.shard_listing import DamagedShard, list_shards, read_features
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.storage.layout import feature_data_key, feature_index_key, features_folder
from labelaudit.storage.store import Store
from labelaudit.strings import Strings

_log = logging.getLogger(__name__)


class FeatureStore:
    """Features by content digest, in shards that are only added.

    The name of a shard is the checksum of its data. So writers of different shards cannot conflict, and writers of
    the same shard write the same bytes. The data is written before the index; a shard exists once it has its index.
    A damaged shard is named in `notes` and in the log, and its rows count as not stored.

    The index is read once, at its first use.

    Args:
        store: at the output URL.
        dataset: name of the dataset.
        spec: the encoder.
        without: names of shards that are ignored, because they are known to have none of the contents in question.
        only: names of the shards that are used; None: all.
    """

    def __init__(
        self,
        store: Store,
        dataset: str,
        spec: EncoderSpec,
        without: Collection[str] = (),
        *,
        only: Collection[str] | None = None,
    ) -> None:
        self._store = store
        self._dataset = dataset
        self._encoder = spec.key
        self._dim = spec.dim
        self._without = without
        self._only = None if only is None else frozenset(only)
        self._shards: list[ShardIndex] | None = None
        self._notes: dict[str, None] = {}
        self._damaged: set[str] = set()  # names of shards whose data is wrong, which their index does not show

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each damaged shard that was found so far."""
        return tuple(self._notes)

    @property
    def names(self) -> list[str]:
        """The names of the shards that can be used, sorted."""
        return [shard.name for shard in self._index()]

    def are_stored(self, digests: Strings) -> np.ndarray:
        """Return (n,) bool: whether an index lists the digest. The data is checked when it is read."""
        is_stored: np.ndarray = self._joined().positions_of(digests) >= 0
        return is_stored

    def shards_of(self, digests: Strings) -> tuple[str, ...]:
        """Return the names of the shards from which `read_into` takes the features of contents, sorted."""
        at = self._joined().positions_of(digests)
        ends = np.cumsum([shard.rows for shard in self._index()])
        numbers = np.unique(np.searchsorted(ends, at[at >= 0], side="right"))
        return tuple(self._index()[number].name for number in numbers)

    def add(self, digests: Strings, features: np.ndarray) -> str:
        """Store the features of n distinct contents, at least one, as one shard; return its name.

        Args:
            digests: n content digests.
            features: (n, d) float16.

        Raises:
            ValueError: the features have another shape or type, or a digest repeats.
            StorageError: the shard cannot be written.
        """
        if features.shape != (len(digests), self._dim) or features.dtype != np.float16:
            raise ValueError(
                f"{len(digests)} contents need features of shape ({len(digests)}, {self._dim}) and type float16, not "
                f"{features.shape} and {features.dtype}. Pass the output of the encoder."
            )
        if digests.repeats(digests.order()).any():
            raise ValueError("A content digest repeats. Pass each content once.")
        data, index = make_shard(self._encoder, digests, features)
        if index.name in self.names:
            return index.name
        folder = features_folder(self._dataset, self._encoder)
        self._store.write(feature_data_key(folder, index.name), data)
        self._store.write(feature_index_key(folder, index.name), index.to_json())
        self._damaged.discard(index.name)
        self._shards = sorted([*self._index(), index], key=lambda shard: shard.name)
        return index.name

    def read_into(self, digests: Strings, out: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Copy the features of n contents to rows of an array. One shard at a time is in memory.

        If several shards contain a content, the first one by name is used.

        Args:
            digests: n content digests, which may repeat.
            out: (N, d) float16.
            rows: (n,) the row of `out` for each digest; None: 0 to n - 1.

        Returns:
            (n,) bool: whether the features were found. Other rows of `out` do not change.
        """
        rows = np.arange(len(digests)) if rows is None else rows
        found = np.zeros(len(digests), bool)
        # Again after a damaged shard, because others may contain its digests.
        while self._read_once(digests, out, rows, found):
            pass
        return found

    def _read_once(self, digests: Strings, out: np.ndarray, rows: np.ndarray, found: np.ndarray) -> bool:
        """Read what is not found yet; return whether a shard turned out to be damaged."""
        pending = np.flatnonzero(~found)
        at = self._joined().positions_of(digests[pending])
        shards = list(self._index())
        starts = np.cumsum([0, *(shard.rows for shard in shards)])
        order = np.argsort(at, kind="stable")
        cuts = np.searchsorted(at[order], starts)
        is_damaged = False
        for shard, start, (first, last) in zip(shards, starts, pairwise(cuts), strict=False):
            chosen = order[first:last]
            if not len(chosen):
                continue
            features = read_features(self._store, self._dataset, shard)
            if isinstance(features, DamagedShard):
                self._ignore(features)
                is_damaged = True
                continue
            out[rows[pending[chosen]]] = features[at[chosen] - start]
            found[pending[chosen]] = True
        return is_damaged

    def _index(self) -> list[ShardIndex]:
        if self._shards is None:
            listing = list_shards(self._store, self._dataset, self._encoder, self._dim, self._without)
            self._shards = [
                shard
                for shard in listing.shards
                if shard.name not in self._damaged and (self._only is None or shard.name in self._only)
            ]
            for damaged in listing.damaged:
                self._ignore(damaged)
        return self._shards

    def _ignore(self, damaged: DamagedShard) -> None:
        self._damaged.add(damaged.name)
        self._shards = [shard for shard in self._index() if shard.name != damaged.name]
        if damaged.note not in self._notes:
            self._notes[damaged.note] = None
            _log.warning("%s Their rows are encoded again.", damaged.note)

    def _joined(self) -> Strings:
        return Strings.joined(shard.digests for shard in self._index())
