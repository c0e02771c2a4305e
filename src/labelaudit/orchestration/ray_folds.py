"""Training folds on a Ray cluster. Ray assigns GPUs to folds, and retries the folds of a lost node."""

from __future__ import annotations

import os

from prefect import flow, task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from labelaudit.audit import remote_threads
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.config import WorkersConfig
from labelaudit.errors import ConfigError
from labelaudit.orchestration.tasks import TASK_OPTIONS, run_folds
from labelaudit.orchestration.train_fold import train_in_this_process

# Counted by Ray. Prefect's own retries do not help, because they run on the node that was lost.
RETRIES_OF_LOST_NODES = 3


def train_on_ray(reference: PlanReference, folds: list[int], workers: WorkersConfig) -> list[FoldReference]:
    """Train folds as tasks of a child run whose task runner is Ray.

    Raises:
        ConfigError: Ray is not installed.
        LabelauditError: A fold failed. The error is raised after all other folds have ended.
    """
    return train_folds_on_ray.with_options(task_runner=_task_runner(workers))(reference, folds, workers)


@task(name="train-fold", task_run_name="train-fold-{fold}", **TASK_OPTIONS)
def train_fold_on_ray(reference: PlanReference, fold: int, workers: WorkersConfig) -> FoldReference:
    """Train one fold in a process of a Ray node, on the GPUs that Ray assigned to it."""
    if not workers.gpus_per_fold:
        # Ray does not hide GPUs from a task without GPUs. This comes before torch looks for them in this process.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return train_in_this_process(reference, fold, workers)


@flow(name="train-folds-on-ray", flow_run_name="folds on Ray")
def train_folds_on_ray(reference: PlanReference, folds: list[int], workers: WorkersConfig) -> list[FoldReference]:
    """Train all folds as tasks of one run. With GPUs, a task requests no CPUs, because only GPUs are scarce."""
    import ray
    from prefect_ray.context import remote_options

    # A cluster that scales up may have no GPU yet, but on a single machine a fold would wait for ever.
    gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    if workers.address is None and gpus < workers.gpus_per_fold:
        raise ConfigError(
            f"workers.gpus_per_fold is {workers.gpus_per_fold:g}, but Ray on this machine has {gpus:g} GPUs. "
            "Set workers.address to the cluster that has them, or workers.gpus_per_fold to 0 to train on CPUs."
        )

    def submit(fold: int) -> PrefectFuture[FoldReference]:
        return train_fold_on_ray.submit(reference, fold, workers)

    max_running = workers.max_parallel or len(folds)
    with remote_options(**_resources(workers, len(folds)), max_retries=RETRIES_OF_LOST_NODES):
        return run_folds(submit, folds, max_running)


def _resources(workers: WorkersConfig, folds: int) -> dict[str, float]:
    """Return the resources that a fold requests: GPUs, or its CPU threads if `gpus_per_fold` is 0."""
    if workers.gpus_per_fold:
        return {"num_gpus": workers.gpus_per_fold, "num_cpus": 0}
    return {"num_cpus": remote_threads(workers, folds)}


def _task_runner(workers: WorkersConfig) -> TaskRunner[PrefectFuture[FoldReference]]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise ConfigError(
            "workers.kind is ray, but prefect-ray is not installed. Install labelaudit[ray], or change workers.kind."
        ) from error
    # Ray on this machine alone needs only the loopback address and no dashboard.
    local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    runner: TaskRunner[PrefectFuture[FoldReference]] = RayTaskRunner(workers.address, {} if workers.address else local)
    return runner
