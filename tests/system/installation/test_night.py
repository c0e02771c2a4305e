"""A night of an installation: versions arrive, machines are lost, the server restarts, and alerts are sent.

The tests depend on each other and run in order. A run on a lost machine is found after 90 s, so both losses come early,
and their consequences are checked at the end.
"""

from __future__ import annotations

import io
import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest
import yaml
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule

from labelaudit.cli.demo import count_found, write_digits
from support.cluster import Cluster, kill_tree
from support.fruit_audits import FOLDS, audit_of, audits_of, ended, folds_of, post, publish, running_folds
from support.paths import ROOT
from support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


# Enough for two shards. Each is a process that loads the encoder.
DIGITS = 600


def publish_digits(cluster: Cluster, version: str, seed: int = 0, **model: object) -> set[str]:
    """Publish a version of the demo dataset with its config, but fewer rows and folds. Return the ids of its errors."""
    config = yaml.safe_load((ROOT / "deployments" / "datasets" / "digits.yaml").read_text())
    config["model"] = model
    config["cross_validation"] = {"folds": FOLDS}
    config["training"] = {"device": "cpu", "precision": "float32", "epochs": 20}
    (cluster.configs / "digits.yaml").write_text(yaml.safe_dump(config))
    file = cluster.folder / "digits.parquet"
    planted = write_digits(file, seed=seed)
    digits = pq.read_table(file)[:DIGITS]
    pq.write_table(digits, file)
    cluster.call("labelaudit", "publish-version", "digits", str(file), "--version", version)
    return planted & set(digits["id"].to_pylist())


def published(cluster: Cluster, prefix: str) -> str:
    """Return the folder of the only published audit below a prefix."""
    (manifest,) = [key for key in cluster.objects("audits", prefix) if key.endswith("/manifest.json")]
    return manifest.removesuffix("/manifest.json")


def fold_bytes(cluster: Cluster, folder: str) -> dict[str, str]:
    return {key.removeprefix(folder): tag for key, tag in cluster.objects("audits", f"{folder}/pred_probs").items()}


def test_deployed_twice_is_once(cluster: Cluster) -> None:
    deployments = cluster.client.read_deployments()
    assert sorted(one.name for one in deployments) == ["gpu", "gpu", "nightly-digits", "on-publish", "sweep"]
    automations = [one.name for one in cluster.client.read_automations()]
    assert len(set(automations)) == len(automations) == 4


def test_a_published_version_is_audited_on_both_machines(cluster: Cluster) -> None:
    planted = publish_digits(cluster, "v1")
    assert ended(cluster, "digits").state.is_completed()  # type: ignore[union-attr]
    folder = published(cluster, "dataset=digits/version=v1/")
    examples = pq.read_table(io.BytesIO(cluster.read(f"{folder}/examples.parquet")))
    found = count_found(examples, planted)
    assert found.found_among_flagged > 0.6 * found.planted
    folds = cluster.folds()
    assert len(folds) == FOLDS
    assert {cluster.worker_of(run) for run in folds} == {"gpu-1", "gpu-2"}


def test_the_server_restarts(cluster: Cluster) -> None:
    # Early, because for 15 minutes a restarted server acts late on runs that started before its restart.
    cluster.pause_schedules()
    cluster.stop_server()
    cluster.start_server(has_scheduler=True)
    assert cluster.client.read_deployment_by_name("audit-dataset/on-publish")


def test_the_schedule_fires_and_finds_nothing_to_do(cluster: Cluster) -> None:
    before = cluster.objects("audits")
    nightly = cluster.client.read_deployment_by_name("audit-dataset/nightly-digits")
    (schedule,) = nightly.schedules
    moment = datetime.min.replace(tzinfo=UTC)

    def fired() -> FlowRun | None:
        nonlocal moment
        runs = [run for run in cluster.audits() if run.deployment_id == nightly.id]
        if not runs and datetime.now(UTC) > moment + timedelta(seconds=60):
            # Once now, and then every day, so that no other run of the schedule disturbs the rest of the story. If the
            # scheduler was too slow, it gets another moment.
            moment = datetime.now(UTC) + timedelta(seconds=20)
            soon = IntervalSchedule(interval=timedelta(days=1), anchor_date=moment)
            cluster.client.update_deployment_schedule(nightly.id, schedule.id, schedule=soon)
            cluster.client.resume_deployment(nightly.id)
        return next((run for run in runs if run.state and run.state.is_final()), None)

    by_schedule = wait_for(fired, what="for the schedule")
    assert by_schedule.state.is_completed()
    assert "auto-scheduled" in by_schedule.tags
    assert len(cluster.folds()) == FOLDS
    after = cluster.objects("audits")
    changed = {key for key in after if before.get(key) != after[key]}
    assert all(key.endswith("latest.json") or "_audited" in key for key in changed), changed


def test_the_machine_of_an_audit_is_lost(cluster: Cluster) -> None:
    publish(cluster, "silent", seconds=0.3)
    audit = audit_of(cluster, "silent")
    wait_for(lambda: folds_of(cluster, audit))
    process = wait_for(lambda: cluster.process_of(audit))
    # Kill the audit and its worker at once, as if the machine were lost: nothing reports it.
    kill_tree(process.parent().pid)
    cluster.start_worker("labelaudit-cpu", "cpu-2")


def test_a_machine_is_lost_in_the_middle_of_a_fold(cluster: Cluster) -> None:
    hold = cluster.folder / "hold"
    hold.touch()
    publish_digits(cluster, "v2", seed=1, network="slow_nets:build_held", kwargs={"hold": str(hold)})
    audit = audit_of(cluster, "digits", "v2")
    running = wait_for(lambda: two if len(two := running_folds(cluster, audit)) == 2 else None)
    worker = wait_for(lambda: cluster.process_of(running[-1])).parent()
    kill_tree(worker.pid)
    hold.unlink()
    cluster.start_worker("labelaudit-gpu", "gpu-3", "--limit", "1")


def test_a_cancelled_audit_cancels_its_folds(cluster: Cluster) -> None:
    publish(cluster, "cancelled", seconds=5.0)
    audit = audit_of(cluster, "cancelled")
    running = wait_for(lambda: running_folds(cluster, audit))
    cluster.cancel(audit)
    assert ended(cluster, "cancelled").state.is_cancelled()  # type: ignore[union-attr]

    def all_over() -> list[StateType]:
        states = [run.state for run in folds_of(cluster, audit) if run.state]
        return [state.type for state in states] if all(state.is_final() for state in states) else []

    assert set(wait_for(all_over)) == {StateType.CANCELLED}
    wait_for(lambda: all(cluster.process_of(run) is None for run in running))
    assert not [key for key in cluster.objects("audits", "dataset=cancelled/") if key.endswith("manifest.json")]


def test_a_fold_of_a_published_audit_ends_at_once(cluster: Cluster) -> None:
    fold = folds_of(cluster, audit_of(cluster, "digits", "v1"))[-1]
    before = cluster.objects("audits", "dataset=digits/version=v1/")
    client = cluster.client
    again = client.create_flow_run_from_deployment(fold.deployment_id, parameters=fold.parameters)  # type: ignore[arg-type]
    state = wait_for(lambda: s if (s := client.read_flow_run(again.id).state) and s.is_final() else None)
    assert state.is_completed()
    assert "already published" in state.message
    assert cluster.objects("audits", "dataset=digits/version=v1/") == before


def test_one_audit_however_often_it_is_asked_for(cluster: Cluster) -> None:
    publish(cluster, "often", seconds=0.05)
    # The same event again, another event, and a manual run, all during the first audit.
    same = str(uuid.uuid4())
    for event_id in (same, same):
        post(cluster, {"config": "often", "version": "v1"}, event_id)
    by_hand = cluster.client.read_deployment_by_name("audit-dataset/nightly-digits")
    cluster.client.create_flow_run_from_deployment(by_hand.id, parameters={"config": "often", "version": "latest"})

    def all_over() -> list[FlowRun]:
        runs = audits_of(cluster, "often")
        is_over = len(runs) == 3 and all(run.state and run.state.is_final() for run in runs)
        return runs if is_over else []

    runs = wait_for(all_over, what="for three runs of one audit")
    assert all(run.state.is_completed() for run in runs)
    # Only one audit trained. On a busy machine this may not be the one that was started first.
    assert sorted(len(folds_of(cluster, run)) for run in runs) == [0, 0, FOLDS]
    published(cluster, "dataset=often/")


@pytest.fixture
def alerts() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Return the URL of an alert channel on loopback, and the list of messages that it receives."""
    received: list[dict[str, str]] = []

    class Channel(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Channel)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    server.server_close()


def test_people_are_told(cluster: Cluster, alerts: tuple[str, list[dict[str, str]]]) -> None:
    url, received = alerts
    block = (
        "from prefect.blocks.notifications import CustomWebhookNotificationBlock as Block\n"
        f"Block(name='alerts', url={url!r}, method='POST', "
        "json_data={'subject': '{{subject}}', 'body': '{{body}}'}).save('alerts')\n"
    )
    cluster.call("python", "-c", block)
    file = str(cluster.folder / "automations.yaml")
    cluster.call("labelaudit", "apply-automations", file, "--alerts", "custom-webhook/alerts")

    def told(words: str) -> bool:
        return any(words in message["subject"] + message["body"] for message in received)

    # An audit is published and its gate fails: one alert, but not the one for failed runs.
    publish(cluster, "often", seconds=0.05, version="v2", gate={"max_flagged_share": 0.0})
    # A number instead of a name: the action of the trigger fails, and there is no run to show it.
    post(cluster, {"config": "often", "version": 7})
    # An audit that fails, because no fold can be trained. None is tried again.
    publish(cluster, "refused", seconds=0.0, model={"network": "slow_nets:nothing"})
    wait_for(lambda: told("an automation could not act"), what="for the alert of the failed action")
    assert not any("version 7" in run.name for run in cluster.audits())
    wait_for(lambda: told("audit refused v1 failed"), what="for the alert of the failed audit")
    assert told("folds could not be trained")
    assert told("slow_nets")
    refused = audit_of(cluster, "refused")
    assert refused.state is not None
    assert refused.state.is_failed()
    assert [run.state.name for run in folds_of(cluster, refused) if run.state] == ["Refused"] * FOLDS
    assert ended(cluster, "often", "v2").state.name == "GateFailed"  # type: ignore[union-attr]
    wait_for(lambda: told("the gate of often v2 failed"), what="for the alert of the gate")
    assert told("max_flagged_share")
    assert not told("audit often v2 failed")


def test_the_lost_machine_cost_its_fold_alone(cluster: Cluster) -> None:
    audit = ended(cluster, "digits", "v2")
    assert audit.state is not None
    assert audit.state.is_completed(), audit.state
    folds = folds_of(cluster, audit)
    crashed = [run.parameters["fold"] for run in folds if run.state and run.state.is_crashed()]
    completed = [run.parameters["fold"] for run in folds if run.state and run.state.is_completed()]
    assert len(crashed) == 1
    assert sorted(completed) == list(range(FOLDS))
    assert len(folds) == FOLDS + 1
    # The same audit, trained by local processes, has the same bytes.
    cluster.call(
        "labelaudit", "run", str(cluster.configs / "digits.yaml"), "--version", "v2", "--output", "s3://audits/local",
        "--set", "workers.kind=local", without="PREFECT_API_URL",
    )  # fmt: skip
    expected = fold_bytes(cluster, published(cluster, "local/"))
    assert fold_bytes(cluster, published(cluster, "dataset=digits/version=v2/")) == expected
    assert len(expected) == FOLDS


def test_the_lost_audit_was_started_again(cluster: Cluster) -> None:
    audit = audit_of(cluster, "silent")
    over = wait_for(lambda: run if not (run := ended(cluster, "silent")).state.is_crashed() else None)  # type: ignore[union-attr]
    assert over.id == audit.id
    assert over.state.is_completed(), over.state
    assert over.run_count == 2
    # Folds that were still training were taken over or found committed. None was trained twice.
    completed = [run for run in folds_of(cluster, audit) if run.state and run.state.is_completed()]
    assert sorted(run.parameters["fold"] for run in completed) == list(range(FOLDS))
