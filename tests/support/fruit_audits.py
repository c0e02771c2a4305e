"""Audits of small datasets in an installation. Their folds train for as long as a test needs."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import yaml
from prefect.client.schemas.objects import FlowRun

from support.audits import fruit, write_fruit
from support.cluster import Cluster
from support.waiting import wait_for

# One for each GPU machine.
FOLDS = 2


def write_config(cluster: Cluster, name: str, seconds: float, **sections: object) -> None:
    """Write a config whose folds sleep for `seconds` in every batch."""
    config = {
        "dataset": {"name": name, "url": f"s3://datasets/{name}/{{version}}/", "ignore": ["true_label"]},
        "model": {"network": "slow_nets:build", "kwargs": {"seconds": seconds}},
        "training": {"epochs": 10, "learning_rate": 0.05, "batch_size": 32},
        "cross_validation": {"folds": FOLDS},
        "workers": {"kind": "work-pool"},
        "output": {"url": "s3://audits"},
        **sections,
    }
    (cluster.configs / f"{name}.yaml").write_text(yaml.safe_dump(config))


def publish(cluster: Cluster, name: str, seconds: float, version: str = "v1", **sections: object) -> None:
    """Publish a version of a dataset like a publisher without Python. Its event starts the audit."""
    write_config(cluster, name, seconds, **sections)
    data = write_fruit(cluster.folder / name / "fruit.parquet", fruit(rows=240))
    for key, content in (("fruit.parquet", data.read_bytes()), ("_SUCCESS", b"")):
        cluster.s3.put_object(Bucket="datasets", Key=f"{name}/{version}/{key}", Body=content)
    post(cluster, {"config": name, "version": version})


def post(cluster: Cluster, payload: dict[str, object], event_id: str | None = None) -> None:
    """Post the event of a new version."""
    event = {
        "id": event_id or str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "labelaudit.dataset.published",
        "resource": {"prefect.resource.id": f"labelaudit.dataset.{payload['config']}"},
        "payload": payload,
    }
    command = ["curl", "--fail", "--silent", "--show-error", "-H", "content-type: application/json"]
    cluster.call(*command, f"{cluster.api_url}/events", "-d", json.dumps([event]))


def audits_of(cluster: Cluster, name: str, version: str = "") -> list[FlowRun]:
    return [run for run in cluster.audits() if run.name.startswith(f"audit {name} {version}")]


def audit_of(cluster: Cluster, name: str, version: str = "") -> FlowRun:
    """Return the last audit of a dataset, or of one version, as soon as it has started."""
    run: FlowRun = wait_for(lambda: audits_of(cluster, name, version), what=f"for the audit of {name}")[-1]
    return run


def folds_of(cluster: Cluster, audit: FlowRun) -> list[FlowRun]:
    return cluster.runs(f"labelaudit-audit-run:{audit.id}")


def running_folds(cluster: Cluster, audit: FlowRun) -> list[FlowRun]:
    return [run for run in folds_of(cluster, audit) if run.state and run.state.is_running()]


def ended(cluster: Cluster, name: str, version: str = "") -> FlowRun:
    """Return the last audit of a dataset, or of one version, as soon as it has ended."""

    def is_over() -> FlowRun | None:
        run = audit_of(cluster, name, version)
        return run if run.state is not None and run.state.is_final() else None

    run = wait_for(is_over, what=f"for the end of the audit of {name}")
    assert isinstance(run, FlowRun)
    return run
