"""One temporary Prefect server for all tests of flows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from support.waiting import PATIENCE_SECONDS


@pytest.fixture(scope="session")
def _server() -> Iterator[SyncPrefectClient]:
    # Imported here, because it imports the server, which other test processes do not need.
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=int(PATIENCE_SECONDS)),
        # The heartbeat thread would cost each flow run a second.
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        get_client(sync_client=True) as client,
    ):
        yield client


@pytest.fixture
def client(_server: SyncPrefectClient) -> SyncPrefectClient:
    """Start a temporary Prefect server for flows, and return its client."""
    return _server
