"""Artifacts and log lines of an audit in Prefect: progress of shards and folds, then the published audit."""

from __future__ import annotations

import re
import time
from typing import cast
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from labelaudit.audit import describe
from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.jobs import EpochEnded, FoldJob, JobProgress, RowsEncoded, ShardJob
from labelaudit.audits.references import AuditReference
from labelaudit.codec import JsonObject
from labelaudit.findings import Summary
from labelaudit.report.summary import markdown

# Each update is a request to the server.
SECONDS_BETWEEN_UPDATES = 2.0


class RunProgress:
    """Progress of an audit as log lines, and of each shard and fold as a progress artifact."""

    def __init__(self) -> None:
        self._artifacts: dict[tuple[str, int], _JobArtifact] = {}

    def prepared(self, plan: Plan) -> None:
        for line in describe(plan):
            get_run_logger().info("%s", line)

    def encoding(self, place: str, rows: int, stored: int) -> None:
        get_run_logger().info("%s rows are encoded %s; the features of %s are stored already", rows, place, stored)

    def encoded(self, shard: int, rows: int, of: int) -> None:
        self._update(ShardJob.noun, shard, RowsEncoded(rows, of))

    def training(self, place: str) -> None:
        get_run_logger().info("folds train %s", place)

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        self._update(FoldJob.noun, fold, EpochEnded(epoch, epochs, loss))

    def _update(self, noun: str, number: int, progress: JobProgress) -> None:
        """Update the artifact of a job. Called in the thread of the run that does it, which gets the artifact."""
        self._artifacts.setdefault((noun, number), _JobArtifact(noun, number)).update(progress)


class _JobArtifact:
    def __init__(self, noun: str, number: int) -> None:
        self._noun = noun
        self._number = number
        self._id: UUID | None = None
        self._updated = 0.0

    def update(self, progress: JobProgress) -> None:
        now = time.monotonic()
        if self._id and progress.share < 1 and now - self._updated < SECONDS_BETWEEN_UPDATES:
            return
        self._updated = now
        description, percent = str(progress), 100.0 * progress.share
        if progress.share == 1:
            get_run_logger().info("%s %d: %s", self._noun, self._number, description)
        # In an async task of a user's flow, Prefect would return coroutines.
        if self._id is None:
            created = create_progress_artifact(  # type: ignore[call-arg]
                percent, key=f"{self._noun}-{self._number}", description=description, _sync=True
            )
            self._id = cast("UUID", created)
        else:
            update_progress_artifact(  # type: ignore[call-arg]
                self._id, percent, description=description, _sync=True
            )


def publish_artifacts(audit: AuditReference, summary: Summary, issues: list[JsonObject]) -> None:
    """Create artifacts of a published audit: its summary, its most doubtful labels, and a link to its report."""
    key = _key(audit.dataset)
    create_markdown_artifact(markdown(summary), key=f"label-quality-{key}", description=summary.verdict)
    if issues:
        create_table_artifact(issues, key=f"label-issues-{key}", description="the most doubtful labels")
    create_link_artifact(audit.report_url, "label-quality report", key=f"label-report-{key}")


def _key(name: str) -> str:
    """Return a name that contains only the characters that Prefect allows in artifact keys."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "dataset"
