"""Shared by all tests: the order and distribution of files, separate caches, and an S3 server."""

from __future__ import annotations

import atexit
import gc
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from labelaudit.local import workers
from support.paths import SHARED_DATA
from support.preloaded import preloaded_workers
from support.read_once import service_models

# Threads do not speed up small matrices, and cost much on a busy machine. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where tests train with more threads, these would spin while they wait: on a busy machine, a fold took twice as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Nearly everything that collection creates is kept, so there is little garbage to find meanwhile.
gc.disable()
# No test may report usage over the network.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

# Tests measure no time: on a busy machine an example may take long.
# Each run tries other examples.
settings.register_profile("untimed", deadline=None, max_examples=50)
settings.load_profile("untimed")

START_WORKER = workers.start_worker

# The order of files: the long ones first, so that no process waits for another at the end.
BEGIN = ("tests/system/", "tests/contract/", "tests/unit/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [item.nodeid.startswith(folder) for folder in BEGIN], reverse=True)


def pytest_collection_finish() -> None:
    """Exclude what exists now from garbage collections. It stays to the end, and each collection would search it."""
    gc.collect()
    gc.freeze()
    gc.enable()


# Otherwise, the bindings of DuckDB report what they made as leaks. Not in `pytest_unconfigure`, because pytest collects
# garbage five times after it.
atexit.register(gc.unfreeze)


class FilesSideBySide(LoadScopeScheduling):
    """A scheduler that keeps each file, and each folder below `tests/system` with its shared server, in one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder.startswith("tests/system/") else file


# A custom scheduler, because xdist's mark for groups has no effect under pytest 9.2.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesSideBySide:
    return FilesSideBySide(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real datasets next to a development checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("The shared datasets are not next to this checkout.")
    return SHARED_DATA


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return new paths. `mktemp` would read the names of all earlier folders for each test."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_cache(_caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own cache, so that it does not read what another test or a user has decoded."""
    monkeypatch.setenv("LABELAUDIT_CACHE_DIR", str(next(_caches)))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _preloaded_workers() -> Iterator[None]:
    """Start worker processes without importing everything again."""
    with preloaded_workers():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_power_failures() -> Iterator[None]:
    """Do not wait until files are on the disk. It takes milliseconds, and matters only if the power fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def _new_interpreters(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the workers of a test marked `new_interpreters` as users do."""
    if request.node.get_closest_marker("new_interpreters"):
        monkeypatch.setattr(workers, "start_worker", START_WORKER)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Return the URL of a real S3 server on loopback that supports conditional writes."""
    from moto.server import ThreadedMotoServer  # takes seconds, and is not installed on a GPU machine (benchmarks/gpu)

    with pytest.MonkeyPatch.context() as patch:
        service_models(patch)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty bucket. Endpoint and credentials are in the environment, as for users."""
    import boto3  # as above

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"audits-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"
