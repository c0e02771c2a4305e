"""The sweep announces each version once, and none is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

from labelaudit.cli.dataset_options import DatasetOptions
from labelaudit.cli.options import config_from
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.orchestration import events
from labelaudit.orchestration.audit_dataset import audit_dataset
from labelaudit.orchestration.audit_new_versions import MAX_ANNOUNCEMENTS, MAX_PER_SWEEP, audit_new_versions
from labelaudit.storage.store import Store
from labelaudit.versions.discover import find_versions
from support.audits import settings, write_fruit
from support.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    monkeypatch.setenv("LABELAUDIT_CONFIGS", str(folder))
    return folder


def _dataset(configs: Path, name: str, *versions: str) -> None:
    base = configs.parent
    url = str(base / name / "{version}")
    config = settings(url, base / "audits", dataset={"name": name}).model_dump(mode="json")
    (configs / f"{name}.yaml").write_text(yaml.safe_dump(config))
    for version in versions:
        write_fruit(base / name / version / "fruit.parquet")
        (base / name / version / "_SUCCESS").touch()


def _statuses(rows: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(row["dataset"], row["version"], row["status"]) for row in rows]


def _events(client: SyncPrefectClient, name: str) -> list[dict[str, object]]:
    """Return the payloads of a dataset's announcements, which the server stores a moment later."""
    wanted = EventFilter(
        event=EventNameFilter(name=[events.PUBLISHED]),
        resource=EventResourceFilter(id=[f"labelaudit.dataset.{name}"]),
    )
    found = wait_for(lambda: client.read_events(filter=wanted, limit=50).events)
    return [event.payload for event in found]


def test_a_version_is_announced_once(client: SyncPrefectClient, configs: Path) -> None:
    _dataset(configs, "pears", "v1", "v2")
    _dataset(configs, "plums")
    (configs.parent / "pears" / "v3").mkdir()
    write_fruit(configs.parent / "pears" / "v3" / "fruit.parquet")
    first = _statuses(audit_new_versions())
    assert first == [("pears", "v3", "has no _SUCCESS"), ("pears", "v1", "announced"), ("pears", "v2", "announced")]
    for _ in range(2):
        again = _statuses(audit_new_versions(["pears"]))
        assert [status.partition(" at ")[0] for _, _, status in again] == ["has no _SUCCESS", "announced", "announced"]
    payloads = sorted(_events(client, "pears"), key=lambda payload: str(payload["version"]))
    assert payloads == [
        {"config": "pears.yaml", "dataset": "pears", "version": version, "url": f"{configs.parent}/pears/{version}"}
        for version in ("v1", "v2")
    ]
    # The payload has the parameters of the deployed flow.
    audit = audit_dataset(payloads[0]["config"], payloads[0]["version"])  # type: ignore[arg-type]
    assert (audit["dataset"], audit["version"], audit["status"]) == ("pears", "v1", "published")
    assert [version for _, version, _ in _statuses(audit_new_versions())] == ["v3", "v2"]


def test_events_lost_while_the_server_was_down(
    client: SyncPrefectClient, configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _dataset(configs, "figs", "v1")
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.1)
    with monkeypatch.context() as patch:
        # No server listens there, as if it were down.
        patch.setattr(events, "get_client", lambda sync_client: SyncPrefectClient("http://127.0.0.1:9/api"))
        assert _statuses(audit_new_versions()) == [("figs", "v1", "could not be announced")]
    assert _statuses(audit_new_versions()) == [("figs", "v1", "announced")]
    assert len(_events(client, "figs")) == 1


def test_a_version_without_an_audit_is_announced_again_but_not_for_ever(
    client: SyncPrefectClient, configs: Path
) -> None:
    _dataset(configs, "limes", "v1")
    seen = [_statuses(audit_new_versions(again_after_hours=0))[0][2] for _ in range(4)]
    assert seen == [
        "announced",
        "announced again (2)",
        "announced again (3)",
        "announced 3 times without an audit: look at its runs",
    ]
    assert MAX_ANNOUNCEMENTS == 3
    store = Store(str(configs.parent / "audits"))
    (record,) = store.find("dataset=limes/_announced")
    assert json.loads(store.read(record.path))["number"] == 3


def test_an_announcement_waits_its_hours(client: SyncPrefectClient, configs: Path) -> None:
    _dataset(configs, "dates", "v1")
    audit_new_versions(again_after_hours=1)
    store = Store(str(configs.parent / "audits"))
    (record,) = store.find("dataset=dates/_announced")
    noted = json.loads(store.read(record.path))
    assert audit_new_versions(again_after_hours=1)[0]["status"] == f"announced at {noted['at']}"
    earlier = datetime.now(UTC) - timedelta(minutes=61)
    store.write(record.path, json.dumps({**noted, "at": earlier.isoformat()}).encode())
    assert audit_new_versions(again_after_hours=1)[0]["status"] == "announced again (2)"


def test_old_versions_are_announced_a_few_at_a_time(client: SyncPrefectClient, configs: Path) -> None:
    _dataset(configs, "hazel", *(f"v{number}" for number in range(1, MAX_PER_SWEEP + 4)))
    waits = f"waits for the next sweep: one sweep announces {MAX_PER_SWEEP} versions of a dataset"
    first = [status for _, _, status in _statuses(audit_new_versions())]
    assert first == ["announced"] * MAX_PER_SWEEP + [waits] * 3
    rows = _statuses(audit_new_versions())
    assert all(status.startswith("announced at ") for _, _, status in rows[:MAX_PER_SWEEP])
    assert rows[MAX_PER_SWEEP:] == [("hazel", f"v{MAX_PER_SWEEP + number}", "announced") for number in (1, 2, 3)]
    assert len(_events(client, "hazel")) >= 1


def test_an_event_that_comes_too_early_is_not_lost(client: SyncPrefectClient, configs: Path) -> None:
    _dataset(configs, "melons")
    (configs / "melons.yaml").write_text(
        (configs / "melons.yaml").read_text().replace("marker: null", "marker: _SUCCESS")
    )
    write_fruit(configs.parent / "melons" / "v1" / "fruit.parquet")
    with pytest.raises(DatasetError, match=r"melons/v1 is not complete: it has no _SUCCESS\. .* leave it to the sweep"):
        audit_dataset("melons", "v1")
    assert _statuses(audit_new_versions()) == [("melons", "v1", "has no _SUCCESS")]
    (configs.parent / "melons" / "v1" / "_SUCCESS").touch()
    assert _statuses(audit_new_versions()) == [("melons", "v1", "announced")]


def test_an_event_with_an_empty_version(client: SyncPrefectClient, configs: Path) -> None:
    _dataset(configs, "olives", "v1", "v2")
    with pytest.raises(ConfigError, match=r"The version '' cannot be used:(?s:.*)version: Must be printable"):
        audit_dataset("olives", "")
    with pytest.raises(ConfigError, match="version: Must be printable"):
        config_from(str(configs / "olives.yaml"), DatasetOptions(version=""))


def test_one_bad_config_does_not_hide_the_others(client: SyncPrefectClient, configs: Path) -> None:
    (configs / "bad.yaml").write_text("dataset: {url: 3, lable: x}")
    _dataset(configs, "kiwis", "v1")
    with pytest.raises(
        DatasetError, match=r"The sweep failed for 1 of 2 configs\. bad\.yaml: (?s:.*)lable is not a setting"
    ):
        audit_new_versions()
    assert len(_events(client, "kiwis")) == 1


def test_the_id_of_an_announcement_depends_on_the_content_alone(configs: Path) -> None:
    _dataset(configs, "nuts", "v1", "v2")
    config = settings(str(configs.parent / "nuts" / "{version}"), configs.parent / "audits", dataset={"name": "nuts"})
    first, second = find_versions(config)
    assert events.event_id(first, 1) == events.event_id(find_versions(config)[0], 1)
    assert len({events.event_id(found, number) for found in (first, second) for number in (1, 2)}) == 4


def test_runs_are_held_to_the_configs_folder(
    client: SyncPrefectClient, configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("../other", "/etc/config.yaml", "s3://elsewhere/config.yaml"):
        with pytest.raises(ConfigError, match="is not below LABELAUDIT_CONFIGS"):
            audit_dataset(name)
    with pytest.raises(
        ConfigError,
        match=r"The config .*apples\.yaml does not exist\. Put .*or set LABELAUDIT_CONFIGS in the environment",
    ):
        audit_dataset("apples")
    monkeypatch.delenv("LABELAUDIT_CONFIGS")
    with pytest.raises(ConfigError, match="LABELAUDIT_CONFIGS is not set"):
        audit_new_versions()
