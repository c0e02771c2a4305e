"""The memory of a process, as `limits.memory` counts it."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

import psutil
import pyarrow as pa

# Anonymous pages, shared memory, and the swapped part of both. Pages of mapped files (decoded inputs, libraries)
# do not count, because the kernel drops them when it needs memory.
_COUNTED = ("RssAnon", "RssShmem", "VmSwap")
# Less is not worth the time.
_WORTH_COLLECTING = 64 * 2**20
_held_after_release = 0


def held_bytes(pid: int | None = None) -> int:
    """Return the bytes of memory of a process that cannot be dropped; 0 if it has ended.

    Systems that do not report mapped files separately (macOS) return all resident bytes.

    Args:
        pid: the process; None: this one.
    """
    pid = os.getpid() if pid is None else pid
    fields = _status(pid)
    if fields:
        return sum(fields.get(name, 0) for name in _COUNTED)
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def peak_bytes() -> int:
    """Return about the largest `held_bytes` of this process so far: its peak minus the files mapped now."""
    fields = _status(os.getpid())
    return fields["VmHWM"] - fields["RssFile"] if fields else held_bytes()


def release() -> None:
    """Return memory of freed objects from the allocators of this process to the system."""
    gc.collect()
    _trim()


def _trim() -> None:
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


def _status(pid: int) -> dict[str, int]:
    """Return the sizes in bytes that the kernel reports for a process; empty without such a process or /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":")[::2] for line in lines)
    return {name: int(value.split()[0]) * 1024 for name, value in pairs if value.endswith(" kB")}


def release_if_grown() -> None:
    """Release memory, with garbage if this process holds at least 64 MiB more than after the last time.

    Collecting garbage takes up to half a second if many modules are imported, which small datasets need not pay.
    """
    global _held_after_release
    _trim()
    if held_bytes() - _held_after_release >= _WORTH_COLLECTING:
        release()
        _held_after_release = held_bytes()
