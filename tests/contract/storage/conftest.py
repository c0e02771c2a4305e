"""An S3 server behind a proxy that makes trouble."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from labelaudit.storage import retries
from support.faulty_proxy import FaultyProxy


@pytest.fixture
def fresh_connections() -> Iterator[None]:
    """s3fs keeps connections for the life of a process, even if the environment changes."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 KiB; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "labelaudit-test", str(folder)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
