"""A folder in any fsspec filesystem, with whole objects, exact keys and atomic writes."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, TypeAlias, TypeVar, cast

from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from labelaudit.errors import DatasetError, StorageError
from labelaudit.storage.failures import is_missing_bucket, is_unexplained_refusal, named_errors, without_secrets
from labelaudit.storage.file_on_disk import FileOnDisk
from labelaudit.storage.filesystems import StorageOptions, open_filesystem
from labelaudit.storage.layout import CONDITIONS_PROBE
from labelaudit.storage.lazy_file import LazyFile
from labelaudit.storage.local_listing import LocalFile, local_files
from labelaudit.storage.non_data import is_non_data
from labelaudit.storage.retries import retrying
from labelaudit.storage.uploads import complete_copy, complete_file, upload, upload_file, upload_new

_T = TypeVar("_T")

# What fsspec reports about a path: `name`, `size`, `type`, and entries of the filesystem's own.
FileInfo: TypeAlias = Mapping[str, Any]

# Filesystems and roots that were found to honour conditional writes, for the life of the process.
_with_conditions: set[tuple[int, str]] = set()


class StoredFile(NamedTuple):
    """One object below a store's URL."""

    path: str  # relative to the store's URL
    size: int  # bytes
    token: str | None  # changes when the content does (ETag, else modification time); None if unknown
    modified: float | None  # seconds since 1970; None if unknown


class Store:
    """Objects below one URL (`s3://…`, a local path, `memory://…`, any other fsspec URL).

    Keys are exact, and listings are never cached. A write replaces the whole object at once: readers see the old
    bytes or the new ones, even if the writer is killed. Transient failures (an answer of 429, 500 or 503, a
    timeout, a lost connection, a body that was cut) are retried, within limits.

    All failures of the storage raise a `StorageError` that names the URL.
    """

    def __init__(self, url: str, options: StorageOptions | None = None) -> None:
        self.options = dict(options or {})
        with named_errors(url):
            self._fs, root = open_filesystem(url, self.options)
        self._root = root.rstrip("/")
        self.url = self._root if self.is_local else self._fs.unstrip_protocol(self._root)

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, LocalFileSystem)

    def url_of(self, key: str) -> str:
        """Return the URL of one object, for people and other tools."""
        return f"{self.url}/{key}" if key else self.url

    def read(self, key: str) -> bytes:
        """Return the bytes of one object."""
        data: bytes = self._call("read", key, self._fs.cat_file, self._path(key))
        return data

    def read_if_there(self, key: str) -> bytes | None:
        """Return the bytes of one object; None if there is none, or if it is removed in the meantime."""
        try:
            return self.read(key)
        except StorageError:
            if self.exists(key):
                raise
            return None

    def open(self, key: str) -> BinaryIO:
        """Return a seekable binary file of one object, read in blocks when they are needed."""
        file = self._call("read", key, self._fs.open, self._path(key), "rb")
        if self.is_local:
            return cast("BinaryIO", file)
        return cast("BinaryIO", LazyFile(file, self.url_of(key), functools.partial(self._call, "read", key)))

    def exists(self, key: str) -> bool:
        return self._call("read", key, self._info, self._path(key)) is not None

    def size(self, key: str) -> int:
        """Return the size of one object in bytes, as the storage reports it."""
        return int(self._call("read", key, self._fs.info, self._path(key))["size"])

    def write(self, key: str, data: bytes) -> None:
        """Write or replace one object atomically, and check size and checksum of the stored bytes."""
        path = self._path(key)
        if not self.is_local:
            self._call("written", key, upload, self._fs, path, data)
            return
        with named_errors(self.url_of(key), "written"), complete_file(path, data) as complete:
            os.replace(complete, path)

    def write_file(self, key: str, file: FileOnDisk) -> None:
        """Write or replace one object with the content of a file, as `write` does. A temporary file may be moved.

        Raises `StorageError` if the checksum of the file is not the expected one.
        """
        path = self._path(key)
        if not self.is_local:
            self._call("written", key, upload_file, self._fs, path, file)
            return
        with named_errors(self.url_of(key), "written"), complete_copy(path, file) as complete:
            os.replace(complete, path)

    def local_path(self, key: str) -> str | None:
        """Return the path of one object in the file system of this machine; None if it is elsewhere."""
        return self._path(key) if self.is_local else None

    def create(self, key: str, data: bytes) -> bool:
        """Write one object atomically unless there is one already; return whether its bytes are ours.

        If many write at once, one wins and each learns whether it did. Raises `StorageError` for stores that
        cannot decide this, see `require_conditional_writes`.
        """
        if self.exists(key):
            return False
        self.require_conditional_writes()
        try:
            self._call("written", key, self._create, self._path(key), data)
        except FileExistsError:
            # It may be ours, if the answer to an earlier try was lost. HTTP clients may also resend a request.
            # If it is not ours, its writer may have removed it since.
            return self.read_if_there(key) == data
        return True

    def require_conditional_writes(self) -> None:
        """Raise `StorageError` if the store ignores the condition that nothing may be stored at a key yet.

        Some S3 servers do so without an error. Writing a probe object twice finds out, once per process and store.
        """
        this = (hash(self._fs), self._root)
        if self.is_local or isinstance(self._fs, MemoryFileSystem) or this in _with_conditions:
            return
        if not self._refuses_second_write():
            raise StorageError(
                f"{without_secrets(self.url)} ignores conditional writes (If-None-Match), so two runs could overwrite "
                "each other's records. Use a server that honours them, such as AWS S3, Cloudflare R2, or a current "
                "MinIO or SeaweedFS, or use a local folder."
            )
        _with_conditions.add(this)

    def remove(self, key: str) -> None:
        """Remove one object, if it exists."""
        self._call("removed", key, self._remove, self._path(key))

    def find(self, prefix: str = "") -> list[StoredFile]:
        """Return all objects below a prefix, sorted by path. In local folders, links are followed."""
        if self.is_local:
            return self._call("listed", prefix, self._find_local, prefix)
        found = self._call("listed", prefix, functools.partial(self._fs.find, detail=True), self._path(prefix))
        base = len(self._root) + 1
        return sorted(_stored_file(path[base:], info) for path, info in found.items() if info["type"] == "file")

    def _find_local(self, prefix: str) -> list[StoredFile]:
        path = self._path(prefix)
        found = [LocalFile("", os.stat(path))] if os.path.isfile(path) else list(local_files(path))
        base = f"{prefix}/" if prefix else ""
        return sorted(_stored_local_file(f"{base}{file.path}".rstrip("/"), file.status) for file in found)

    def children(self) -> list[str]:
        """Return the names of the folders and objects directly below this URL, sorted."""
        return sorted({_last_segment(info["name"]) for info in self._listed()} - {""})

    def folders(self) -> list[str]:
        """Return the names of the folders directly below this URL, links to folders included, sorted."""
        return sorted({_last_segment(info["name"]) for info in self._listed() if info["type"] != "file"} - {""})

    def info(self) -> FileInfo | None:
        """Return what fsspec knows about the URL itself; None if nothing is there."""
        return self._call("read", "", self._info, self._root)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _call(self, action: str, key: str, function: Callable[..., _T], *args: object) -> _T:
        """Call a function that sends a request, with retries and named errors. All requests go through here."""
        with named_errors(self.url_of(key), action):
            try:
                return retrying(self.url_of(key))(function, *args)
            except OSError as error:
                if is_unexplained_refusal(error):
                    self._ask_why(key)
                raise

    def _ask_why(self, key: str) -> None:
        """Send a GET request below a key, so that the server's answer has a body that names the reason."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.cat_file(self._path(f"{key}/_" if key else "_"), start=0, end=1)

    def _info(self, path: str) -> FileInfo | None:
        try:
            info: FileInfo = self._fs.info(path)
            return info
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise
            return None

    def _listed(self) -> list[FileInfo]:
        return self._call("listed", "", self._list, self._root)

    def _list(self, path: str) -> list[FileInfo]:
        try:
            found: list[FileInfo] = self._fs.ls(path, detail=True)
            return found
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise
            return []

    def _remove(self, path: str) -> None:
        try:
            self._fs.rm_file(path)
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise

    def _create(self, path: str, data: bytes) -> None:
        if self.is_local:
            with complete_file(path, data) as complete:
                os.link(complete, path)
        else:
            upload_new(self._fs, path, data)

    def _refuses_second_write(self) -> bool:
        # If the probe object is there already, the first write is refused.
        for _ in range(2):
            try:
                self._call("written", CONDITIONS_PROBE, upload_new, self._fs, self._path(CONDITIONS_PROBE), b"")
            except FileExistsError:
                return True
            except NotImplementedError:
                return False
        return False


def open_dataset(url: str, options: StorageOptions | None = None, *, marker: str | None = None) -> DatasetFiles:
    """Return the files of a dataset, which is a folder or a single file.

    `marker` is the name of the file that completes a version; it is not data.
    Raises `DatasetError` if there is nothing at the URL.
    """
    whole = Store(url, options)
    try:
        info = whole.info()
    except StorageError as error:
        if is_missing_bucket(error):
            raise DatasetError(f"{error}") from error
        raise
    if info is None:
        raise DatasetError(f"Nothing is stored at {url}. Check dataset.url.")
    if info["type"] != "file":
        return DatasetFiles(whole, None, marker)
    folder, _, name = whole._root.rpartition("/")
    parent = Store(folder if whole.is_local else whole._fs.unstrip_protocol(folder), options)
    return DatasetFiles(parent, _stored_file(name, info), None)


class DatasetFiles:
    """Read-only view of a dataset's files, without those that are known not to be data."""

    def __init__(self, store: Store, single: StoredFile | None, marker: str | None) -> None:
        self._store = store
        self._single = single
        self._marker = marker
        self.url = store.url if single is None else store.url_of(single.path)

    @property
    def is_single_file(self) -> bool:
        return self._single is not None

    def files(self) -> list[StoredFile]:
        """Return the files sorted by path, relative to the dataset's URL (for a single file: its name)."""
        if self._single is not None:
            return [self._single]
        found = self._store.find()
        return [file for file in found if not is_non_data(file.path) and file.path != self._marker]

    def file(self, name: str) -> StoredFile | None:
        """Return a file directly in the dataset's folder, even if it is not data; None if it is missing."""
        return next((file for file in self._store.find(name) if file.path == name), None)

    def open(self, path: str) -> BinaryIO:
        """Return a seekable binary file. Raises `StorageError` for paths that leave the dataset's folder."""
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            raise StorageError(
                f"The path {path!r} leaves the dataset at {self.url}. Use paths relative to the dataset's folder."
            )
        return self._store.open(path)

    def local_path(self, path: str) -> str | None:
        """Return the path of a file on this machine; None if it is in another storage."""
        return self._store.local_path(path)


def _stored_file(path: str, info: FileInfo) -> StoredFile:
    return StoredFile(path, int(info["size"] or 0), _token(info), _modified(info))


def _stored_local_file(path: str, status: os.stat_result) -> StoredFile:
    return StoredFile(path, status.st_size, str(status.st_mtime), status.st_mtime)


def _modified(info: FileInfo) -> float | None:
    for name in ("LastModified", "mtime", "modified", "created"):
        value = info.get(name)
        if value is not None:
            return float(value.timestamp() if isinstance(value, datetime) else value)
    return None


def _token(info: FileInfo) -> str | None:
    for name in ("ETag", "etag", "mtime", "LastModified", "modified", "created"):
        if info.get(name):
            return str(info[name])
    return None


def _last_segment(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
