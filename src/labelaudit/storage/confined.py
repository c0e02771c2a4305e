"""A store that reaches nothing outside the URL it was given, whatever keys it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelaudit.errors import StorageError
from labelaudit.storage.layout import dataset_of
from labelaudit.storage.store import Store

_LEVELS = ("dataset=", "version=", "audit=")


class ConfinedStore(Store):
    """A store with the keys of an output URL that refuses every key outside the folder that it was given.

    The URL is that of an output, of a dataset below one, or of an audit; keys are the same in all three cases, from
    `dataset=…` on. Keys may come from records that somebody else wrote: `..`, absolute paths and control
    characters are refused with a `StorageError` before anything is asked from the storage.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        root, self.folder = split_url(url)
        super().__init__(root, options)

    def children(self) -> list[str]:
        """Names directly below the output URL that may be looked at."""
        return [self.folder.split("/")[0]] if self.folder else super().children()

    def _path(self, key: str) -> str:
        parts = key.split("/")
        if key and (not key.isprintable() or "\\" in key or any(part in ("", ".", "..") for part in parts)):
            raise StorageError(
                f"A record names the key {key!r}, which may lead out of {self.url_of(self.folder)}. "
                "Nothing was read; remove the record."
            )
        if self.folder and key != self.folder and not key.startswith(f"{self.folder}/"):
            raise StorageError(
                f"{key or 'The whole output'!r} is outside {self.url_of(self.folder)}. "
                "Open the URL of the dataset, or of all datasets, to see it."
            )
        return super()._path(key)


def split_url(url: str) -> tuple[str, str]:
    """An output URL, and the folder of a dataset, version or audit below it, which is empty where there is none."""
    parts = url.rstrip("/").split("/")
    for depth in range(len(_LEVELS), 0, -1):
        tail = parts[-depth:]
        is_folder = len(tail) == depth and all(map(str.startswith, tail, _LEVELS))
        if is_folder and dataset_of(tail[0]):
            return "/".join(parts[:-depth]) or ("/" if url.startswith("/") else "."), "/".join(tail)
    return url, ""
