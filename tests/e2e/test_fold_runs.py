"""Folds as runs on a work pool: on machines that share nothing but storage, lost, started again, cancelled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from prefect.client.schemas.objects import FlowRun, StateType

from audits import fruit, write_fruit
from cluster import Cluster, kill_tree, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.deploy()
        cluster.start_worker("labelaudit-cpu", "cpu-1")
        for name in ("gpu-1", "gpu-2"):
            cluster.start_worker("labelaudit-gpu", name, "--limit", "1")
        yield cluster
    finally:
        cluster.close()


def _publish(cluster: Cluster, name: str, seconds: float, **sections: object) -> None:
    """A dataset whose folds train as long as `seconds` per batch say, and its version v1."""
    config = {
        "dataset": {"name": name, "url": f"s3://datasets/{name}/{{version}}/", "ignore": ["true_label"]},
        "model": {"network": "slow_nets:build", "kwargs": {"seconds": seconds}},
        "training": {"epochs": 10, "learning_rate": 0.05, "batch_size": 32},
        "cross_validation": {"folds": 3},
        "workers": {"kind": "work-pool"},
        "output": {"url": "s3://audits"},
        **sections,
    }
    (cluster.configs / f"{name}.yaml").write_text(yaml.safe_dump(config))
    data = write_fruit(cluster.folder / name / "fruit.parquet", fruit(rows=240))
    cluster.call("labelaudit", "publish-version", name, str(data), "--version", "v1")


def _audit_of(cluster: Cluster, name: str) -> FlowRun:
    found = wait_for(lambda: [run for run in cluster.audits() if run.name.startswith(f"audit {name}")])
    return found[-1]


def _folds_of(cluster: Cluster, audit: FlowRun) -> list[FlowRun]:
    return cluster.runs(f"labelaudit-audit-run:{audit.id}")


def _ended(cluster: Cluster, name: str) -> FlowRun:
    def is_over() -> FlowRun | None:
        run = _audit_of(cluster, name)
        return run if run.state is not None and run.state.is_final() else None

    run = wait_for(is_over)
    assert isinstance(run, FlowRun)
    return run


def test_a_cancelled_audit_cancels_its_folds(cluster: Cluster) -> None:
    _publish(cluster, "cancelled", seconds=5.0)
    audit = _audit_of(cluster, "cancelled")
    running = wait_for(
        lambda: [run for run in _folds_of(cluster, audit) if run.state and run.state.is_running()],
    )
    cluster.cancel(audit)
    states = wait_for(
        lambda: (
            [s for run in _folds_of(cluster, audit) if (s := run.state) and s.is_final()]
            if _ended(cluster, "cancelled").state
            else None
        )
    )
    assert {state.type for state in states} == {StateType.CANCELLED}
    wait_for(lambda: all(cluster.process_of(run) is None for run in running))
    assert not [key for key in cluster.objects("audits", "dataset=cancelled/") if key.endswith("manifest.json")]


def test_a_lost_machine_costs_its_fold_alone(cluster: Cluster) -> None:
    _publish(cluster, "lost", seconds=0.4)
    audit = _audit_of(cluster, "lost")

    def on_both() -> list[FlowRun]:
        running = [run for run in _folds_of(cluster, audit) if run.state and run.state.is_running()]
        return running if len(running) == 2 else []

    running = wait_for(on_both)
    victim = cluster.process_of(running[0])
    assert victim is not None
    worker = victim.parent()
    assert worker is not None
    # The fold's process and the worker above it, together: nobody is left to report the crash.
    kill_tree(worker.pid)
    assert _ended(cluster, "lost").state.is_completed()  # type: ignore[union-attr]
    folds = _folds_of(cluster, audit)
    crashed = [run for run in folds if run.state and run.state.is_crashed()]
    assert [run.id for run in crashed] == [running[0].id]
    assert sorted(run.parameters["fold"] for run in folds) == sorted([0, 1, 2, running[0].parameters["fold"]])
    cluster.start_worker("labelaudit-gpu", "gpu-3", "--limit", "1")


def test_a_fold_of_a_published_audit_ends_at_once(cluster: Cluster) -> None:
    audit = _audit_of(cluster, "lost")
    fold = _folds_of(cluster, audit)[-1]
    before = cluster.objects("audits")
    client = cluster.client
    again = client.create_flow_run_from_deployment(fold.deployment_id, parameters=fold.parameters)  # type: ignore[arg-type]
    state = wait_for(lambda: s if (s := client.read_flow_run(again.id).state) and s.is_final() else None)
    assert state.is_completed()
    assert "published already" in state.message
    assert cluster.objects("audits") == before


def test_a_fold_that_cannot_be_trained_is_not_tried_again(cluster: Cluster) -> None:
    _publish(cluster, "refused", seconds=0.0, model={"network": "slow_nets:nothing"})
    ended = _ended(cluster, "refused")
    assert ended.state is not None
    assert ended.state.is_failed()
    assert "folds could not be trained" in str(ended.state.message)
    assert "slow_nets" in str(ended.state.message)
    folds = _folds_of(cluster, ended)
    assert [run.state.name for run in folds if run.state] == ["Refused"] * 3
