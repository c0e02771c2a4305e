"""One audit of a dataset at a time, whichever deployment, event or person started it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import StateType
from prefect.concurrency.sync import concurrency
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings

from labelaudit.config import AuditConfig
from labelaudit.orchestration.api_retries import patiently
from labelaudit.orchestration.heartbeats import is_silent
from labelaudit.storage.manifest import digest_of
from labelaudit.versions.named import audited_name

# The shortest lease that Prefect grants: a killed audit holds its dataset no longer.
LEASE_SECONDS = 60.0
# How long to wait before the server is asked whether the audit ahead is still there.
WAIT_SECONDS = 120.0


@contextlib.contextmanager
def dataset_turn(config: AuditConfig, audit_run: UUID) -> Iterator[None]:
    """Hold the dataset of `config` for this run; waits while another run holds it.

    A concurrency limit of Prefect, named by dataset and output, of one slot, whose lease ends a minute after
    its holder is killed. Two audits at once would do no harm, but each would train the same folds.
    """
    if get_current_settings().api.url is None:
        # Prefect's temporary server is this process's own: nobody else could hold anything.
        yield
        return
    name = _limit_name(config)
    with get_client(sync_client=True) as client:
        patiently(client.upsert_global_concurrency_limit_by_name, name, 1)
        # A run that is tried again still has the mark of its first try, and holds nothing now.
        _mark(client, audit_run, name, is_holder=False)
        with _slot(client, name):
            _mark(client, audit_run, name, is_holder=True)
            yield


@contextlib.contextmanager
def _slot(client: SyncPrefectClient, name: str) -> Iterator[None]:
    was_orphaned = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(_concurrency(name))
                break
            except TimeoutError:
                is_orphaned = not _is_held(client, name)
                if not is_orphaned:
                    get_run_logger().info("waiting for another audit of the same dataset (%s)", name)
                elif was_orphaned:
                    # A server that keeps leases in memory forgets them at a restart, and their slots stay taken.
                    # Seen twice, because the holder may have ended just now.
                    get_run_logger().warning("no run holds %s any more: its slot is freed", name)
                    _free(client, name)
                was_orphaned = is_orphaned
        yield


def _concurrency(name: str) -> contextlib.AbstractContextManager[None]:
    return concurrency(
        name,
        timeout_seconds=WAIT_SECONDS,
        lease_duration=LEASE_SECONDS,
        strict=True,
        # A restarted server may know nothing of the lease: that is no reason to give up half an audit.
        raise_on_lease_renewal_failure=False,
    )


def _is_held(client: SyncPrefectClient, name: str) -> bool:
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[name]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])),
    )
    holders = patiently(client.read_flow_runs, flow_run_filter=wanted)
    # A killed run stays Running for ever, where no automation looks after it.
    return any(not is_silent(client, run) for run in holders)


def _mark(client: SyncPrefectClient, audit_run: UUID, name: str, *, is_holder: bool) -> None:
    tags = set(patiently(client.read_flow_run, audit_run).tags)
    wanted = tags | {name} if is_holder else tags - {name}
    if wanted != tags:
        patiently(client.update_flow_run, audit_run, tags=sorted(wanted))


def _free(client: SyncPrefectClient, name: str) -> None:
    limit = patiently(client.read_global_concurrency_limit_by_name, name)
    update = GlobalConcurrencyLimitUpdate(active_slots=0)
    patiently(client.update_global_concurrency_limit, name=limit.name, concurrency_limit=update)


def _limit_name(config: AuditConfig) -> str:
    dataset = audited_name(config).name
    readable = "".join(letter if letter.isalnum() else "-" for letter in dataset)
    return f"labelaudit-dataset:{readable}-{digest_of(dataset, config.output.url)[:8]}"
