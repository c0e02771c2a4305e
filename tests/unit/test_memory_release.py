"""Memory goes back to the system if there is enough of it to be worth the time."""

from __future__ import annotations

import pytest

from labelaudit import memory

MIB = 2**20


def test_memory_is_released_only_after_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []
    held = iter([200 * MIB, 100 * MIB, 150 * MIB, 170 * MIB, 90 * MIB])
    monkeypatch.setattr(memory, "_held_after_release", 0)
    monkeypatch.setattr(memory, "held_bytes", lambda: next(held))
    monkeypatch.setattr(memory, "release", lambda: released.append("released"))
    memory.release_if_grown()  # it holds 200 MiB, and 100 afterwards
    memory.release_if_grown()  # 50 MiB more
    assert len(released) == 1
    memory.release_if_grown()  # 70 MiB more
    assert len(released) == 2
