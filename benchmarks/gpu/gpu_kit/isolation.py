"""Runs a point in its own process, so that an error, a crash or a hang is one line of the report."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAST_LINES = 20
_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Outcome:
    """How a process ended: status done, failed or timed out; `error`: why, with its last lines."""

    status: str
    error: str | None = None


def run_isolated(
    command: Sequence[str], *, log: Path, seconds: float, environment: Mapping[str, str], folder: Path
) -> Outcome:
    """Run `command` for at most `seconds`; its output is appended to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,  # a new process group, which is ended as a whole
        )
        _running.add(process)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Outcome("timed out", f"It was ended after {seconds:.0f} s.{_last_lines(log)}")
        finally:
            _end_group(process)
            _running.discard(process)
    if code == 0:
        return Outcome("done")
    cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Outcome("failed", f"It ended with {cause}.{_last_lines(log)}")


def end_all() -> None:
    """End the processes that other threads of this process still run."""
    for process in list(_running):
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children. Workers of an audit end with the process that started them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "".join(f"\n{line[:300]}" for line in lines[-_LAST_LINES:])
