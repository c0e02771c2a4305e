"""What an audit leaves in Prefect: progress while folds train, and the summary when it is published."""

from __future__ import annotations

import re
import threading
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

from flows.console import describe
from labelaudit.report.summary import markdown
from labelaudit.steps.prepared import Prepared
from labelaudit.steps.references import AuditReference
from labelaudit.workers import Slot

# Each update is a request to the server; a person does not see more.
SECONDS_BETWEEN_UPDATES = 2.0


class RunProgress:
    """Progress of an audit as log lines and one progress artifact per fold."""

    def __init__(self) -> None:
        self._artifacts: dict[int, UUID] = {}
        self._updated: dict[int, float] = {}
        self._lock = threading.Lock()

    def prepared(self, prepared: Prepared, slots: list[Slot]) -> None:
        for line in describe(prepared, slots):
            get_run_logger().info("%s", line)

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        """Called in the thread of the fold's task run, so that the artifact belongs to that run."""
        with self._lock:
            artifact = self._artifacts.get(fold)
            now = time.monotonic()
            if artifact and epoch < epochs and now - self._updated[fold] < SECONDS_BETWEEN_UPDATES:
                return
            self._updated[fold] = now
        description = f"epoch {epoch} of {epochs}, loss {loss:.3f}"
        percent = 100.0 * epoch / epochs
        if epoch == epochs:
            get_run_logger().info("fold %d: %s", fold, description)
        if artifact is None:
            created = create_progress_artifact(percent, key=f"fold-{fold}", description=description)
            self._artifacts[fold] = cast("UUID", created)
        else:
            update_progress_artifact(artifact, percent, description=description)


def publish_artifacts(audit: AuditReference, summary: dict[str, Any], issues: list[dict[str, Any]]) -> None:
    """Show a published audit in the run: summary, worst examples, and where the report is."""
    key = _key(audit.dataset)
    create_markdown_artifact(markdown(summary), key=f"label-quality-{key}", description=summary["verdict"])
    if issues:
        create_table_artifact(issues, key=f"label-issues-{key}", description="the most doubtful labels")
    create_link_artifact(audit.report_url, "label-quality report", key=f"label-report-{key}")


def _key(name: str) -> str:
    """A name in the alphabet of artifact keys."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "dataset"
