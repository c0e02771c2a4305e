"""Errors of the orchestration: their types and messages."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient

from labelaudit.cli.apply_automations import apply_automations_command
from labelaudit.errors import AnnouncementError, ConfigError, WorkerDiedError
from labelaudit.orchestration import audit_dataset as flow_module
from labelaudit.orchestration import events
from labelaudit.orchestration.audit_dataset import audit_dataset
from labelaudit.versions.discover import FoundVersion
from support.audits import settings, write_fruit

pytestmark = pytest.mark.slow


def test_an_unknown_deployment(client: SyncPrefectClient, tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet")
    config = settings(data, tmp_path / "out", workers={"kind": "work-pool", "deployment": "train-fold/nowhere"})
    with pytest.raises(ConfigError, match=r"workers\.deployment is train-fold/nowhere, which this Prefect server"):
        audit_dataset(config)


def test_ray_that_is_not_installed(client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    data = write_fruit(tmp_path / "fruit.parquet")
    with pytest.raises(ConfigError, match=r"prefect-ray is not installed\. Install labelaudit\[ray\]"):
        audit_dataset(settings(data, tmp_path / "out", workers={"kind": "ray"}))


def test_an_audit_whose_process_always_dies_ends(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in the fourth attempt of a flow run, which is one too many.
    monkeypatch.setattr(flow_module, "MAX_RUNS", 0)
    with pytest.raises(WorkerDiedError, match=r"This audit was started 0 times, and its process died each time"):
        audit_dataset(settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out"))


def test_a_deployed_run_refuses_a_whole_config(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELAUDIT_CONFIGS", str(tmp_path))
    config = settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out")
    # Makes Prefect treat the run as one of a deployment.
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(uuid4()))
    with pytest.raises(ConfigError, match="takes the name of a config below LABELAUDIT_CONFIGS, not a whole config"):
        audit_dataset(config)


def test_a_server_that_does_not_accept_an_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(events, "get_client", lambda sync_client: SyncPrefectClient("http://127.0.0.1:9/api"))
    event = events.published_event(FoundVersion("figs", "v1", "s3://figs/v1", "0" * 32, None), "figs", 1)
    with pytest.raises(
        AnnouncementError, match=r"did not accept the event of s3://figs/v1 \(ConnectError.*new-versions"
    ):
        events.post_event(event)


def test_automations_need_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"No Prefect API is configured\. Set PREFECT_API_URL"):
        apply_automations_command("deployments/automations.yaml", None, as_json=False)
