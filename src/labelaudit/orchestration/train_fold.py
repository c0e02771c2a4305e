"""The flow that trains one fold: what a GPU work pool runs, and what is retried by itself."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from labelaudit.audit import remote_threads
from labelaudit.audits.finished import is_published
from labelaudit.audits.prepared import load_prepared
from labelaudit.audits.references import FoldReference, PreparedReference
from labelaudit.config import WorkersConfig
from labelaudit.errors import LabelauditError
from labelaudit.orchestration.artifacts import FoldProgress
from labelaudit.pipeline import train

# The name of the failed state of a fold that another try would not help.
REFUSED = "Refused"


@flow(name="train-fold", flow_run_name="fold {fold}")
def train_fold(reference: PreparedReference, fold: int, workers: WorkersConfig) -> State[None]:
    """Train one fold of a prepared audit and commit its probabilities to storage.

    Started by `audit-dataset` where `workers.kind` is `work-pool`. A run and its audit share nothing but
    storage. Ends at once where the fold is committed, or the audit published, already. An error that
    another try would meet again ends in a Failed state named Refused.
    """
    if is_published(reference):
        return Completed(message="The audit is published already: nothing to train.")
    try:
        trained = train_here(reference, fold, workers)
    except LabelauditError as error:
        if error.transient:
            raise
        get_run_logger().error("%s", error)
        return Failed(name=REFUSED, message=str(error))
    return Completed(message=f"Fold {fold} is committed as {trained.key}.")


def train_here(reference: PreparedReference, fold: int, workers: WorkersConfig) -> FoldReference:
    """Train a fold in this process, in which a run of Prefect is going on."""
    prepared = load_prepared(reference)
    threads = remote_threads(workers, prepared.folds * prepared.repeats)
    # Ray shows a task the GPUs that it gave it; a worker of Prefect sees those that it was started with.
    is_pinned = workers.kind == "ray"
    return train.train_fold(reference, fold, FoldProgress(fold).epoch, threads=threads, is_pinned=is_pinned)
