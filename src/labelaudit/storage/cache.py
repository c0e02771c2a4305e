"""A cache of decoded inputs on the local disk, of limited size, shared by all processes of a machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from labelaudit.errors import StorageError

# Half of the free disk leaves space for other jobs on the machine.
AUTO_SHARE_OF_FREE_DISK = 0.5
# A staging folder of this age belongs to a killed process, because no build takes a day.
ABANDONED_AFTER_SECONDS = 24 * 3600


class Cache:
    """A folder of entries. An entry is a folder that is complete or missing, and never changes.

    Each user of an entry has a shared lock on it, which is released when the process ends. Entries without a
    lock are evicted, the least recently used first. Linux and macOS only (flock).

    Args:
        root: the folder. None: `LABELAUDIT_CACHE_DIR`, else the user's cache folder.
        max_bytes: its largest size. None: `LABELAUDIT_CACHE_BYTES`, else half of the free disk.
    """

    def __init__(self, root: Path | None = None, max_bytes: int | None = None) -> None:
        self.root = root or Path(os.environ.get("LABELAUDIT_CACHE_DIR") or platformdirs.user_cache_dir("labelaudit"))
        with _disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free
        self.max_bytes = (
            max_bytes or _bytes_of_environment() or int(free * AUTO_SHARE_OF_FREE_DISK) + self._used_bytes()
        )

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a private folder in which to build an entry. It is removed at the end."""
        with _disk_errors(self.root):
            folder = Path(tempfile.mkdtemp(prefix="staging-", dir=self.root))
        try:
            with _disk_errors(self.root):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, staged: Path, key: str) -> None:
        """Make a staged folder the entry `key`, unless that entry exists already."""
        with self._lock(key, fcntl.LOCK_EX):
            self._move_in(staged, key)
        self._evict()

    @contextlib.contextmanager
    def entry(self, key: str, build: Callable[[Path], None]) -> Iterator[Path]:
        """Yield the folder of an entry, locked while in use. If it is missing, one process builds it first."""
        # First a shared lock: an exclusive one would wait for all users of an existing entry.
        with self._lock(key, fcntl.LOCK_SH) as lock:
            # A loop, because changing the lock is not atomic: the entry may be evicted in between.
            while not self._folder(key).is_dir():
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._build(key, build)
                fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(self._folder(key))
            self._evict()
            yield self._folder(key)

    def _build(self, key: str, build: Callable[[Path], None]) -> None:
        # Another process may have built it while this one waited for the lock.
        if not self._folder(key).is_dir():
            with self.staging() as staged:
                build(staged)
                self._move_in(staged, key)

    def _folder(self, key: str) -> Path:
        return self.root / f"entry-{key}"

    @contextlib.contextmanager
    def _lock(self, key: str, kind: int) -> Iterator[int]:
        lock = os.open(self.root / f"{key}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, kind)
            yield lock
        finally:
            os.close(lock)

    def _move_in(self, staged: Path, key: str) -> None:
        if self._folder(key).is_dir():
            return
        size = _folder_bytes(staged)
        if size > self.max_bytes:
            raise StorageError(
                f"The entry takes {size:,} bytes, more than the {self.max_bytes:,} of the cache in "
                f"{self.root}. Raise limits.cache, or set LABELAUDIT_CACHE_DIR to a larger disk."
            )
        os.rename(staged, self._folder(key))

    def _entries(self) -> list[Path]:
        """Return the entries, least recently used first."""
        found = []
        for folder in self.root.glob("entry-*"):
            with contextlib.suppress(FileNotFoundError):
                found.append((folder.stat().st_mtime_ns, folder))
        return [folder for _, folder in sorted(found)]

    def _used_bytes(self) -> int:
        return sum(_folder_bytes(folder) for folder in self._entries())

    def _evict(self) -> None:
        for staged in self.root.glob("staging-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - staged.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                    shutil.rmtree(staged, ignore_errors=True)
        used = self._used_bytes()
        for folder in self._entries():
            if used <= self.max_bytes:
                return
            key = folder.name.removeprefix("entry-")
            # If the entry is in use, its lock cannot be acquired.
            with contextlib.suppress(BlockingIOError), self._lock(key, fcntl.LOCK_EX | fcntl.LOCK_NB):
                size = _folder_bytes(folder)
                shutil.rmtree(folder, ignore_errors=True)
                used -= size


def _bytes_of_environment() -> int | None:
    """Return the limit for volumes whose file system does not report one, such as an `emptyDir` with a `sizeLimit`."""
    text = os.environ.get("LABELAUDIT_CACHE_BYTES", "")
    if not text:
        return None
    if not re.fullmatch("[1-9][0-9]{0,17}", text):
        raise StorageError(f"LABELAUDIT_CACHE_BYTES is {text[:80]!r}. Set it to a number of bytes, or leave it out.")
    return int(text)


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@contextlib.contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"The disk of the cache in {root} is full. Free some space, or set LABELAUDIT_CACHE_DIR to "
                "another disk."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StorageError(
                f"The cache in {root} cannot be written ({error.strerror}). Set LABELAUDIT_CACHE_DIR to a "
                "folder that this user may write."
            ) from error
        raise
