"""Options of all Prefect tasks, and running one task per job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed, wait

from labelaudit.audits.jobs import Job
from labelaudit.errors import LabelauditError

_P = ParamSpec("_P")


def is_transient_failure(task: Task[..., object], run: TaskRun, state: State) -> bool:
    """Return whether a retry may help: storage did not answer, or a worker process died."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, LabelauditError) and error.transient


# Prefect stores no results: an audit resumes from what its jobs have stored, which is checked.
TASK_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": is_transient_failure,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


def job_task(task: Task[_P, None], job: Job) -> Task[_P, None]:
    """Return a task that does a job, with the name of the job's step."""
    return task.with_options(name=job.step, task_run_name=f"{job.step}-{job.number}")


def run_jobs(submit: Callable[[Job], PrefectFuture[None]], jobs: Sequence[Job], max_running: int) -> None:
    """Submit a task run per job, at most `max_running` at a time, and wait for all.

    A job that fails does not stop the others, so that the next run finds their results. Its error is raised at the end.
    """
    futures: list[PrefectFuture[None]] = []
    running: list[PrefectFuture[None]] = []
    for job in jobs:
        if len(running) == max_running:
            running.remove(next(iter(as_completed(running))))
        running.append(submit(job))
        futures.append(running[-1])
    wait(futures)
    for future in futures:
        future.result()
