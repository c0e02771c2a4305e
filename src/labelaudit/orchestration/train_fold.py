"""The flow `train-fold`, which trains one fold, usually on a GPU work pool. Each fold is retried separately."""

from __future__ import annotations

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from labelaudit.audit import remote_threads
from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.finished import is_published
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.config import WorkersConfig
from labelaudit.errors import LabelauditError
from labelaudit.orchestration.artifacts import RunProgress
from labelaudit.pipeline import train

# The name of the failed state of a fold that must not be retried.
REFUSED = "Refused"


@flow(name="train-fold", flow_run_name="fold {fold}")
def train_fold(reference: PlanReference, fold: int, workers: WorkersConfig) -> State[None]:
    """Train one fold of a prepared audit and commit its probabilities to storage.

    `audit-dataset` starts it if `workers.kind` is `work-pool`. A run and its audit share only storage. The run ends at
    once if the fold is already committed or the audit already published. If a retry cannot help, it ends in a Failed
    state named Refused.
    """
    if is_published(reference):
        return Completed(message="The audit is already published. Nothing to train.")
    try:
        trained = train_in_this_process(reference, fold, workers)
    except LabelauditError as error:
        if error.transient:
            raise
        get_run_logger().error("%s", error)
        return Failed(name=REFUSED, message=str(error))
    return Completed(message=f"Fold {fold} is committed as {trained.key}.")


def train_in_this_process(reference: PlanReference, fold: int, workers: WorkersConfig) -> FoldReference:
    """Train a fold in the process of the current flow or task run."""
    plan = load_plan(reference)
    threads = remote_threads(workers, plan.folds * plan.repeats)
    # Ray shows a task only its own GPUs. A worker of Prefect sees all GPUs that it was started with.
    is_pinned = workers.kind == "ray"
    on_epoch = partial(RunProgress().epoch, fold)
    return train.train_and_commit(reference, fold, on_epoch, threads=threads, is_pinned=is_pinned)
