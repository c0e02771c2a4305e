"""The weights of an encoder on this machine, fetched once if they are in another storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from labelaudit.errors import ConfigError, StorageError
from labelaudit.storage.cache import Cache
from labelaudit.storage.file_on_disk import pieces
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.store import Store, StoredFile


@contextlib.contextmanager
def local_weights(url: str, options: Mapping[str, object], cache_bytes: int | None = None) -> Iterator[Path]:
    """Yield the path of weights on this machine: of a file, or of the folder of a model.

    Weights in another storage are copied to the cache of this machine. Only a complete copy is used. If the stored
    files change, they are copied again. A local path is returned as it is, even if nothing is there.

    Args:
        url: path or URL of a file or of a folder.
        options: storage options.
        cache_bytes: limit of the cache; None: half of the free disk.

    Raises:
        ConfigError: nothing is stored at the URL.
        StorageError: a file cannot be read, or it is shorter than it was when it was listed.
    """
    if "://" not in url:
        yield Path(url).expanduser()
        return
    store, files, name = _found(url, options)
    local = store.local_path(name)
    if local is not None:
        yield Path(local)
        return
    # The token changes with the content.
    key = digest_of(url, [(file.path, file.size, file.token) for file in files])[:32]
    with Cache(max_bytes=cache_bytes).entry(f"weights-{key}", partial(_fetch, store, files)) as folder:
        yield folder / name


def _found(url: str, options: Mapping[str, object]) -> tuple[Store, Sequence[StoredFile], str]:
    """Return a store, the files at a URL with paths below the store, and the name of the only one if it is a file."""
    parent, _, name = url.rstrip("/").rpartition("/")
    # The URL of a whole bucket has no parent.
    if not parent.endswith("/"):
        store = Store(parent, options)
        files = [file for file in store.find(name) if file.path == name]
        if files:
            return store, files, name
    store = Store(url, options)
    files = [file for file in store.find() if _is_inside(file.path)]
    if not files:
        raise ConfigError(f"No weights are stored at {url}. Check model.encoder and model.encoder_kwargs.")
    return store, files, ""


def _is_inside(path: str) -> bool:
    """Return whether a path leads to a file below the folder that it is copied to."""
    return ".." not in PurePosixPath(path).parts and not path.startswith("/")


def _fetch(store: Store, files: Sequence[StoredFile], folder: Path) -> None:
    for file in files:
        copy = folder / file.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        with store.open(file.path) as source, copy.open("wb") as target:
            target.writelines(pieces(source))
        if copy.stat().st_size != file.size:
            raise StorageError(
                f"{store.url_of(file.path)} ended after {copy.stat().st_size:,} of {file.size:,} bytes, so its copy is "
                "not used. Run the audit again."
            )
