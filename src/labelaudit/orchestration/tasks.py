"""Options of all Prefect tasks, and running one task per fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed, wait

from labelaudit.errors import LabelauditError

_T = TypeVar("_T")


def is_transient_failure(task: Task[..., object], run: TaskRun, state: State) -> bool:
    """Return whether a retry may help: storage did not answer, or a worker process died."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, LabelauditError) and error.transient


# Prefect stores no results: an audit resumes from committed folds, which are checked against the data.
TASK_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": is_transient_failure,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


def run_folds(submit: Callable[[int], PrefectFuture[_T]], folds: list[int], max_running: int) -> list[_T]:
    """Submit a task run per fold, at most `max_running` at a time, and return their results.

    A fold that fails does not stop the others, so that the next run finds them. Its error is raised at the end.
    """
    futures: list[PrefectFuture[_T]] = []
    running: list[PrefectFuture[_T]] = []
    for fold in folds:
        if len(running) == max_running:
            running.remove(next(iter(as_completed(running))))
        running.append(submit(fold))
        futures.append(running[-1])
    wait(futures)
    return [future.result() for future in futures]
