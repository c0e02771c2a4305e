"""The flow under a real Prefect server: states, artifacts, retries, and the same bytes as the direct call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import Artifact, FlowRun

from labelaudit.audits.references import AuditReference
from labelaudit.errors import DatasetError
from labelaudit.orchestration.audit_dataset import audit_dataset
from support.audits import audit, fold_bytes, settings, write_fruit, write_reviews
from support.users_encoder import NAME as ENCODER
from support.users_encoder import install_encoder

pytestmark = pytest.mark.slow


def _last_run(client: SyncPrefectClient, name: str) -> FlowRun:
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
    return max(runs, key=lambda run: run.expected_start_time)


def _artifacts(client: SyncPrefectClient, run: FlowRun) -> dict[str, list[Artifact]]:
    found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id])))
    by_type: dict[str, list[Artifact]] = {}
    for artifact in found:
        by_type.setdefault(str(artifact.type), []).append(artifact)
    return by_type


def test_a_flow_run_publishes_and_shows_the_audit(client: SyncPrefectClient, tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet")
    config = settings(data, tmp_path / "flow")
    reference = AuditReference(**audit_dataset(config))
    assert reference.status == "published"
    assert fold_bytes(reference) == fold_bytes(audit(settings(data, tmp_path / "direct")))

    run = _last_run(client, f"audit {data}")
    assert run.state is not None
    assert run.state.is_completed()
    tasks = sorted(re.sub(r"-[0-9a-f]{3}$", "", task.name) for task in client.read_task_runs())
    assert {"prepare", "find-published", "gather", "detect", "publish", "show"} <= set(tasks)
    assert {"train-fold-0", "train-fold-1", "train-fold-2"} <= set(tasks)

    artifacts = _artifacts(client, run)
    assert {artifact.key for artifact in artifacts["progress"]} == {"fold-0", "fold-1", "fold-2"}
    assert {artifact.data for artifact in artifacts["progress"]} == {100.0}
    text = "".join(str(artifact.data) for artifact in artifacts["markdown"])
    assert "labels look wrong" in text
    assert reference.report_url in text.replace("\\", "").replace("&#47;", "/")
    assert str(artifacts["table"][0].data).count("suggested_label") == reference.issues

    # The parameter form of a deployment sends plain JSON.
    again = audit_dataset(config.model_dump(mode="json"))  # type: ignore[arg-type]
    assert again["status"] == "already_published"
    assert again["audit_url"] == reference.audit_url


def test_a_run_is_named_alike_by_whoever_started_it(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person leaves out the suffix of the config; a sweep passes file names."""
    monkeypatch.setenv("LABELAUDIT_CONFIGS", str(tmp_path))
    (tmp_path / "pears.yaml").write_text("dataset: {url: nothing}\noutput: {url: nowhere}\n")
    for name in ("pears", "pears.yaml"):
        with pytest.raises(DatasetError, match="nothing"):
            audit_dataset(name)
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=["audit pears"])))
    assert len(runs) == 2


def test_shards_are_tasks_with_progress(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_encoder(tmp_path, monkeypatch)
    monkeypatch.setattr("labelaudit.pipeline.encode._FEWEST_ROWS", 60)
    data = write_reviews(tmp_path / "reviews.jsonl", 120)
    config = settings(data, tmp_path / "out", model={"encoder": ENCODER, "views": ["network", "probe"]})
    assert audit_dataset(config)["scored"] == 120
    run = _last_run(client, f"audit {data}")
    assert _tasks(client, run) >= {"plan-encoding", "encode-shard-0", "encode-shard-1", "train-fold-0"}
    progress = {artifact.key: artifact for artifact in _artifacts(client, run)["progress"]}
    assert set(progress) == {"shard-0", "shard-1", "fold-0", "fold-1", "fold-2"}
    assert progress["shard-1"].data == 100.0
    assert progress["shard-1"].description == "60 of 60 rows"
    # Another config of the same version: all features are stored.
    another = settings(data, tmp_path / "out", model={"encoder": ENCODER, "views": ["probe"]})
    assert audit_dataset(another)["status"] == "published"
    tasks = _tasks(client, _last_run(client, f"audit {data}"))
    assert "plan-encoding" in tasks
    assert not [task for task in tasks if task.startswith("encode-shard")]


def _tasks(client: SyncPrefectClient, run: FlowRun) -> set[str]:
    """Return the names of the tasks of a run, without the suffixes of Prefect."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    return {re.sub(r"-[0-9a-f]{3}$", "", task.name) for task in client.read_task_runs(flow_run_filter=wanted)}


def test_a_wrong_dataset_fails_at_once(client: SyncPrefectClient, tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"<html>")
    with pytest.raises(DatasetError):
        audit_dataset(settings(tmp_path / "data.parquet", tmp_path / "out"))
    run = _last_run(client, f"audit {tmp_path / 'data.parquet'}")
    assert run.state is not None
    assert run.state.is_failed()
    assert "data.parquet" in str(run.state.message)
    with pytest.raises(DatasetError, match="Nothing is stored"):
        audit_dataset(settings(tmp_path / "none.parquet", tmp_path / "out"))
    for task in client.read_task_runs():
        if task.state is not None and task.state.is_failed():
            assert task.run_count == 1, "what another try cannot change is not tried again"


NETS = """
import os, torch
from pathlib import Path

def dies_once(num_classes, input_shape, marker):
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    return torch.nn.Linear(input_shape[0], num_classes)
"""


def test_a_worker_that_dies_is_replaced(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "nets_that_die.py").write_text(NETS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    data = write_fruit(tmp_path / "fruit.parquet")
    model = {"network": "nets_that_die:dies_once", "kwargs": {"marker": str(tmp_path / "died")}}
    training = {"learning_rate": 0.05}
    config = settings(data, tmp_path / "out", model=model, training=training, workers={"max_parallel": 1})
    reference = audit_dataset(config)
    assert (tmp_path / "died").exists()
    assert reference["scored"] == 240
    retried = [task for task in client.read_task_runs() if task.run_count > 1]
    assert [task.name for task in retried] == ["train-fold-0"]
