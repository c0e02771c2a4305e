"""A folder in any fsspec filesystem, with whole objects, exact keys and atomic writes."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from labelaudit.errors import DatasetError, LabelauditError, StorageError, StorageUnavailableError


class StoredFile(NamedTuple):
    """One object below a store's URL."""

    path: str  # relative to the store's URL
    size: int  # bytes
    token: str | None  # changes when the content does (ETag, else modification time); None where unknown
    modified: float | None  # seconds since 1970; None where unknown


class Store:
    """Objects below one URL (`s3://…`, a local path, `memory://…`, any other fsspec URL).

    Reads go by exact keys, and listings are never taken from a cache. A write replaces the whole object at
    once: a reader sees the old bytes or the new ones, also when the writer is killed.

    Every failure of the storage is a `StorageError` that names the URL.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.options = dict(options or {})
        with _named_errors(url):
            self._fs, root = _filesystem(url, self.options)
        self._root = root.rstrip("/")
        self.url = self._root if self.is_local else self._fs.unstrip_protocol(self._root)

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, LocalFileSystem)

    def url_of(self, key: str) -> str:
        """URL of one object, as people and other tools name it."""
        return f"{self.url}/{key}" if key else self.url

    def read(self, key: str) -> bytes:
        """Bytes of one object."""
        with _named_errors(self.url_of(key)):
            return cast("bytes", self._fs.cat_file(self._path(key)))

    def open(self, key: str) -> BinaryIO:
        """A seekable binary file of one object, read in blocks."""
        with _named_errors(self.url_of(key)):
            return cast("BinaryIO", self._fs.open(self._path(key), "rb"))

    def exists(self, key: str) -> bool:
        with _named_errors(self.url_of(key)):
            return bool(self._fs.exists(self._path(key)))

    def size(self, key: str) -> int:
        """Bytes of one object, asked from the storage."""
        with _named_errors(self.url_of(key)):
            return int(self._fs.info(self._path(key))["size"])

    def write(self, key: str, data: bytes) -> None:
        """Write or replace one object atomically."""
        path = self._path(key)
        with _named_errors(self.url_of(key)):
            if self.is_local:
                with _complete_file(path, data) as complete:
                    os.replace(complete, path)
            else:
                self._fs.pipe_file(path, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write one object atomically unless it exists; False when it does, which leaves it as it is.

        A store that ignores conditional writes may let the later of two simultaneous writers win.
        """
        path = self._path(key)
        with _named_errors(self.url_of(key)):
            if self._fs.exists(path):
                return False
            try:
                if self.is_local:
                    with _complete_file(path, data) as complete:
                        os.link(complete, path)
                else:
                    self._fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
        return True

    def remove(self, key: str) -> None:
        """Remove one object; a missing one is no error."""
        with _named_errors(self.url_of(key)), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def find(self, prefix: str = "") -> list[StoredFile]:
        """All objects below a prefix, sorted by path; empty when there are none."""
        with _named_errors(self.url_of(prefix)):
            found = self._fs.find(self._path(prefix), detail=True)
        base = len(self._root) + 1
        return sorted(_stored_file(path[base:], info) for path, info in found.items() if info["type"] == "file")

    def children(self) -> list[str]:
        """Names of the folders and objects directly below this URL, sorted; empty when there are none."""
        with _named_errors(self.url):
            try:
                found = self._fs.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        return sorted({name for path in found if (name := path.rstrip("/").rpartition("/")[2])})

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root


def open_dataset(url: str, options: Mapping[str, Any] | None = None, *, marker: str | None = None) -> DatasetFiles:
    """The files of a dataset: a folder, or a single file that stands for itself.

    `marker` names a file of the folder that says that a version is complete, and is no data.
    Raises `DatasetError` when there is nothing at the URL.
    """
    whole = Store(url, options)
    with _named_errors(url):
        try:
            info = whole._fs.info(whole._root)
        except FileNotFoundError as error:
            raise DatasetError(f"Nothing is stored at {url}. Check dataset.url, and that the bucket exists.") from error
    if info["type"] != "file":
        return DatasetFiles(whole, None, marker)
    folder, _, name = whole._root.rpartition("/")
    parent = Store(folder if whole.is_local else whole._fs.unstrip_protocol(folder), options)
    return DatasetFiles(parent, _stored_file(name, info), None)


class DatasetFiles:
    """Read-only view of a dataset's files; hidden names and those that begin with `_` are left out."""

    def __init__(self, store: Store, single: StoredFile | None, marker: str | None) -> None:
        self._store = store
        self._single = single
        self._marker = marker
        self.url = store.url if single is None else store.url_of(single.path)

    @property
    def is_single_file(self) -> bool:
        return self._single is not None

    def files(self) -> list[StoredFile]:
        """Files sorted by path, relative to the dataset's URL (a single file is its own name)."""
        if self._single is not None:
            return [self._single]
        found = self._store.find()
        return [file for file in found if not is_hidden(file.path) and file.path != self._marker]

    def file(self, name: str) -> StoredFile | None:
        """A file directly in the dataset's folder, also one that is no data; None where it is missing."""
        return next((file for file in self._store.find(name) if file.path == name), None)

    def open(self, path: str) -> BinaryIO:
        """A seekable binary file. Paths that leave the dataset's folder are refused."""
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            raise StorageError(
                f"{path!r} leaves the dataset at {self.url}; paths must be relative to the dataset's folder."
            )
        return self._store.open(path)


def _filesystem(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    protocol, _ = fsspec.core.split_protocol(url)
    if protocol is None or protocol in ("file", "local"):
        local = Path(fsspec.core.strip_protocol(url) if protocol else url).expanduser().absolute()
        return LocalFileSystem(), os.path.normpath(local)
    extra: dict[str, Any] = {"use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        extra["config_kwargs"] = _s3_config(options.get("config_kwargs", {}))
    fs, path = fsspec.core.url_to_fs(url, **{**options, **extra})
    return fs, str(path)


def _s3_config(given: Mapping[str, Any]) -> dict[str, Any]:
    # Many S3-compatible servers do not return the newer default checksums for ranges; our own sha256 in
    # every manifest covers what they would. The standard AWS variables and the user's options win.
    config: dict[str, Any] = {}
    for name in ("request_checksum_calculation", "response_checksum_validation"):
        if f"AWS_{name.upper()}" not in os.environ:
            config[name] = "when_required"
    return {**config, **given}


@contextlib.contextmanager
def _complete_file(path: str, data: bytes) -> Iterator[str]:
    """A complete, flushed file beside `path`, to be moved or linked into place; never left behind."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    complete = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}"
    try:
        with open(complete, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield complete
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(complete)


@contextlib.contextmanager
def _named_errors(url: str) -> Iterator[None]:
    """Turn what a storage library raises into one sentence that names the URL and the remedy."""
    try:
        yield
    except LabelauditError:
        raise
    except (FileExistsError, KeyboardInterrupt):
        raise
    except FileNotFoundError as error:
        raise StorageError(
            f"Nothing is stored at {url}. Check the URL, and that the bucket or folder exists."
        ) from error
    except PermissionError as error:
        raise StorageError(
            f"Access to {url} was refused ({_first_line(error)}). Check the credentials in the environment "
            "and the permissions of this user."
        ) from error
    except ImportError as error:
        raise StorageError(
            f"{url} needs a package that is not installed ({_first_line(error)}). Install it beside labelaudit."
        ) from error
    except Exception as error:
        # botocore, aiohttp and each fsspec backend have families of their own without a common base.
        raise StorageUnavailableError(
            f"The storage behind {url} failed: {type(error).__name__}: {_first_line(error)}. "
            "Check the endpoint, the network and the credentials in the environment."
        ) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300].rstrip(".")


def _stored_file(path: str, info: Mapping[str, Any]) -> StoredFile:
    return StoredFile(path, int(info["size"] or 0), _token(info), _modified(info))


def _modified(info: Mapping[str, Any]) -> float | None:
    for name in ("LastModified", "mtime", "modified", "created"):
        value = info.get(name)
        if value is not None:
            return float(value.timestamp() if isinstance(value, datetime) else value)
    return None


def _token(info: Mapping[str, Any]) -> str | None:
    for name in ("ETag", "etag", "mtime", "LastModified", "modified", "created"):
        if info.get(name):
            return str(info[name])
    return None


def is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def clear_memory() -> None:
    """Forget everything stored under `memory://` in this process, which is one store for all."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
