"""Doing jobs on a Ray cluster. Ray assigns GPUs to jobs, and retries the jobs of a lost node."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prefect import flow, task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from labelaudit.audits.jobs import Job
from labelaudit.config import WorkersConfig
from labelaudit.errors import ConfigError
from labelaudit.local.machine import remote_threads
from labelaudit.orchestration.job_flow import do_in_this_process
from labelaudit.orchestration.tasks import TASK_OPTIONS, job_task, run_jobs

# Counted by Ray. Prefect's own retries do not help, because they run on the node that was lost.
RETRIES_OF_LOST_NODES = 3


def run_on_ray(jobs: Sequence[Job], folds: int, workers: WorkersConfig) -> None:
    """Do jobs of one kind as tasks of a child run whose task runner is Ray.

    Args:
        jobs: All have the same kind.
        folds: Number of folds of the audit, which decides the threads of a job.
        workers: Settings of the cluster.

    Raises:
        ConfigError: Ray is not installed.
        LabelauditError: A job failed. The error is raised after all other jobs have ended.
    """
    noun = f"{jobs[0].noun}s"
    options = {"name": f"{noun}-on-ray", "flow_run_name": f"{noun} on Ray", "task_runner": _task_runner(workers)}
    run_jobs_on_ray.with_options(**options)(jobs, folds, workers)  # type: ignore[arg-type]


@task(**TASK_OPTIONS)
def do_on_ray(job: Job, workers: WorkersConfig) -> None:
    """Do one job in a process of a Ray node, on the GPUs that Ray assigned to it."""
    if not workers.gpus_per_fold:
        # Ray does not hide GPUs from a task without GPUs. This comes before torch looks for them in this process.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    do_in_this_process(job, workers)


@flow(validate_parameters=False)
def run_jobs_on_ray(jobs: Sequence[Job], folds: int, workers: WorkersConfig) -> None:
    """Do all jobs as tasks of one run. With GPUs, a task requests no CPUs, because only GPUs are scarce."""
    import ray
    from prefect_ray.context import remote_options

    # A cluster that scales up may have no GPU yet, but on a single machine a job would wait for ever.
    gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    if workers.address is None and gpus < workers.gpus_per_fold:
        raise ConfigError(
            f"workers.gpus_per_fold is {workers.gpus_per_fold:g}, but Ray on this machine has {gpus:g} GPUs. "
            "Set workers.address to the cluster that has them, or workers.gpus_per_fold to 0 to use CPUs."
        )

    def submit(job: Job) -> PrefectFuture[None]:
        return job_task(do_on_ray, job).submit(job, workers)

    with remote_options(**_resources(workers, folds), max_retries=RETRIES_OF_LOST_NODES):
        run_jobs(submit, jobs, workers.max_parallel or len(jobs))


def _resources(workers: WorkersConfig, folds: int) -> dict[str, float]:
    """Return the resources that a job requests: GPUs, or its CPU threads if `gpus_per_fold` is 0."""
    if workers.gpus_per_fold:
        return {"num_gpus": workers.gpus_per_fold, "num_cpus": 0}
    return {"num_cpus": remote_threads(workers, folds)}


def _task_runner(workers: WorkersConfig) -> TaskRunner[PrefectFuture[None]]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise ConfigError(
            "workers.kind is ray, but prefect-ray is not installed. Install labelaudit[ray], or change workers.kind."
        ) from error
    # Ray on this machine alone needs only the loopback address and no dashboard.
    local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    runner: TaskRunner[PrefectFuture[None]] = RayTaskRunner(workers.address, {} if workers.address else local)
    return runner
