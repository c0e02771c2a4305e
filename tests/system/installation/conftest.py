"""One installation for all tests of this folder: a Prefect server on PostgreSQL, S3, and workers of both pools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.paths import ROOT

# The tests of a file depend on each other. After a failure, each of the rest would wait for up to ten minutes.
_failed: set[Path] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        _failed.add(item.path)
        if (cluster := getattr(item, "funcargs", {}).get("cluster")) is not None:
            report.sections.append(("the installation", cluster.describe()))  # type: ignore[attr-defined]
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.path in _failed:
        pytest.fail("An earlier test of this story failed.", pytrace=False)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Deploy, and start a worker for audits and two workers that Prefect sees as machines with one GPU each."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.deploy()
        # Idempotent.
        cluster.deploy()
        # A silent run is found after three heartbeats of 30 s, the shortest that Prefect allows.
        quick = (ROOT / "deployments" / "automations.yaml").read_text().replace("540", "90")
        (cluster.folder / "automations.yaml").write_text(quick)
        cluster.call("labelaudit", "apply-automations", str(cluster.folder / "automations.yaml"))
        cluster.start_worker("labelaudit-cpu", "cpu-1")
        # A machine with one GPU takes one fold at a time.
        for name in ("gpu-1", "gpu-2"):
            cluster.start_worker("labelaudit-gpu", name, "--limit", "1")
        yield cluster
        cluster.save_screenshots()
    finally:
        cluster.close()
