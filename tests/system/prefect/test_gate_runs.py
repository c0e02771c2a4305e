"""A failed gate: exit code 3, and a flow run that ends as GateFailed after its audit is published."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.events.schemas.events import Event

import labelaudit.orchestration.events as events
from labelaudit.cli.main import main
from labelaudit.config import AuditConfig
from labelaudit.errors import GateFailedError
from labelaudit.orchestration.audit_dataset import audit_dataset
from labelaudit.versions.discover import find_versions, unaudited
from support.audits import CLASSES, audit, fruit, settings, write_fruit
from support.waiting import wait_for

pytestmark = pytest.mark.slow

LIMITS = {"max_flagged_share": 0.1, "max_new_issues": 5}


def _worse(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the same rows with a tenth more wrong labels."""
    worse = frame.copy()
    worse.loc[3::10, "label"] = [CLASSES[(CLASSES.index(label) + 1) % 3] for label in frame["label"][3::10]]
    return worse


def _config(folder: Path, version: str, frame: pd.DataFrame) -> AuditConfig:
    data = write_fruit(folder / f"{version}.parquet", frame)
    named = {"name": "fruit", "version": version}
    quick = {"cross_validation": {"folds": 2}, "workers": {"max_parallel": 1}}
    return settings(data, folder / "out", dataset=named, gate=LIMITS, **quick)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labelaudit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(str(stop.value.code or 0)), printed.out, printed.err

    return run


def _probabilities(folder: Path, wrong: int) -> Path:
    """Return 300 rows of three classes. The first `wrong` rows have the next label."""
    right = np.arange(300) % 3
    given = np.where(np.arange(300) < wrong, (right + 1) % 3, right)
    pred_probs = list(0.04 + 0.88 * np.eye(3)[right])
    ids = [f"row-{row:03d}" for row in range(300)]
    frame = pd.DataFrame({"id": ids, "label": np.array(CLASSES)[given], "pred_probs": pred_probs})
    frame.to_parquet(folder / f"{wrong}.parquet")
    return folder / f"{wrong}.parquet"


def test_exit_code_3_after_publishing_and_again(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    def detect(version: str, wrong: int, *more: str) -> tuple[int, str, str]:
        limits = ["--set", "gate.max_new_issues=5", "--set", "gate.max_class_flagged_share={plum: 0.5}"]
        place = ["--name", "fruit", "--version", version, "--output", tmp_path / "out"]
        return command("detect", _probabilities(tmp_path, wrong), *place, *limits, *more)

    code, _, err = detect("v1", 3)
    assert code == 0
    assert "The gate passed: 2 rules hold (1 could not be measured)." in err

    code, out, err = detect("v2", 30)
    assert code == 3
    folder = Path(out.strip())
    assert (folder / "manifest.json").is_file()
    message = err[err.index("error:") :]
    assert "fruit version v2: The gate failed: 1 of 3 rules is broken: max_new_issues." in message
    assert "max_new_issues: 27 rows are newly flagged; the limit is 5." in message
    assert f"The audit is published: {folder}/report.html" in message
    assert json.loads((tmp_path / "out" / "dataset=fruit" / "latest.json").read_text())["version"] == "v2"

    code, out, err = detect("v2", 30, "--json")
    assert code == 3
    answer = json.loads(out)
    assert (answer["status"], answer["gate"]["verdict"]) == ("already_published", "failed")
    assert [rule["outcome"] for rule in answer["gate"]["rules"]] == ["passed", "failed", "passed"]

    # A stopped version is not the predecessor of the next one.
    code, out, _ = detect("v3", 4, "--json")
    assert code == 0
    assert json.loads(out)["changes"]["predecessor"]["version"] == "v1"


def test_detect_sets_what_it_reads(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = command("detect", _probabilities(tmp_path, 3), "--set", "training.epochs=3")
    assert (code, out) == (2, "")
    problem = (
        "--set 'training.epochs=3' has no effect: detect reads only the config sections detection, gate, report, "
        "storage."
    )
    assert problem in err


def _run_of(client: SyncPrefectClient, name: str) -> FlowRun:
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
    return max(runs, key=lambda run: run.expected_start_time)


def _gate_events(client: SyncPrefectClient, version: str) -> list[Event]:
    found = client.read_events(filter=EventFilter(event=EventNameFilter(name=[events.GATE_FAILED])), limit=50).events
    return [event for event in found if event.payload["version"] == version]


def test_a_flow_run_ends_as_gate_failed(client: SyncPrefectClient, tmp_path: Path) -> None:
    audit(_config(tmp_path, "v1", fruit()))
    config = _config(tmp_path, "v2", _worse(fruit()))
    with pytest.raises(GateFailedError, match=r"fruit version v2: The gate failed: 2 of 3 rules are broken") as failure:
        audit_dataset(config)
    shown = failure.value.audit
    assert (Path(shown["audit_url"]) / "manifest.json").is_file()
    run = _run_of(client, f"audit {config.dataset.url}")
    assert run.state is not None
    assert (run.state.type.value, run.state.name) == ("FAILED", "GateFailed")
    assert run.run_count == 1
    assert shown["report_url"] in str(run.state.message)
    artifacts = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    )
    text = "".join(str(artifact.data) for artifact in artifacts if artifact.type == "markdown")
    assert "## Gate: failed" in text

    # The published audit is found and fails again with the same event.
    with pytest.raises(GateFailedError):
        audit_dataset(config)
    assert unaudited(config, find_versions(config)) == [], "a held version is not announced again"
    (event,) = wait_for(lambda: _gate_events(client, "v2"))
    assert event.resource.id == "labelaudit.dataset.fruit"
    assert event.payload["report_url"] == shown["report_url"]
    assert event.payload["audit_url"] == shown["audit_url"]
    assert event.payload["verdict"].startswith("The gate failed: 2 of 3 rules are broken")
    assert [rule["rule"] for rule in event.payload["broken_rules"]] == ["max_flagged_share", "max_new_issues"]
    ended = EventFilter(
        event=EventNameFilter(prefix=["prefect.flow-run."]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    names = {event.event for event in client.read_events(filter=ended, limit=50).events}
    assert "prefect.flow-run.GateFailed" in names
    assert "prefect.flow-run.Failed" not in names, "the alert of runs that failed stays silent"


def test_exit_code_3_of_a_flow_run(
    client: SyncPrefectClient,
    command: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audit(_config(tmp_path, "v1", fruit()))
    config = _config(tmp_path, "v2", _worse(fruit()))
    published = audit(config)
    (tmp_path / "audit.yaml").write_text(config.model_dump_json())
    monkeypatch.setenv("PREFECT_API_URL", str(client.api_url))
    code, out, err = command("run", tmp_path / "audit.yaml")
    assert code == 3
    assert "The audit is a run of the flow audit-dataset at" in err
    assert out == f"{published.audit_url}\n"
    assert "error: fruit version v2: The gate failed" in err


def test_a_server_that_takes_no_event_changes_nothing(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    audit(_config(tmp_path, "v1", fruit()))
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(events, "get_client", lambda sync_client: SyncPrefectClient("http://127.0.0.1:9/api"))
    config = _config(tmp_path, "v2", _worse(fruit()))
    audit(config)
    with pytest.raises(GateFailedError):
        audit_dataset(config)
    run = _run_of(client, f"audit {config.dataset.url}")
    assert run.state is not None
    assert run.state.name == "GateFailed"
    assert "did not accept the event" in caplog.text
    assert "its run still ends as GateFailed" in caplog.text
