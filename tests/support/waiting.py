"""Waiting for a condition, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# A fold's process imports torch and Prefect, on a machine that is busy with other tests.
PATIENCE_SECONDS = 600.0


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS, what: str = "") -> Any:
    """Wait until the condition is true, and return its value. Servers are asked less often in a longer wait."""
    start = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - start
        assert waited < seconds, f"timed out after {seconds:.0f} s {what}"
        time.sleep(min(max(waited / 20, 0.05), 0.5))
    return value
