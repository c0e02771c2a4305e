"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Small matrices gain nothing from threads, and lose much on a busy machine. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may report usage over the network.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

# Nothing is timed in tests: on a busy machine an example may take any time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


# Begun first: at the end of all, one process would wait minutes for the other.
LONG_FILES = ("test_docs.py", "test_kill.py", "test_nightly.py")
# Never in two processes: tests of one installation (tests/e2e/conftest.py), which would be started once more, and those
# of Ray, which joins any cluster that it finds on the machine.
TOGETHER = {
    **dict.fromkeys(("test_fold_runs.py", "test_watch.py"), "one installation"),
    **dict.fromkeys(("test_ray.py", "test_ray_local.py"), "Ray"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


class FilesSideBySide(LoadScopeScheduling):
    """A file of tests stays in one process, and so do those that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(file.rpartition("/")[2], file)


# xdist's own way, a mark for a group, does nothing under pytest 9.2, without a word.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesSideBySide:
    return FilesSideBySide(config, log)


SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real datasets that lies beside a development checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared datasets are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads what another one, or a user of this machine, has decoded."""
    monkeypatch.setenv("LABELAUDIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of a real S3 server on loopback that honours conditional writes."""
    from moto.server import ThreadedMotoServer  # takes seconds, and a GPU machine (benchmarks/gpu) has no moto

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket; endpoint and credentials come from the environment, as a user's do."""
    import boto3  # as above

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"audits-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"
