"""Unit tests start no process and open no connection: they are quick, and depend on nothing outside of Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Audit events of CPython: https://docs.python.org/3/library/audit_events.html
FORBIDDEN = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "socket.bind", "socket.connect"}


class Guard:
    """Refuses what is forbidden while a unit test runs. An audit hook can't be removed, so it is switched."""

    is_on = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_on and event in FORBIDDEN:
            raise AssertionError(
                f"A unit test called {event}{arguments!r:.200}. Unit tests start no process and open no connection. "
                "Move the test to tests/contract or tests/system."
            )


_guard = Guard()
sys.addaudithook(_guard)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Guard each test of this folder, together with its fixtures."""
    # pytest calls this hook for the tests of other folders too.
    _guard.is_on = item.path.is_relative_to(Path(__file__).parent)
    try:
        return (yield)
    finally:
        _guard.is_on = False
