"""The local cache: complete or not at all, built once, bounded."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from labelaudit.errors import StorageError
from labelaudit.storage import cache as cache_module
from labelaudit.storage.cache import Cache
from support.waiting import PATIENCE_SECONDS, wait_for


def _write(size: int, name: str = "data"):  # type: ignore[no-untyped-def]
    def build(folder: Path) -> None:
        (folder / name).write_bytes(b"x" * size)

    return build


def _must_not_build(folder: Path) -> None:
    raise AssertionError("the entry is there already")


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    with cache.entry("key", _write(5)) as folder:
        assert (folder / "data").read_bytes() == b"xxxxx"
    with cache.entry("key", _must_not_build) as folder:
        assert (folder / "data").exists()


def test_the_environment_bounds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELAUDIT_CACHE_BYTES", "1000")
    assert Cache(tmp_path).max_bytes == 1000
    assert Cache(tmp_path, 7).max_bytes == 7
    monkeypatch.setenv("LABELAUDIT_CACHE_BYTES", "")
    assert Cache(tmp_path).max_bytes > 1000
    for text in ("40GiB", "0", "-1", "1e9", "9" * 100):
        monkeypatch.setenv("LABELAUDIT_CACHE_BYTES", text)
        with pytest.raises(StorageError, match=r"LABELAUDIT_CACHE_BYTES is .*\. Set it to a number of bytes"):
            Cache(tmp_path)


def test_a_staged_folder_becomes_an_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    with cache.staging() as staged:
        _write(7)(staged)
        cache.adopt(staged, "key")
    with cache.entry("key", _must_not_build) as folder:
        assert len((folder / "data").read_bytes()) == 7
    assert not list(tmp_path.glob("staging-*"))


def test_the_first_of_two_staged_folders_stands(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    with cache.staging() as first, cache.staging() as second:
        _write(1)(first)
        _write(2)(second)
        cache.adopt(first, "key")
        cache.adopt(second, "key")
    with cache.entry("key", _must_not_build) as folder:
        assert len((folder / "data").read_bytes()) == 1


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)

    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise RuntimeError("broken image")

    with pytest.raises(RuntimeError, match="broken image"), cache.entry("key", fail):
        pass
    assert not list(tmp_path.glob("staging-*"))
    with cache.entry("key", _write(3)) as folder:
        assert not (folder / "half").exists()


def test_the_least_recently_used_entry_is_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 25)
    for key in ("a", "b"):
        with cache.entry(key, _write(10)):
            pass
        time.sleep(0.01)
    with cache.entry("a", _must_not_build):
        pass
    time.sleep(0.01)
    with cache.entry("c", _write(10)):
        pass
    with cache.entry("a", _must_not_build):
        pass
    with cache.entry("c", _must_not_build):
        pass
    assert not (tmp_path / "entry-b").exists()


def test_an_entry_in_use_is_never_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 15)
    with cache.entry("held", _write(10)) as held, cache.entry("other", _write(10)):
        assert (held / "data").exists()


def test_several_users_hold_an_entry_at_once(tmp_path: Path) -> None:
    with Cache(tmp_path, 10**6).entry("key", _write(10)) as first:
        done = threading.Event()

        def use() -> None:
            with Cache(tmp_path, 10**6).entry("key", _must_not_build) as second:
                assert second == first
                done.set()

        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        assert done.wait(PATIENCE_SECONDS), "a second user waits for the first"
        thread.join(PATIENCE_SECONDS)


def test_an_entry_larger_than_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10)
    with pytest.raises(StorageError, match=r"takes 11 bytes, more than the 10 .*Raise limits\.cache"):  # noqa: SIM117
        with cache.entry("key", _write(11)):
            pass


def test_a_full_disk(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    with pytest.raises(StorageError, match=r"The disk of the cache in .* is full"), cache.staging():
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    cache = Cache(small_disk / "cache", 10**9)
    with cache.entry("small", _write(1000)):
        pass
    with pytest.raises(StorageError, match=r"The disk of the cache in .* is full\. Free some space"):  # noqa: SIM117
        with cache.entry("big", _write(2**20)):
            pass
    # Nothing half-built is left, and what was there still is.
    assert sorted(path.name for path in cache.root.glob("*-*")) == ["entry-small"]
    with cache.entry("small", _must_not_build):
        pass


def test_a_quota_that_is_used_up(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"The disk of the cache in .* is full"), Cache(tmp_path, 10).staging():
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        Cache(tmp_path / "file" / "below")
    with pytest.raises(StorageError, match=r"cannot be written .*Set LABELAUDIT_CACHE_DIR"):  # noqa: SIM117
        with cache_module._disk_errors(tmp_path):
            raise OSError(errno.EROFS, "Read-only file system")


def test_abandoned_staging_is_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    (tmp_path / "staging-old").mkdir()
    day_and_more = time.time() - cache_module.ABANDONED_AFTER_SECONDS - 60
    os.utime(tmp_path / "staging-old", (day_and_more, day_and_more))
    (tmp_path / "staging-young").mkdir()
    with cache.entry("key", _write(1)):
        pass
    assert not (tmp_path / "staging-old").exists()
    assert (tmp_path / "staging-young").exists()


BUILDER = """
import sys, time
from pathlib import Path
from labelaudit.storage.cache import Cache

def build(folder):
    with open(sys.argv[2], "a") as log:
        log.write("build\\n")
    time.sleep(float(sys.argv[3]))
    (folder / "data").write_bytes(b"complete")

with Cache(Path(sys.argv[1]), 10**6).entry("key", build) as folder:
    assert (folder / "data").read_bytes() == b"complete"
"""


def _start(folder: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", BUILDER, str(folder), str(log), str(seconds)])


def test_two_processes_build_an_entry_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [_start(tmp_path / "cache", log, 0.5) for _ in range(3)]
    assert [process.wait(PATIENCE_SECONDS) for process in processes] == [0, 0, 0]
    assert log.read_text() == "build\n"


def test_a_killed_builder_does_not_block_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log"
    killed = _start(tmp_path / "cache", log, PATIENCE_SECONDS)
    wait_for(log.exists)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert _start(tmp_path / "cache", log, 0).wait(PATIENCE_SECONDS) == 0
    assert log.read_text() == "build\nbuild\n"
