"""What a process holds in memory, as `limits.memory` counts it. Imports nothing of ours."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

import psutil
import pyarrow as pa

# Anonymous pages, shared memory, and what of both was swapped out. Pages of mapped files (the decoded
# inputs, libraries) are not in it: the kernel drops them when it needs the room.
_HELD = ("RssAnon", "RssShmem", "VmSwap")


def held_bytes(pid: int | None = None) -> int:
    """Bytes of memory that a process (None: this one) holds and that cannot be dropped; 0 once it has ended.

    Where the system does not tell them apart from mapped files (macOS), all resident bytes.
    """
    number = os.getpid() if pid is None else pid
    fields = _status(number)
    if fields:
        return sum(fields.get(name, 0) for name in _HELD)
    try:
        return int(psutil.Process(number).memory_info().rss)
    except psutil.Error:
        return 0


def peak_bytes() -> int:
    """The most that this process has held so far, about: its peak less the mapped files of now."""
    fields = _status(os.getpid())
    return fields["VmHWM"] - fields["RssFile"] if fields else held_bytes()


def release() -> None:
    """Give back to the system what freed objects have left with the allocators of this process."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def _status(pid: int) -> dict[str, int]:
    """Sizes in bytes that the kernel tells of a process; empty where there is no such process or no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":")[::2] for line in lines)
    return {name: int(value.split()[0]) * 1024 for name, value in pairs if value.endswith(" kB")}
