"""Worker processes without the work: which slots keep theirs."""

from __future__ import annotations

import subprocess
from typing import IO, Any

import pytest

from labelaudit.audits.jobs import FoldJob
from labelaudit.local import workers
from labelaudit.local.messages import JobDone, to_line
from labelaudit.local.workers import LocalWorkers, Slot

# Answers each request at once.
_ANSWERS = "while read -r request; do printf '%s' \"$0\"; done"


def test_the_processes_of_slots_that_are_not_kept_end(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, subprocess.Popen[str]] = {}

    def start_worker(environment: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(["sh", "-c", _ANSWERS, to_line(JobDone())], stdin=pipe, stdout=pipe, text=True)
        started[environment["CUDA_VISIBLE_DEVICES"]] = process
        return process

    monkeypatch.setattr(workers, "start_worker", start_worker)
    monkeypatch.setattr(workers, "to_line", lambda request: f"{request.job.number}\n")
    reference: Any = None  # is not read
    with LocalWorkers([Slot(str(gpu), 1) for gpu in range(3)]) as here:
        for number in range(4):
            here.work_on(FoldJob(reference, number))
        assert list(started) == ["0", "1", "2"]
        here.keep(2)
        assert [process.poll() is None for process in started.values()] == [True, True, False]
        assert here.slots == [Slot("0", 1), Slot("1", 1)]
        for number in range(4):
            here.work_on(FoldJob(reference, number))
        assert list(started) == ["0", "1", "2"], "no process is started again"
    assert all(process.poll() is not None for process in started.values())
