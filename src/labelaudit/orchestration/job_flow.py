"""Doing a job in the process of a flow or task run, and the state in which such a flow run ends."""

from __future__ import annotations

from functools import partial

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from labelaudit.audit import report_progress
from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.finished import is_published
from labelaudit.audits.jobs import Job
from labelaudit.config import WorkersConfig
from labelaudit.errors import LabelauditError
from labelaudit.local.machine import remote_threads
from labelaudit.orchestration.artifacts import RunProgress
from labelaudit.pipeline.job_work import do_job

# The name of the failed state of a job that must not be retried.
REFUSED = "Refused"


def do_as_flow(job: Job, workers: WorkersConfig) -> State[None]:
    """Do a job and return the state in which its flow run ends.

    The run ends at once if the result is already stored or the audit already published. If a retry cannot help, it
    ends in a Failed state named Refused.
    """
    if is_published(job.reference):
        return Completed(message=f"The audit is already published. {job.name.capitalize()} is not needed.")
    try:
        do_in_this_process(job, workers)
    except LabelauditError as error:
        if error.transient:
            raise
        get_run_logger().error("%s", error)
        return Failed(name=REFUSED, message=str(error))
    return Completed(message=f"{job.name.capitalize()} is {job.participle}, and the result is stored.")


def do_in_this_process(job: Job, workers: WorkersConfig) -> None:
    """Do a job in the process of the current flow or task run."""
    plan = load_plan(job.reference)
    threads = remote_threads(workers, plan.folds * plan.repeats)
    # Ray shows a task only its own GPUs. A worker of Prefect sees all GPUs that it was started with.
    is_pinned = workers.kind == "ray"
    do_job(job, partial(report_progress, RunProgress(), job), threads=threads, is_pinned=is_pinned)
