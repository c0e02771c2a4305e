"""What an audit leaves in Prefect: progress while folds train, and the summary when it is published."""

from __future__ import annotations

import re
import time
from typing import Any, cast
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
from labelaudit.audits.prepared import Prepared
from labelaudit.audits.references import AuditReference
from labelaudit.findings import Summary
from labelaudit.report.summary import markdown

# Each update is a request to the server; a person does not see more.
SECONDS_BETWEEN_UPDATES = 2.0


class FoldProgress:
    """Progress of one fold as a progress artifact of the run that trains it."""

    def __init__(self, fold: int) -> None:
        self._fold = fold
        self._artifact: UUID | None = None
        self._updated = 0.0

    def epoch(self, epoch: int, epochs: int, loss: float) -> None:
        """Called in the thread of the fold's run, so that the artifact belongs to that run."""
        now = time.monotonic()
        if self._artifact and epoch < epochs and now - self._updated < SECONDS_BETWEEN_UPDATES:
            return
        self._updated = now
        description = f"epoch {epoch} of {epochs}, loss {loss:.3f}"
        percent = 100.0 * epoch / epochs
        if epoch == epochs:
            get_run_logger().info("fold %d: %s", self._fold, description)
        if self._artifact is None:
            created = create_progress_artifact(percent, key=f"fold-{self._fold}", description=description)
            self._artifact = cast("UUID", created)
        else:
            update_progress_artifact(self._artifact, percent, description=description)


class RunProgress:
    """Progress of an audit as log lines, and that of its folds."""

    def __init__(self) -> None:
        self._folds: dict[int, FoldProgress] = {}

    def prepared(self, prepared: Prepared) -> None:
        for line in describe(prepared):
            get_run_logger().info("%s", line)

    def training(self, place: str) -> None:
        get_run_logger().info("folds train %s", place)

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        self._folds.setdefault(fold, FoldProgress(fold)).epoch(epoch, epochs, loss)


def publish_artifacts(audit: AuditReference, summary: Summary, issues: list[dict[str, Any]]) -> None:
    """Show a published audit in the run: summary, worst examples, and where the report is."""
    key = _key(audit.dataset)
    create_markdown_artifact(markdown(summary), key=f"label-quality-{key}", description=summary.verdict)
    if issues:
        create_table_artifact(issues, key=f"label-issues-{key}", description="the most doubtful labels")
    create_link_artifact(audit.report_url, "label-quality report", key=f"label-report-{key}")


def _key(name: str) -> str:
    """A name in the alphabet of artifact keys."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "dataset"
