"""A temporary Prefect server for all tests on Ray."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from support.waiting import PATIENCE_SECONDS


@pytest.fixture(scope="session")
def client() -> Iterator[SyncPrefectClient]:
    # Imported here, because it imports the server, which other test processes do not need.
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=int(PATIENCE_SECONDS)), get_client(sync_client=True) as client:
        yield client
