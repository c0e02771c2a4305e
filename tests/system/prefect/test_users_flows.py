"""Audits inside a user's own flow: in mapped tasks, in threads and processes, several at once, and from async code."""

from __future__ import annotations

import asyncio
import gc
import re
import runpy
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowFilter, FlowFilterName
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from labelaudit.audit import DirectCaller, run_audit
from labelaudit.audits.references import AuditReference
from labelaudit.config import AuditConfig
from labelaudit.errors import DatasetError
from labelaudit.orchestration.artifacts import RunProgress
from labelaudit.orchestration.audit_dataset import audit_dataset
from support.audits import fruit, settings, write_fruit
from support.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    # Async runs of Prefect leave sockets open, also in flows without an audit.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _close_sockets() -> Iterator[None]:
    """Close the sockets that Prefect leaves open without a peer, so that no other test is blamed for them."""
    before = {id(found) for found in _unconnected_sockets()}
    yield
    for found in _unconnected_sockets():
        if id(found) not in before:
            found.close()


def _unconnected_sockets() -> list[socket.socket]:
    sockets = [found for found in gc.get_objects() if type(found) is socket.socket and found.fileno() >= 0]
    return [found for found in sockets if found.type == socket.SOCK_STREAM and not _is_connected(found)]


def _is_connected(found: socket.socket) -> bool:
    try:
        found.getpeername()
    except OSError:
        # A server does not have a peer either.
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return True


@task
def audit_in_this_task(config: AuditConfig) -> AuditReference:
    return run_audit(config, DirectCaller(RunProgress()))


@task
async def audit_in_an_async_task(config: AuditConfig) -> AuditReference:
    return run_audit(config, DirectCaller(RunProgress()))


@flow(task_runner=ThreadPoolTaskRunner(), validate_parameters=False)
def audit_in_threads(configs: list[AuditConfig]) -> list[AuditReference]:
    return [future.result() for future in audit_in_this_task.map(configs)]


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2), validate_parameters=False)
def audit_in_processes(configs: list[AuditConfig]) -> list[AuditReference]:
    return [future.result() for future in audit_in_this_task.map(configs)]


@flow(validate_parameters=False)
async def audit_in_async_code(configs: list[AuditConfig]) -> list[AuditReference]:
    first = AuditReference(**audit_dataset(configs[0]))
    others = await asyncio.gather(*(audit_in_an_async_task(config) for config in configs[1:]))
    return [first, *others]


def _configs(folder: Path, count: int = 2) -> list[AuditConfig]:
    return [
        settings(write_fruit(folder / f"fruit{number}.parquet", fruit(seed=number)), folder / "audits")
        for number in range(count)
    ]


def test_mapped_tasks_in_threads(client: SyncPrefectClient, tmp_path: Path) -> None:
    """The flow of docs/operations.md, whose audits are child runs, then the same audits without runs of their own."""
    configs = _configs(tmp_path)
    for number, config in enumerate(configs):
        (tmp_path / f"{number}.yaml").write_text(config.model_dump_json())
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "operations.md").read_text(), re.M | re.S)
    (tmp_path / "nightly.py").write_text(snippet)
    audit_all = runpy.run_path(str(tmp_path / "nightly.py"))["audit_all"]
    urls = audit_all([str(tmp_path / "0.yaml"), str(tmp_path / "1.yaml")])
    assert len(set(urls)) == 2
    again = audit_in_threads(configs * 2)
    assert {audit.status for audit in again} == {"already_published"}
    assert [audit.audit_url for audit in again] == urls * 2
    runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["audit-dataset"])))
    children = [run for run in runs if run.name.startswith(f"audit {tmp_path}")]
    assert len(children) == 2
    assert all(run.parent_task_run_id for run in children)


def test_mapped_tasks_in_processes(client: SyncPrefectClient, tmp_path: Path) -> None:
    """Twice the same audit at once: both train, and one of them publishes."""
    (config,) = _configs(tmp_path, 1)
    first, second = audit_in_processes([config, config])
    assert first.audit_url == second.audit_url
    assert first.scored == 240


def test_async_flows_and_tasks(client: SyncPrefectClient, tmp_path: Path) -> None:
    found = asyncio.run(audit_in_async_code(_configs(tmp_path, 3)))
    assert [audit.status for audit in found] == ["published"] * 3
    progress = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["fold-0"])))
    assert {artifact.data for artifact in progress} == {100.0}


def test_one_audit_that_fails_does_not_stop_the_others(client: SyncPrefectClient, tmp_path: Path) -> None:
    configs = [*_configs(tmp_path, 1), settings(tmp_path / "nothing.parquet", tmp_path / "audits")]

    @flow(validate_parameters=False)
    def audit_all() -> list[str]:
        return [str(future.state.type.value) for future in audit_in_this_task.map(configs) if future.wait() is None]

    assert audit_all() == ["COMPLETED", "FAILED"]
    with pytest.raises(DatasetError, match=r"nothing\.parquet"):
        audit_in_threads(configs[1:])
