"""The flow `audit-dataset`, which audits one dataset version: prepare, encode, train folds, gather, detect, publish."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import Flow, Task, flow, task
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_run_logger
from prefect.runtime import deployment
from prefect.runtime import flow_run as current_run
from prefect.states import Failed

from labelaudit.audit import fold_jobs, fold_references, report_encoding, report_progress, run_audit, shard_jobs
from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.finished import find_published
from labelaudit.audits.jobs import Job
from labelaudit.audits.references import AuditReference, EncodingReference, FoldReference, PlanReference
from labelaudit.audits.results import gate_failure, load_summary, worst_issues
from labelaudit.codec import JsonObject
from labelaudit.config import AuditConfig, WorkersConfig, with_version
from labelaudit.config_files import CONFIGS_VARIABLE, is_config_file, referenced_config
from labelaudit.errors import AnnouncementError, ConfigError, WorkerDiedError
from labelaudit.findings import Gate
from labelaudit.local.machine import JobSlots, MachineWorkers, total_folds
from labelaudit.orchestration.artifacts import RunProgress, publish_artifacts
from labelaudit.orchestration.concurrency import dataset_lock
from labelaudit.orchestration.events import gate_event, post_gate_event
from labelaudit.orchestration.job_runs import cancel_jobs, run_on_work_pool
from labelaudit.orchestration.ray_jobs import run_on_ray
from labelaudit.orchestration.tasks import TASK_OPTIONS, job_task, run_jobs
from labelaudit.pipeline.detect import detect
from labelaudit.pipeline.encode import missing_shards, plan_encoding
from labelaudit.pipeline.gather import gather
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.publish import publish
from labelaudit.versions.discover import choose_version

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Artifacts are stored in the server's database. The Parquet files contain all issues.
ISSUES_IN_ARTIFACT = 100
# An automation restarts a run whose process died, and has no limit of its own.
MAX_RUNS = 3
# The name of the state of a run whose audit is published, but whose gate failed.
_GATE_FAILED = "GateFailed"

_TASKS: dict[Callable[..., object], Task[..., object]] = {
    step: task(name=step.__name__.replace("_", "-"), **TASK_OPTIONS)(step)
    for step in (choose_version, prepare, find_published, plan_encoding, missing_shards, gather, detect, publish)
}


@task(**TASK_OPTIONS)
def do_locally(slots: JobSlots, job: Job) -> None:
    """Do one job in a worker process of this machine."""
    slots.work_on(job)


@task(name="show", **{**TASK_OPTIONS, "retries": 0})
def show_artifacts(audit: AuditReference, config: AuditConfig) -> None:
    """Show a published audit as artifacts of this run."""
    options = config.storage.options
    publish_artifacts(audit, load_summary(audit, options), worst_issues(audit, options, limit=ISSUES_IN_ARTIFACT))


class _TaskCaller:
    """Calls steps as tasks of the current flow run, and does jobs on the workers of `workers.kind`."""

    def __init__(self, audit_run: UUID) -> None:
        self.progress = RunProgress()
        self._audit_run = audit_run
        self._machine = MachineWorkers(partial(report_progress, self.progress))

    def call(self, step: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return cast("_T", _TASKS[step](*args, **kwargs))

    def encode(
        self, config: AuditConfig, reference: PlanReference, encoding: EncodingReference, shards: list[int]
    ) -> None:
        here = self._machine.for_encoding(config, len(shards)) if config.workers.kind == "local" else None
        place = _place(config.workers, config.workers.encode_deployment, here)
        report_encoding(self.progress, place, encoding, shards)
        self._do_all(config, shard_jobs(reference, encoding, shards), here)

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        here = self._machine.for_training(config, reference) if config.workers.kind == "local" else None
        self.progress.training(_place(config.workers, config.workers.deployment, here))
        self._do_all(config, fold_jobs(reference, folds), here)
        return fold_references(reference, folds)

    def end_workers(self) -> None:
        self._machine.end()

    def _do_all(self, config: AuditConfig, jobs: Sequence[Job], here: JobSlots | None) -> None:
        if here is not None:
            run_jobs(lambda job: job_task(do_locally, job).submit(here, job), jobs, here.parallel)
        elif config.workers.kind == "ray":
            run_on_ray(jobs, total_folds(config), config.workers)
        else:
            run_on_work_pool(jobs, load_plan(jobs[0].reference), config.workers, self._audit_run)


def _place(workers: WorkersConfig, deployment: str, here: JobSlots | None) -> str:
    """Return the place of jobs in words."""
    if here is not None:
        return here.description
    if workers.kind == "ray":
        return f"on Ray at {workers.address or 'this machine'}"
    return f"in runs of {deployment}"


def _load_config(config: AuditConfig | str) -> AuditConfig:
    if isinstance(config, str):
        return referenced_config(config)
    if deployment.id is not None and os.environ.get(CONFIGS_VARIABLE):
        raise ConfigError(
            f"This deployment takes the name of a config below {CONFIGS_VARIABLE}, not a whole config, because a "
            "config can name code to run. Put the config there and pass its name."
        )
    return config


def _run_name() -> str:
    config, version = current_run.parameters["config"], current_run.parameters.get("version")
    named = config if isinstance(config, str) else config.dataset.url
    # The same name from a person, who leaves the suffix out, and from a sweep, which finds files.
    if is_config_file(named):
        named = named[: named.rindex(".")]
    return f"audit {named}" + (f" {version}" if version else "")


def _cancel_jobs(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:
    """Cancel the runs of jobs on a work pool, which would otherwise outlive the audit."""
    cancel_jobs(flow_run.id)


@flow(name="audit-dataset", flow_run_name=_run_name, on_cancellation=[_cancel_jobs], validate_parameters=True)
def audit_dataset(config: AuditConfig | str, version: str | None = None) -> JsonObject:
    """Audit the labels of one dataset version and publish the report.

    The flow is idempotent: a published audit is not repeated, and an interrupted audit resumes. One audit of a dataset
    runs at a time; others wait. If the gate of the config fails, the audit is published and shown, and the run then
    ends in a Failed state named GateFailed.

    Args:
        config: The content of a YAML file, or the name of one: a path or URL, or, if LABELAUDIT_CONFIGS is set, a name
            below it.
        version: Replaces `dataset.version`. A version that is not complete by the rules of `versions` is refused; the
            sweep announces it when it is complete.

    Returns:
        The fields of the audit's `AuditReference`: its URLs, status and main figures.
    """
    if current_run.run_count > MAX_RUNS:
        raise WorkerDiedError(
            f"This audit was started {MAX_RUNS} times, and its process died each time, often because memory ran out. "
            "Read the worker's log, then start a new run. Finished folds are kept."
        )
    settings = _load_config(config)
    if version is not None:
        settings = with_version(settings, version)
    audit_run = UUID(current_run.id)
    with dataset_lock(settings, audit_run):
        audit = run_audit(settings, _TaskCaller(audit_run))
    show_artifacts(audit, settings)
    get_run_logger().info("report: %s", audit.report_url)
    summary = load_summary(audit, settings.storage.options)
    failure = gate_failure(audit, summary)
    if failure is None:
        return asdict(audit)
    if summary.gate is not None:
        _post_gate_event(audit, summary.gate)
    # For Prefect, a returned state replaces the result: the run fails, and the caller gets the error.
    return cast("JsonObject", Failed(name=_GATE_FAILED, message=str(failure), data=failure))


def _post_gate_event(audit: AuditReference, gate: Gate) -> None:
    try:
        post_gate_event(gate_event(audit, gate))
    except AnnouncementError as error:
        # The state of the run also reports the failed gate.
        get_run_logger().warning("%s", error)
