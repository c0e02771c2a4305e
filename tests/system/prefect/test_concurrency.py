"""One audit of a dataset at a time, and no slot stays taken for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.runtime import flow_run as current_run
from prefect.states import Pending, Running

from labelaudit.config import AuditConfig
from labelaudit.orchestration import concurrency, heartbeats
from labelaudit.orchestration.concurrency import dataset_lock
from support.audits import settings
from support.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.slow

WAITING = "waiting for another audit of the same dataset"


def _config(folder: Path, name: str) -> AuditConfig:
    return settings(folder / "data.csv", folder / "audits", dataset={"name": name})


@flow(name="holds-the-lock", validate_parameters=False)
def hold_lock(config: AuditConfig, log: list[str], wait: Callable[[list[str]], object]) -> None:
    with dataset_lock(config, UUID(current_run.id)):
        log.append("in")
        wait(log)
        log.append("out")


def _in_parallel(wait: Callable[[list[str]], object], *configs: AuditConfig) -> list[str]:
    log: list[str] = []
    threads = [threading.Thread(target=hold_lock, args=(config, log, wait)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return log


def test_two_runs_of_one_dataset_wait_for_each_other(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(concurrency, "WAIT_SECONDS", 1.0)
    config = _config(tmp_path, "a / b")

    def until_the_other_one_asks(log: list[str]) -> None:
        wait_for(lambda: WAITING in caplog.text or log.count("in") == 2)

    assert _in_parallel(until_the_other_one_asks, config, config) == ["in", "out", "in", "out"]


def test_other_datasets_and_outputs_do_not_wait(client: SyncPrefectClient, tmp_path: Path) -> None:
    one = _config(tmp_path, "same")
    # Each continues when the other one holds its lock too.
    meeting = threading.Barrier(2, timeout=PATIENCE_SECONDS)
    log = _in_parallel(lambda log: meeting.wait(), one, _config(tmp_path / "elsewhere", "same"))
    assert log == ["in", "in", "out", "out"]


def test_a_slot_without_a_live_run_is_freed(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a restart of a server that keeps its leases in memory."""
    config = _config(tmp_path, "leaked")
    name = concurrency._limit_name(config)
    client.upsert_global_concurrency_limit_by_name(name, 1)
    client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=1))
    monkeypatch.setattr(concurrency, "WAIT_SECONDS", 2.0)
    log: list[str] = []
    hold_lock(config, log, lambda log: None)
    assert log == ["in", "out"]
    assert "its slot is freed" in caplog.text


def test_a_held_slot_is_not_freed(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(concurrency, "WAIT_SECONDS", 1.0)
    config = _config(tmp_path, "held")

    def until_the_other_one_asked_three_times(log: list[str]) -> None:
        # A slot that no run holds is freed when that is seen twice.
        wait_for(lambda: caplog.text.count(WAITING) >= 3 or "out" in log)

    assert _in_parallel(until_the_other_one_asked_three_times, config, config) == ["in", "out", "in", "out"]
    assert "is freed" not in caplog.text


def test_a_killed_holder_is_recognized_by_its_missing_heartbeats(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run whose process was killed stays Running; only its missing heartbeats show it."""
    config = _config(tmp_path, "silent")
    name = concurrency._limit_name(config)
    client.upsert_global_concurrency_limit_by_name(name, 1)
    client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=1))
    killed = client.create_flow_run(hold_lock, tags=[name])
    client.set_flow_run_state(killed.id, Pending())
    client.set_flow_run_state(killed.id, Running())
    monkeypatch.setattr(concurrency, "WAIT_SECONDS", 1.0)
    # Here, a heartbeat is lost after two seconds.
    monkeypatch.setattr(heartbeats, "DEFAULT_HEARTBEAT_SECONDS", 2 / 3)
    log: list[str] = []
    hold_lock(config, log, lambda log: None)
    assert log == ["in", "out"]
    assert "its slot is freed" in caplog.text
