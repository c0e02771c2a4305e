"""The flow `train-fold`, which trains one fold, usually on a GPU work pool. Each fold is retried separately."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from labelaudit.audits.jobs import FoldJob
from labelaudit.audits.references import PlanReference
from labelaudit.config import WorkersConfig
from labelaudit.orchestration.job_flow import do_as_flow


@flow(name=FoldJob.step, flow_run_name="fold {fold}")
def train_fold(reference: PlanReference, fold: int, workers: WorkersConfig) -> State[None]:
    """Train one fold of a prepared audit and commit its probabilities to storage.

    `audit-dataset` starts it if `workers.kind` is `work-pool`. A run and its audit share only storage. The run ends at
    once if the fold is already committed or the audit already published. If a retry cannot help, it ends in a Failed
    state named Refused.
    """
    return do_as_flow(FoldJob(reference, fold), workers)
