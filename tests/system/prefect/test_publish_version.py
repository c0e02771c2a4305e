"""`labelaudit publish-version`: its output, and when it announces a version."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from labelaudit.cli.main import main
from labelaudit.orchestration.audit_new_versions import audit_new_versions
from support.audits import settings, write_fruit

pytestmark = pytest.mark.slow

Publish = Callable[..., tuple[dict[str, object], str]]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Publish:
    """Publish a file as a version of a config with this rule, and return the facts and the output."""
    source = write_fruit(tmp_path / "source" / "fruit.parquet")

    def command(target: object, version: str, **rule: object) -> tuple[dict[str, object], str]:
        config = settings(f"{tmp_path}/fruit/{{version}}/", tmp_path / "audits", versions=rule)
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / "fruit.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
        arguments = ["publish-version", str(target), str(source), "--version", version, "--json"]
        monkeypatch.setattr(sys, "argv", ["labelaudit", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return command


def test_without_an_api(publish: Publish, tmp_path: Path) -> None:
    facts, said = publish(tmp_path / "configs" / "fruit.yaml", "v1")
    assert (facts["version"], facts["is_new"], facts["announced"]) == ("v1", True, False)
    assert "Uploaded fruit v1: 1 files" in said
    assert "Not announced: no Prefect API is configured (PREFECT_API_URL)." in said
    facts, said = publish(tmp_path / "configs" / "fruit.yaml", "v1")
    assert not facts["is_new"]
    assert "Already stored: fruit v1" in said


def test_announced_by_the_name_that_runs_know(
    publish: Publish, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", str(client.api_url))
    # Workers cannot use a path of this machine.
    facts, said = publish(tmp_path / "configs" / "fruit.yaml", "v1")
    assert not facts["announced"]
    assert "Not announced: LABELAUDIT_CONFIGS is not set, so runs would not find this config." in said
    monkeypatch.setenv("LABELAUDIT_CONFIGS", str(tmp_path / "configs"))
    facts, said = publish("fruit", "v1")
    assert (facts["is_new"], facts["announced"]) == (False, True)
    assert f"Announced to {client.api_url}" in said
    facts, said = publish("fruit", "v1")
    assert facts["announced"]
    assert "It was already announced." in said


def test_what_is_not_complete_yet_is_left_to_the_sweep(
    publish: Publish, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", str(client.api_url))
    monkeypatch.setenv("LABELAUDIT_CONFIGS", str(tmp_path / "configs"))
    facts, said = publish("fruit", "v1", quiet_minutes=5)
    assert not facts["announced"]
    assert "Not announced: it changed less than 5 minutes ago, and an incomplete version cannot be audited" in said
    publish("fruit", "v2", quiet_minutes=0)
    assert {row["version"]: row["status"].partition(" at ")[0] for row in audit_new_versions()} == {
        "v1": "announced",
        "v2": "announced",
    }
