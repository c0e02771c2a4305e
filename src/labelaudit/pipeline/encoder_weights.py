"""The weights of an encoder as a file on this machine, fetched once if they are in another storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from labelaudit.errors import ConfigError, StorageError
from labelaudit.storage.cache import Cache
from labelaudit.storage.file_on_disk import sha256_of_file
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.store import Store

_PIECE_BYTES = 2**22


@contextlib.contextmanager
def local_weights(
    url: str, options: Mapping[str, object], cache_bytes: int | None = None, *, sha256: str | None = None
) -> Iterator[Path]:
    """Yield the path of a file of weights.

    A file in another storage is copied to the cache of this machine. Only a complete copy is used.

    Args:
        url: path or URL of one file.
        options: storage options.
        cache_bytes: limit of the cache; None: half of the free disk.
        sha256: the checksum that the file must have; None: any.

    Raises:
        ConfigError: there is no such file.
        StorageError: the file cannot be read, or it has another checksum.
    """
    folder, slash, name = url.rpartition("/")
    store = Store(folder + slash if slash else ".", options)
    found = next((file for file in store.find(name) if file.path == name), None)
    if found is None:
        raise ConfigError(f"No weights are stored at {url}. Name one file with model.encoder.")
    local = store.local_path(name)
    if local is not None:
        _check(url, Path(local), sha256)
        yield Path(local)
        return

    def fetch(into: Path) -> None:
        _fetch(store, name, found.size, into / name)
        _check(url, into / name, sha256)

    # The token changes with the content. Without one, only the expected checksum does.
    key = digest_of("weights", url, found.size, found.token, sha256)[:32]
    with Cache(max_bytes=cache_bytes).entry(f"weights-{key}", fetch) as entry:
        yield entry / name


def _fetch(store: Store, name: str, size: int, path: Path) -> None:
    copied = 0
    with store.open(name) as source, path.open("wb") as file:
        while piece := source.read(_PIECE_BYTES):
            copied += file.write(piece)
    if copied != size:
        raise StorageError(
            f"{store.url_of(name)} ended after {copied:,} of {size:,} bytes, so its copy is not used. "
            "Run the audit again."
        )


def _check(url: str, path: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    found = sha256_of_file(path)
    if found != sha256:
        raise StorageError(
            f"The weights at {url} have changed since this audit began: their sha256 is {found[:12]}…, not "
            f"{sha256[:12]}…. Run the audit again to use the present weights."
        )
