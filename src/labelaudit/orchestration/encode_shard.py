"""The flow `encode-shard`, which encodes one shard, usually on a GPU work pool. Each shard is retried separately."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from labelaudit.audits.jobs import ShardJob
from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.config import WorkersConfig
from labelaudit.orchestration.job_flow import do_as_flow


@flow(name=ShardJob.step, flow_run_name="shard {shard}")
def encode_one_shard(
    reference: PlanReference, encoding: EncodingReference, shard: int, workers: WorkersConfig
) -> State[None]:
    """Encode one shard of a prepared audit and store its features next to the audits.

    `audit-dataset` starts it if `workers.kind` is `work-pool`. A run and its audit share only storage. The run ends at
    once if the features are already stored or the audit already published. If a retry cannot help, it ends in a Failed
    state named Refused.
    """
    return do_as_flow(ShardJob(reference, shard, encoding), workers)
