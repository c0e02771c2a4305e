"""The body of a worker process: trains the folds that it is asked for, and answers in lines of JSON.

Started by `labelaudit.local.workers` as `python -m labelaudit.local.worker_process`.
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

from labelaudit.audits.references import PreparedReference
from labelaudit.errors import LabelauditError, TrainingError
from labelaudit.memory import release
from labelaudit.model.device import release_device
from labelaudit.pipeline.train import train_fold


def main() -> None:
    """Train one fold after the other until standard input ends, which the parent's death brings about."""
    # What user modules print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    while True:
        answer(**_train(json.loads(requests.get()), answer))
        # What the fold leaves behind would add to what the next one takes.
        release()
        release_device()


def _train(request: dict[str, Any], answer: Callable[..., None]) -> dict[str, Any]:
    """The last answer to a request: its result, or the error in its place."""
    fold = request["fold"]

    def on_epoch(epoch: int, epochs: int, loss: float) -> None:
        answer(epoch=epoch, epochs=epochs, loss=loss)

    try:
        reference = PreparedReference(**request["reference"])
        return {"result": asdict(train_fold(reference, fold, on_epoch, is_pinned=True))}
    except LabelauditError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        # The log has the whole traceback; the message names the kind.
        traceback.print_exc()
        message = f"Fold {fold} failed: {type(error).__name__}: {str(error)[:500]}"
        return {"error": TrainingError.__name__, "message": message}


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    # The parent is gone: what is trained now would be asked for by nobody. Committed folds are kept.
    os._exit(1)


if __name__ == "__main__":
    main()
