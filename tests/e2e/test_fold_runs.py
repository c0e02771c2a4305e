"""Folds as runs on a work pool: on machines that share nothing but storage, lost, started again, cancelled."""

from __future__ import annotations

import pytest
from prefect.client.schemas.objects import FlowRun, StateType

from cluster import Cluster, kill_tree, wait_for
from fruit_audits import audit_of, ended, folds_of, publish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_cancelled_audit_cancels_its_folds(cluster: Cluster) -> None:
    publish(cluster, "cancelled", seconds=5.0)
    audit = audit_of(cluster, "cancelled")
    running = wait_for(
        lambda: [run for run in folds_of(cluster, audit) if run.state and run.state.is_running()],
    )
    cluster.cancel(audit)
    states = wait_for(
        lambda: (
            [s for run in folds_of(cluster, audit) if (s := run.state) and s.is_final()]
            if ended(cluster, "cancelled").state
            else None
        )
    )
    assert {state.type for state in states} == {StateType.CANCELLED}
    wait_for(lambda: all(cluster.process_of(run) is None for run in running))
    assert not [key for key in cluster.objects("audits", "dataset=cancelled/") if key.endswith("manifest.json")]


def test_a_lost_machine_costs_its_fold_alone(cluster: Cluster) -> None:
    publish(cluster, "lost", seconds=0.4)
    audit = audit_of(cluster, "lost")

    def on_both() -> list[FlowRun]:
        running = [run for run in folds_of(cluster, audit) if run.state and run.state.is_running()]
        return running if len(running) == 2 else []

    running = wait_for(on_both)
    victim = cluster.process_of(running[0])
    assert victim is not None
    worker = victim.parent()
    assert worker is not None
    # The fold's process and the worker above it, together: nobody is left to report the crash.
    kill_tree(worker.pid)
    assert ended(cluster, "lost").state.is_completed()  # type: ignore[union-attr]
    folds = folds_of(cluster, audit)
    crashed = [run for run in folds if run.state and run.state.is_crashed()]
    assert [run.id for run in crashed] == [running[0].id]
    assert sorted(run.parameters["fold"] for run in folds) == sorted([0, 1, 2, running[0].parameters["fold"]])
    cluster.start_worker("labelaudit-gpu", "gpu-3", "--limit", "1")


def test_a_fold_of_a_published_audit_ends_at_once(cluster: Cluster) -> None:
    audit = audit_of(cluster, "lost")
    fold = folds_of(cluster, audit)[-1]
    before = cluster.objects("audits")
    client = cluster.client
    again = client.create_flow_run_from_deployment(fold.deployment_id, parameters=fold.parameters)  # type: ignore[arg-type]
    state = wait_for(lambda: s if (s := client.read_flow_run(again.id).state) and s.is_final() else None)
    assert state.is_completed()
    assert "published already" in state.message
    assert cluster.objects("audits") == before


def test_a_fold_that_cannot_be_trained_is_not_tried_again(cluster: Cluster) -> None:
    publish(cluster, "refused", seconds=0.0, model={"network": "slow_nets:nothing"})
    over = ended(cluster, "refused")
    assert over.state is not None
    assert over.state.is_failed()
    assert "folds could not be trained" in str(over.state.message)
    assert "slow_nets" in str(over.state.message)
    folds = folds_of(cluster, over)
    assert [run.state.name for run in folds if run.state] == ["Refused"] * 3
