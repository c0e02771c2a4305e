"""Steps as Prefect tasks: what may pass is tried again, nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed, wait

from labelaudit.errors import LabelauditError

T = TypeVar("T")


def may_pass(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry what another try may change: storage that did not answer, a worker that died."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, LabelauditError) and error.transient


# Resume is our own (committed folds, checked against the data), so no result of a task is kept.
TASK_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": may_pass,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


def side_by_side(submit: Callable[[int], PrefectFuture[T]], folds: list[int], at_once: int) -> list[T]:
    """Submit a task run per fold, `at_once` at a time, and wait for all.

    One that fails does not stop the others, whose folds are then there for the next run; its error is raised in
    the end.
    """
    futures: list[PrefectFuture[T]] = []
    running: list[PrefectFuture[T]] = []
    for fold in folds:
        if len(running) == at_once:
            running.remove(next(iter(as_completed(running))))
        running.append(submit(fold))
        futures.append(running[-1])
    wait(futures)
    return [future.result() for future in futures]
