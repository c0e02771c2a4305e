"""The program of a worker process: reads jobs as lines of JSON, does them, and answers.

`labelaudit.local.workers` starts it as `python -m labelaudit.local.worker_process`.
"""

from __future__ import annotations

import gc
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable

from labelaudit.errors import LabelauditError, TrainingError
from labelaudit.local.messages import JobDone, JobFailed, JobRequest, WorkerAnswer, read_request, to_line
from labelaudit.memory import release
from labelaudit.model.device import release_device
from labelaudit.pipeline.job_work import do_job


def serve_jobs() -> None:
    """Do one job after the other until standard input ends, at the latest when the parent dies."""
    # What the imports made stays to the end. Each garbage collection would search it for .3 seconds.
    gc.freeze()
    # Text that user modules print must not mix with the answers, so it goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()

    def answer(message: WorkerAnswer) -> None:
        answers.write(to_line(message))

    while True:
        answer(_work_on(read_request(requests.get()), answer))
        # Memory that the job leaves behind would add to that of the next one.
        release()
        release_device()


def _work_on(request: JobRequest, answer: Callable[[WorkerAnswer], None]) -> JobDone | JobFailed:
    """Do a job and return the last answer to it."""
    try:
        do_job(request.job, answer, is_pinned=True)
    except LabelauditError as error:
        return JobFailed(type(error).__name__, str(error))
    except Exception as error:
        # The log gets the whole traceback, and the message only the type.
        traceback.print_exc()
        message = f"{request.job.name.capitalize()} failed: {type(error).__name__}: {str(error)[:500]}"
        return JobFailed(TrainingError.__name__, message)
    return JobDone()


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    # The parent has ended, so the current job is not needed any more. Stored results are kept.
    os._exit(1)


if __name__ == "__main__":
    serve_jobs()
