"""An S3 server behind a proxy that makes trouble."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from s3fs import S3FileSystem

from faulty_proxy import FaultyProxy
from labelaudit.storage import retries, store


@pytest.fixture
def fresh_connections() -> Iterator[None]:
    """s3fs keeps connections for the life of a process, whatever becomes of the environment."""
    S3FileSystem.clear_instance_cache()
    store._honours_conditions.clear()
    yield
    S3FileSystem.clear_instance_cache()
    store._honours_conditions.clear()


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(retries, "LONGEST_WAIT_SECONDS", 0.05)


@pytest.fixture
def proxy(
    s3: str, s3_server: str, fresh_connections: None, short_waits: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyProxy]:
    """Stands between this process and the S3 server of the fixture `s3`."""
    with FaultyProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
