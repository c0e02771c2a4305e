"""The store `memory://`, which all tests of a process share."""

from __future__ import annotations

from fsspec.implementations.memory import MemoryFileSystem


def clear_memory() -> None:
    """Remove everything under `memory://` in this process."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
