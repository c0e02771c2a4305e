"""The program of a worker process: reads requests for folds as lines of JSON, trains them, and answers.

`labelaudit.local.workers` starts it as `python -m labelaudit.local.worker_process`.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from labelaudit.audits.references import PlanReference
from labelaudit.errors import LabelauditError, TrainingError
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

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    while True:
        answer(**_train(json.loads(requests.get()), answer))
        # Memory that the fold leaves behind would add to that of the next one.
        release()
        release_device()


def _train(request: dict[str, Any], answer: Callable[..., None]) -> dict[str, Any]:
    """Return the last answer to a request: the result or the error."""
    fold = request["fold"]

    def on_epoch(epoch: int, epochs: int, loss: float) -> None:
        answer(epoch=epoch, epochs=epochs, loss=loss)

    try:
        reference = PlanReference(**request["reference"])
        return {"result": asdict(train_and_commit(reference, fold, on_epoch, is_pinned=True))}
    except LabelauditError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        # The log gets the whole traceback, and the message only the type.
        traceback.print_exc()
        message = f"Fold {fold} failed: {type(error).__name__}: {str(error)[:500]}"
        return {"error": TrainingError.__name__, "message": message}


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    # The parent has ended, so the current fold is not needed any more. Committed folds are kept.
    os._exit(1)


if __name__ == "__main__":
    serve_folds()
