"""The shards from which all folds of a version take their features.

Several shards may contain a content with slightly different features: those of CPUs and GPUs differ, and so do those of
batches of another size. Which shards there are depends on the time. So the first fold chooses, and the others follow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from labelaudit.codec import from_record, to_record
from labelaudit.errors import StorageError
from labelaudit.storage.layout import version_shards_key
from labelaudit.storage.manifest import digest_of, dump_json
from labelaudit.storage.store import Store


@dataclass(frozen=True)
class VersionShards:
    """Names of shards, sorted. A name is the checksum of the shard's data, so equal names mean equal features."""

    names: tuple[str, ...]

    @property
    def digest(self) -> str:
        return digest_of(self.names)[:32]

    def to_json(self) -> bytes:
        return dump_json(to_record(self))

    @classmethod
    def from_json(cls, data: bytes) -> VersionShards:
        """Return the shards that `to_json` wrote.

        Raises:
            ValueError: it wrote something else.
        """
        return from_record(cls, json.loads(data))


class ShardChoice:
    """The stored choice of one version and encoder.

    Args:
        store: at the output URL.
        dataset: name of the dataset.
        key: what identifies version and encoder.
    """

    def __init__(self, store: Store, dataset: str, key: str) -> None:
        self._store = store
        self._key = version_shards_key(dataset, key)

    def load(self) -> VersionShards | None:
        """Return the choice; None if there is none yet.

        Raises:
            StorageError: it is damaged.
        """
        data = self._store.read_if_there(self._key)
        if data is None:
            return None
        try:
            return VersionShards.from_json(data)
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{self._store.url_of(self._key)} is not a list of shards ({error}). Remove it and run the audit again."
            ) from error

    def create(self, shards: VersionShards) -> VersionShards:
        """Store a choice unless there is one already, and return the stored one."""
        self._store.create(self._key, shards.to_json())
        return self.load() or shards

    def replace(self, shards: VersionShards) -> None:
        """Store another choice, because shards of the present one were damaged or removed."""
        self._store.write(self._key, shards.to_json())
