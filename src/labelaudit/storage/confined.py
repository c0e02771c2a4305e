"""A store that cannot access anything outside its URL."""

from __future__ import annotations

from labelaudit.errors import StorageError
from labelaudit.storage.filesystems import StorageOptions
from labelaudit.storage.layout import dataset_of
from labelaudit.storage.store import Store

_LEVELS = ("dataset=", "version=", "audit=")


class ConfinedStore(Store):
    """A store with the keys of an output URL, which refuses all keys outside one folder.

    Its URL is that of an output, of a dataset below it, or of an audit. In all cases keys begin with `dataset=…`.
    Keys may come from records that other programs wrote. So `..`, absolute paths and control characters raise
    `StorageError` before any request.
    """

    def __init__(self, url: str, options: StorageOptions | None = None) -> None:
        root, self.folder = split_url(url)
        super().__init__(root, options)

    def children(self) -> list[str]:
        """Return the names directly below the output URL that may be read."""
        return [self.folder.split("/")[0]] if self.folder else super().children()

    def _path(self, key: str) -> str:
        parts = key.split("/")
        if key and (not key.isprintable() or "\\" in key or any(part in ("", ".", "..") for part in parts)):
            raise StorageError(
                f"A record contains the key {key!r}, which may lead out of {self.url_of(self.folder)}. "
                "Nothing was read. Remove the record."
            )
        if self.folder and key != self.folder and not key.startswith(f"{self.folder}/"):
            raise StorageError(
                f"{key or 'The whole output'!r} is outside {self.url_of(self.folder)}. "
                "Open the URL of the dataset, or of all datasets, to see it."
            )
        return super()._path(key)


def split_url(url: str) -> tuple[str, str]:
    """Return the output URL, and the folder of a dataset, version or audit below it; empty if the URL has none."""
    parts = url.rstrip("/").split("/")
    for depth in range(len(_LEVELS), 0, -1):
        tail = parts[-depth:]
        is_folder = len(tail) == depth and all(map(str.startswith, tail, _LEVELS))
        if is_folder and dataset_of(tail[0]):
            return "/".join(parts[:-depth]) or ("/" if url.startswith("/") else "."), "/".join(tail)
    return url, ""
