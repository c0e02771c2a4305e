"""A lock on a dataset, so that its audits run one at a time."""

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
from labelaudit.orchestration.api_retries import call_with_retries
from labelaudit.orchestration.heartbeats import has_lost_heartbeat
from labelaudit.storage.manifest import digest_of
from labelaudit.versions.named import audited_name

# The shortest lease that Prefect grants. The lock of a killed audit expires after it.
LEASE_SECONDS = 60.0
# How long to wait for the lock before checking that the run that holds it is still alive.
WAIT_SECONDS = 120.0


@contextlib.contextmanager
def dataset_lock(config: AuditConfig, audit_run: UUID) -> Iterator[None]:
    """Lock the dataset of `config` for this run. Waits while another run holds the lock.

    The lock is a global concurrency limit of Prefect with one slot, named by dataset and output. Its lease expires a
    minute after the run that holds it is killed. Two audits at once would do no harm, but both would train the same
    folds.
    """
    if get_current_settings().api.url is None:
        # A temporary server of Prefect serves only this process, so no other run can hold the lock.
        yield
        return
    name = _limit_name(config)
    with get_client(sync_client=True) as client:
        call_with_retries(client.upsert_global_concurrency_limit_by_name, name, 1)
        # A retried run still has the tag of its first attempt, but does not hold the lock now.
        _tag_run(client, audit_run, name, is_holder=False)
        with _slot(client, name):
            _tag_run(client, audit_run, name, is_holder=True)
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
                is_orphaned = not _has_live_holder(client, name)
                if not is_orphaned:
                    get_run_logger().info("waiting for another audit of the same dataset (%s)", name)
                elif was_orphaned:
                    # A server that keeps leases in memory loses them in a restart, and their slots stay taken.
                    # Checked twice, because the holder may have ended just before the first check.
                    get_run_logger().warning("no live run holds %s: its slot is freed", name)
                    _free_slot(client, name)
                was_orphaned = is_orphaned
        yield


def _concurrency(name: str) -> contextlib.AbstractContextManager[None]:
    return concurrency(
        name,
        timeout_seconds=WAIT_SECONDS,
        lease_duration=LEASE_SECONDS,
        strict=True,
        # A restarted server may have lost the lease. The audit continues without it.
        raise_on_lease_renewal_failure=False,
    )


def _has_live_holder(client: SyncPrefectClient, name: str) -> bool:
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[name]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])),
    )
    holders = call_with_retries(client.read_flow_runs, flow_run_filter=wanted)
    # Without an automation, a killed run stays Running for ever.
    return any(not has_lost_heartbeat(client, run) for run in holders)


def _tag_run(client: SyncPrefectClient, audit_run: UUID, name: str, *, is_holder: bool) -> None:
    tags = set(call_with_retries(client.read_flow_run, audit_run).tags)
    wanted = tags | {name} if is_holder else tags - {name}
    if wanted != tags:
        call_with_retries(client.update_flow_run, audit_run, tags=sorted(wanted))


def _free_slot(client: SyncPrefectClient, name: str) -> None:
    limit = call_with_retries(client.read_global_concurrency_limit_by_name, name)
    update = GlobalConcurrencyLimitUpdate(active_slots=0)
    call_with_retries(client.update_global_concurrency_limit, name=limit.name, concurrency_limit=update)


def _limit_name(config: AuditConfig) -> str:
    dataset = audited_name(config).name
    readable = "".join(character if character.isalnum() else "-" for character in dataset)
    return f"labelaudit-dataset:{readable}-{digest_of(dataset, config.output.url)[:8]}"
