"""What counts as held: anonymous memory, not the pages of mapped files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labelaudit import memory
from labelaudit.memory import held_bytes, peak_bytes, release

MIB = 2**20
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what is mapped")


def test_an_array_counts_and_a_mapped_file_does_not(tmp_path: Path) -> None:
    before = held_bytes()
    array = np.ones(64 * MIB, np.uint8)
    assert 60 * MIB < held_bytes() - before < 80 * MIB
    array.tofile(tmp_path / "pixels.bin")
    del array
    before = held_bytes()
    mapped = np.memmap(tmp_path / "pixels.bin", np.uint8, "r")
    assert int(mapped[:: os.sysconf("SC_PAGE_SIZE")].sum(dtype=np.int64)) > 0
    assert held_bytes() - before < 16 * MIB


def test_a_process_is_asked_by_its_number() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert held_bytes(process.pid) >= 0
        process.communicate(b"\n")
    assert held_bytes(process.pid) == 0


def test_all_that_is_resident_counts_where_the_system_says_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_status", lambda pid: {})
    assert held_bytes() > 20 * MIB
    assert peak_bytes() > 20 * MIB


def test_the_peak_stays_after_memory_is_given_back() -> None:
    parts = [bytes(1000) for _ in range(100_000)]
    held = held_bytes()
    del parts
    release()
    assert held_bytes() < held - 50 * MIB
    assert peak_bytes() > held - 16 * MIB
