"""`labelaudit`, with the seconds of each step of an audit written to a file.

    python -m gpu_kit.timed_command STEPS.json run CONFIG --json

Nothing else differs from the command: the steps are timed where the audit calls them.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labelaudit.audit import DirectCaller
from labelaudit.cli.main import main

# By step: its start in seconds since the epoch, and its duration in seconds.
_steps: dict[str, tuple[float, float]] = {}


def _timed(original: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
    def timed(self: DirectCaller, *args: Any, **kwargs: Any) -> Any:
        # Jobs call steps from other threads, but `encode` and `train_folds` are timed as a whole.
        if threading.current_thread() is not threading.main_thread():
            return original(self, *args, **kwargs)
        began, started = time.time(), time.perf_counter()
        try:
            return original(self, *args, **kwargs)
        finally:
            _steps[name_of(*args)] = (began, time.perf_counter() - started)

    return timed


def run() -> None:
    path = Path(sys.argv.pop(1))
    DirectCaller.call = _timed(DirectCaller.call, lambda step, *_: step.__name__)  # type: ignore[method-assign]
    DirectCaller.encode = _timed(DirectCaller.encode, lambda *_: "encode")  # type: ignore[method-assign]
    DirectCaller.train_folds = _timed(DirectCaller.train_folds, lambda *_: "train_folds")  # type: ignore[method-assign]
    try:
        main()
    finally:
        path.write_text(json.dumps(_steps))


if __name__ == "__main__":
    run()
