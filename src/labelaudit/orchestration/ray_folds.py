"""Folds on a Ray cluster: Ray counts and pins GPUs, and runs the folds of a lost node again."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow, task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from labelaudit.audit import remote_threads
from labelaudit.audits.references import FoldReference, PreparedReference
from labelaudit.config import WorkersConfig
from labelaudit.errors import ConfigError
from labelaudit.orchestration.tasks import TASK_OPTIONS, side_by_side
from labelaudit.orchestration.train_fold import train_here

# Ray's own count: a lost node takes the engine of the task run with it, so Prefect's retries cannot help.
TRIES_AFTER_LOST_NODES = 3


def train_on_ray(reference: PreparedReference, folds: list[int], workers: WorkersConfig) -> list[FoldReference]:
    """Train folds as tasks of a child run whose task runner is Ray.

    Raises what a fold raised, after all others have ended. Raises `ConfigError` where Ray is not installed.
    """
    return train_folds_on_ray.with_options(task_runner=_task_runner(workers))(reference, folds, workers)


@task(name="train-fold", task_run_name="train-fold-{fold}", **TASK_OPTIONS)
def train_fold_on_ray(reference: PreparedReference, fold: int, workers: WorkersConfig) -> FoldReference:
    """Train one fold in a process of a Ray node, on the GPUs that Ray gave it."""
    if not workers.gpus_per_fold:
        # Ray hides no GPU from a task that asked for none; torch has not looked for any in this process yet.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return train_here(reference, fold, workers)


@flow(name="train-folds-on-ray", flow_run_name="folds on Ray")
def train_folds_on_ray(reference: PreparedReference, folds: list[int], workers: WorkersConfig) -> list[FoldReference]:
    """All folds as tasks of one run, which asks Ray for GPUs and never for CPUs: the GPUs are what is short."""
    import ray
    from prefect_ray.context import remote_options

    # A cluster that grows may have none yet; on one machine a fold would wait for ever.
    gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    if workers.address is None and gpus < workers.gpus_per_fold:
        raise ConfigError(
            f"workers.gpus_per_fold is {workers.gpus_per_fold:g}, but Ray on this machine has {gpus:g} GPUs. "
            "Set workers.address to the cluster that has them, or workers.gpus_per_fold to 0 to train on CPUs."
        )

    def submit(fold: int) -> PrefectFuture[FoldReference]:
        return train_fold_on_ray.submit(reference, fold, workers)

    at_once = workers.max_parallel or len(folds)
    with remote_options(**_resources(workers, len(folds)), max_retries=TRIES_AFTER_LOST_NODES):
        return side_by_side(submit, folds, at_once)


def _resources(workers: WorkersConfig, folds: int) -> dict[str, float]:
    """What a fold asks Ray for. On a cluster without GPUs (`gpus_per_fold: 0`), its threads."""
    if workers.gpus_per_fold:
        return {"num_gpus": workers.gpus_per_fold, "num_cpus": 0}
    return {"num_cpus": remote_threads(workers, folds)}


def _task_runner(workers: WorkersConfig) -> TaskRunner[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise ConfigError(
            "workers.kind is ray, but prefect-ray is not installed. Install labelaudit[ray], or set workers.kind."
        ) from error
    # Ray on this machine alone needs no other address than loopback, and nobody sees its dashboard.
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    runner: TaskRunner[Any] = RayTaskRunner(workers.address, {} if workers.address else own)
    return runner
