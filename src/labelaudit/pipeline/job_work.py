"""Doing a job in this process, and which jobs are not done yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.jobs import EpochEnded, Job, JobProgress, RowsEncoded, ShardJob
from labelaudit.model.encoders.load import forget_encoder
from labelaudit.pipeline.encode import encode_shard, missing_shards
from labelaudit.pipeline.train import missing_folds, train_and_commit


def do_job(
    job: Job, on_progress: Callable[[JobProgress], None], *, threads: int | None = None, is_pinned: bool = False
) -> None:
    """Train the fold or encode the shard of a job, and store the result; return at once if it is stored already.

    Args:
        on_progress: Called after each epoch, or each batch of rows.
        threads: Limit of CPU threads; None keeps those of the process.
        is_pinned: This process sees only the GPUs of its job.

    Raises:
        LabelauditError: The job failed.
    """

    def on_epoch(epoch: int, epochs: int, loss: float) -> None:
        on_progress(EpochEnded(epoch, epochs, loss))

    def on_rows(rows: int, of: int) -> None:
        on_progress(RowsEncoded(rows, of))

    if isinstance(job, ShardJob):
        encode_shard(job.reference, job.encoding, job.number, on_rows, threads=threads, is_pinned=is_pinned)
    else:
        # This process may have encoded shards before. Training needs the memory.
        forget_encoder()
        train_and_commit(job.reference, job.number, on_epoch, threads=threads, is_pinned=is_pinned)


def missing_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Return those jobs of one kind whose results are not stored yet."""
    if not jobs:
        return []
    first, numbers = jobs[0], [job.number for job in jobs]
    if isinstance(first, ShardJob):
        missing = missing_shards(first.reference, first.encoding, numbers)
    else:
        missing = missing_folds(first.reference, load_plan(first.reference), numbers)
    return [job for job in jobs if job.number in missing]
