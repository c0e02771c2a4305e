"""Whether a run is still alive, judged by the heartbeat events that Prefect emits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.settings import get_current_settings

from labelaudit.orchestration.api_retries import call_with_retries

# So many in a row must be missing, because one can be lost when the server restarts.
MISSED_HEARTBEATS = 3
DEFAULT_HEARTBEAT_SECONDS = 180
# Longer than Kubernetes takes to start a machine and to pull an image. Prefect's Kubernetes worker gives up after
# 15 minutes (`pod_watch_timeout_seconds` in deployments/kubernetes/job_template.py).
PENDING_SECONDS = 1800.0


def has_lost_heartbeat(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Return whether a run in state Running has missed several heartbeats, because its process or machine died.

    PREFECT_FLOWS_HEARTBEAT_FREQUENCY of this process must be that of all processes.
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
    return call_with_retries(client.read_events, filter=wanted, limit=1).total == 0


def is_stuck_pending(run: FlowRun) -> bool:
    """Return whether a run has been Pending for half an hour: its worker died before the run emitted heartbeats."""
    if run.state is None or not run.state.is_pending():
        return False
    return datetime.now(UTC) - run.state.timestamp > timedelta(seconds=PENDING_SECONDS)
