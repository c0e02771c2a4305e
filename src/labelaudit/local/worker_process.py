"""The program of a worker process: reads requests for folds as lines of JSON, trains them, and answers.

`labelaudit.local.workers` starts it as `python -m labelaudit.local.worker_process`.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable

from labelaudit.errors import LabelauditError, TrainingError
from labelaudit.local.messages import (
    EpochEnded,
    FoldFailed,
    FoldRequest,
    FoldTrained,
    WorkerAnswer,
    read_request,
    to_line,
)
from labelaudit.memory import release
from labelaudit.model.device import release_device
from labelaudit.pipeline.train import train_and_commit


def serve_folds() -> None:
    """Train one fold after the other until standard input ends, at the latest when the parent dies."""
    # Text that user modules print must not mix with the answers, so it goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()

    def answer(message: WorkerAnswer) -> None:
        answers.write(to_line(message))

    while True:
        answer(_train(read_request(requests.get()), answer))
        # Memory that the fold leaves behind would add to that of the next one.
        release()
        release_device()


def _train(request: FoldRequest, answer: Callable[[WorkerAnswer], None]) -> FoldTrained | FoldFailed:
    """Return the last answer to a request: the result or the error."""
    fold = request.fold

    def on_epoch(epoch: int, epochs: int, loss: float) -> None:
        answer(EpochEnded(epoch, epochs, loss))

    try:
        return FoldTrained(train_and_commit(request.reference, fold, on_epoch, is_pinned=True))
    except LabelauditError as error:
        return FoldFailed(type(error).__name__, str(error))
    except Exception as error:
        # The log gets the whole traceback, and the message only the type.
        traceback.print_exc()
        message = f"Fold {fold} failed: {type(error).__name__}: {str(error)[:500]}"
        return FoldFailed(TrainingError.__name__, message)


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    # The parent has ended, so the current fold is not needed any more. Committed folds are kept.
    os._exit(1)


if __name__ == "__main__":
    serve_folds()
