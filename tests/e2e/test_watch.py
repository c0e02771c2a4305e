"""What watches over an installation: automations against silence, alerts, and one audit however often it is asked."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.client.schemas.objects import FlowRun

from cluster import Cluster, kill_tree, wait_for
from fruit_audits import FOLDS, audit_of, audits_of, ended, folds_of, publish, write_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def _post(cluster: Cluster, payload: dict[str, object], event_id: str | None = None) -> None:
    """The event as a publisher without Python posts it."""
    event = {
        "id": event_id or str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "labelaudit.dataset.published",
        "resource": {"prefect.resource.id": f"labelaudit.dataset.{payload['config']}"},
        "payload": payload,
    }
    command = ["curl", "--fail", "--silent", "--show-error", "-H", "content-type: application/json"]
    cluster.call(*command, f"{cluster.api_url}/events", "-d", json.dumps([event]))


def test_one_audit_however_often_it_is_asked_for(cluster: Cluster) -> None:
    publish(cluster, "often", seconds=0.05)
    # The same event again, another event, and a run by hand, all while the first audit goes on.
    same = str(uuid.uuid4())
    for event_id in (same, same):
        _post(cluster, {"config": "often", "version": "v1"}, event_id)
    by_hand = cluster.client.read_deployment_by_name("audit-dataset/nightly-digits")
    cluster.client.create_flow_run_from_deployment(by_hand.id, parameters={"config": "often", "version": "latest"})

    def all_over() -> list[FlowRun]:
        runs = audits_of(cluster, "often")
        is_over = len(runs) == 3 and all(run.state and run.state.is_final() for run in runs)
        return runs if is_over else []

    runs = wait_for(all_over, what="for three runs of one audit")
    assert all(run.state.is_completed() for run in runs)
    # Only the one that came first trained; on a busy machine that need not be the one that was started first.
    assert sorted(len(folds_of(cluster, run)) for run in runs) == [0, 0, FOLDS]
    published = [key for key in cluster.objects("audits", "dataset=often/") if key.endswith("/manifest.json")]
    assert len(published) == 1


def test_a_silent_audit_is_started_again(cluster: Cluster) -> None:
    publish(cluster, "silent", seconds=0.3)
    audit = audit_of(cluster, "silent")
    wait_for(lambda: folds_of(cluster, audit))
    process = wait_for(lambda: cluster.process_of(audit))
    worker = process.parent()
    # The audit and the worker above it at once: its machine is gone, and nobody reports it.
    kill_tree(worker.pid)
    cluster.start_worker("labelaudit-cpu", "cpu-2")
    over = ended(cluster, "silent")
    while over.state is not None and over.state.is_crashed():
        over = ended(cluster, "silent")
    assert over.id == audit.id
    assert over.state is not None
    assert over.state.is_completed(), over.state
    assert over.run_count == 2
    # Folds that trained on were taken over, or found committed: none was trained twice.
    trained = [run for run in cluster.folds() if run.id in {fold.id for fold in folds_of(cluster, audit)}]
    assert sorted(run.parameters["fold"] for run in trained if run.state and run.state.is_completed()) == [0, 1, 2]


@pytest.fixture
def alerts() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """URL of a channel on loopback, and what arrives there."""
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

    # A number where a name belongs: the action of the trigger fails, and no run tells of it.
    _post(cluster, {"config": "often", "version": 7})
    wait_for(lambda: told("an automation could not act"), what="for the alert of the failed action")
    assert not any("version 7" in run.name for run in cluster.audits())
    # An audit that fails.
    write_config(cluster, "nothing", seconds=0.0)
    _post(cluster, {"config": "nothing", "version": "v1"})
    wait_for(lambda: told("audit nothing v1 failed"), what="for the alert of the failed audit")
    assert told("Nothing is stored at s3://datasets/nothing/v1")
    # An audit that is published, and whose gate fails: one alert, and not the one for failed runs. The first version
    # only warns.
    for version, state in (("v1", "Completed"), ("v2", "GateFailed")):
        publish(cluster, "held", seconds=0.0, version=version, gate={"max_flagged_share": 0.0})
        wait_for(lambda name=f"audit held {version}": any(run.name == name for run in cluster.audits()))
        assert ended(cluster, "held").state.name == state  # type: ignore[union-attr]
    wait_for(lambda: told("the gate of held v2 failed"), what="for the alert of the gate")
    assert told("max_flagged_share")
    assert not told("audit held v2 failed")
