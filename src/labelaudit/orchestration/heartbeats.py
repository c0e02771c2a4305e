"""Whether a run still gives signs of life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.settings import get_current_settings

from labelaudit.orchestration.api_retries import patiently

# So many in a row must be missing: one may be lost when the server restarts.
MISSED_HEARTBEATS = 3
DEFAULT_HEARTBEAT_SECONDS = 180
# Longer than Kubernetes takes to start a machine and to pull an image: its worker gives up after 15 minutes
# (`pod_watch_timeout_seconds` in deployments/kubernetes/job_template.py).
PENDING_SECONDS = 1800.0


def is_silent(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a running run has missed its heartbeats: its machine or its process is gone.

    Goes by PREFECT_FLOWS_HEARTBEAT_FREQUENCY of this process, which should be that of all.
    """
    if run.state is None or not run.state.is_running():
        return False
    seconds = get_current_settings().flows.heartbeat_frequency or DEFAULT_HEARTBEAT_SECONDS
    since = datetime.now(UTC) - timedelta(seconds=MISSED_HEARTBEATS * seconds)
    if run.state.timestamp > since:
        return False
    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        occurred=EventOccurredFilter(since=since),
    )
    return patiently(client.read_events, filter=wanted, limit=1).total == 0


def is_stuck(run: FlowRun) -> bool:
    """Whether a run has been pending for half an hour: a worker took it and is gone. It has no heartbeats yet."""
    if run.state is None or not run.state.is_pending():
        return False
    return datetime.now(UTC) - run.state.timestamp > timedelta(seconds=PENDING_SECONDS)
