"""The flow that audits one dataset version: prepare, k folds, gather, detect, publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed, wait

from flows.artifacts import RunProgress, publish_artifacts
from labelaudit.audit import run_audit
from labelaudit.config import AuditConfig
from labelaudit.errors import LabelauditError
from labelaudit.steps.detect import detect
from labelaudit.steps.gather import gather
from labelaudit.steps.prepare import prepare
from labelaudit.steps.publish import find_published, load_summary, publish, worst_issues
from labelaudit.steps.references import AuditReference, FoldReference, PreparedReference
from labelaudit.workers import LocalWorkers

P = ParamSpec("P")
T = TypeVar("T")

# Artifacts live in the server's database: the Parquet holds the rest.
ISSUES_IN_ARTIFACT = 100


def _may_pass(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry what another try may change: storage that did not answer, a worker that died."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, LabelauditError) and error.transient


# Resume is our own (committed folds, checked against the data), so no result of a task is kept.
_OPTIONS: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": _may_pass,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}

_TASKS: dict[Callable[..., Any], Task[..., Any]] = {
    step: task(name=step.__name__.replace("_", "-"), **_OPTIONS)(step)
    for step in (prepare, find_published, gather, detect, publish)
}


@task(name="train-fold", task_run_name="train-fold-{fold}", **_OPTIONS)
def train_fold(workers: LocalWorkers, reference: PreparedReference, fold: int) -> FoldReference:
    """Train one fold in a worker process of this machine."""
    return workers.train(reference, fold)


@task(name="show", **{**_OPTIONS, "retries": 0})
def show(audit: AuditReference, config: AuditConfig) -> None:
    """Show a published audit as artifacts of this run."""
    options = config.storage.options
    publish_artifacts(audit, load_summary(audit, options), worst_issues(audit, options, limit=ISSUES_IN_ARTIFACT))


class _TaskCaller:
    """Calls steps as tasks of the running flow."""

    def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return cast("T", _TASKS[step](*args, **kwargs))

    def train_folds(self, workers: LocalWorkers, reference: PreparedReference, folds: list[int]) -> list[FoldReference]:
        """As many task runs at a time as there are slots; one that fails does not stop the others, whose
        folds are then there for the next run."""
        futures: list[PrefectFuture[FoldReference]] = []
        running: list[PrefectFuture[FoldReference]] = []
        with workers:
            for fold in folds:
                if len(running) == len(workers.slots):
                    running.remove(next(iter(as_completed(running))))
                running.append(train_fold.submit(workers, reference, fold))
                futures.append(running[-1])
            wait(futures)
            return [future.result() for future in futures]


@flow(name="audit-dataset", flow_run_name="audit {config.dataset.url}", validate_parameters=True)
def audit_dataset(config: AuditConfig) -> dict[str, Any]:
    """Audit the labels of one dataset version and publish the report.

    `config` is what the YAML file holds. Returns the audit's URL and main figures. An audit that is published
    already is found, not made again; a killed one goes on where it stopped.
    """
    audit = run_audit(config, _TaskCaller(), RunProgress())
    show(audit, config)
    return asdict(audit)
