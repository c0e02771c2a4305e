"""A part of a store as a mapping from names to bytes."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from labelaudit.errors import StorageError
from labelaudit.storage.store import Store


class StoredFolder(MutableMapping[str, bytes]):
    """The objects below `folder` of a store; names have no slashes.

    Objects that cannot be read count as missing. Only if a retry may help, `StorageError` is raised.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._store.read(self._key(name))
        except StorageError as error:
            if error.transient:
                raise
            raise KeyError(name) from error

    def __setitem__(self, name: str, data: bytes) -> None:
        self._store.write(self._key(name), data)

    def __delitem__(self, name: str) -> None:
        self._store.remove(self._key(name))

    def __iter__(self) -> Iterator[str]:
        return (file.path.rpartition("/")[2] for file in self._store.find(self._folder))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def clear(self) -> None:
        """Remove all objects, with one listing."""
        for name in self:
            del self[name]

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"
