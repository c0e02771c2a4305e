"""A night of an installation: published, triggered, spread over workers, one of them lost, the server restarted."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule

from cluster import ROOT, Cluster, kill_tree, wait_for
from flows.demo import count_found, write_digits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

FOLDS = 4


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    night = Cluster(tmp_path_factory.mktemp("night"))
    try:
        yield night
    finally:
        night.close()


def _config(cluster: Cluster, epochs: int | str = "auto") -> None:
    """The shipped config of the demo dataset, with fewer folds."""
    config = yaml.safe_load((ROOT / "deployments" / "datasets" / "digits.yaml").read_text())
    config["cross_validation"] = {"folds": FOLDS}
    config["training"] = {"device": "cpu", "precision": "float32", "epochs": epochs}
    (cluster.configs / "digits.yaml").write_text(yaml.safe_dump(config))


def _published(cluster: Cluster, version: str) -> str | None:
    """Folder of the published audit of a version."""
    manifests = [
        key for key in cluster.objects("audits", f"dataset=digits/version={version}/") if key.endswith("/manifest.json")
    ]
    assert len(manifests) <= 1
    return manifests[0].removesuffix("/manifest.json") if manifests else None


def _scheduled(cluster: Cluster, deployment: str) -> list[FlowRun]:
    found = cluster.client.read_deployment_by_name(deployment)
    runs = cluster.client.read_flow_runs(limit=200)
    return [run for run in runs if run.deployment_id == found.id and run.state and run.state.is_scheduled()]


def _audit_of(cluster: Cluster, version: str) -> FlowRun | None:
    return next((run for run in cluster.audits() if version in run.name), None)


def _is_completed(cluster: Cluster, version: str) -> bool:
    run = _audit_of(cluster, version)
    assert run is None or run.state is None or not (run.state.is_failed() or run.state.is_cancelled())
    return run is not None and run.state is not None and run.state.is_completed()


def _fold_bytes(cluster: Cluster, folder: str) -> dict[str, str]:
    return {key.removeprefix(folder): tag for key, tag in cluster.objects("audits", f"{folder}/pred_probs").items()}


def test_a_night(night: Cluster) -> None:
    cluster = night
    seconds: dict[str, float] = {}
    started = time.monotonic()

    def lap(what: str) -> None:
        nonlocal started
        now = time.monotonic()
        seconds[what] = round(now - started, 1)
        started = now

    _config(cluster)
    cluster.deploy()
    # Applied twice without harm.
    cluster.deploy()
    deployments = {d.name for d in cluster.client.read_deployments()}
    assert deployments == {"nightly-digits", "on-publish", "sweep", "gpu"}
    # A cron schedule makes runs: with other versions of SQLAlchemy it never did.
    wait_for(lambda: _scheduled(cluster, "audit-dataset/nightly-digits"), seconds=150, what="for scheduled runs")
    lap("two deployments of everything")

    cluster.start_worker("labelaudit-cpu", "cpu-1")
    # A machine with one GPU takes one fold at a time.
    workers = {name: cluster.start_worker("labelaudit-gpu", name, "--limit", "1") for name in ("gpu-1", "gpu-2")}

    # Version 1: the event starts the audit, whose folds run on both workers.
    data = cluster.folder / "digits.parquet"
    planted = write_digits(data)
    cluster.call("labelaudit", "publish-version", "digits", str(data), "--version", "v1")
    lap("publish version 1")
    wait_for(lambda: _is_completed(cluster, "v1"), what="for the audit of version 1")
    lap("audit of version 1")
    first = _published(cluster, "v1")
    assert first is not None
    examples = pq.read_table(io.BytesIO(cluster.read(f"{first}/examples.parquet")))
    found = count_found(examples, planted)
    assert found.found_among_flagged > 0.6 * found.planted
    assert {cluster.worker_of(run) for run in cluster.folds()} == {"gpu-1", "gpu-2"}
    assert len(cluster.folds()) == FOLDS

    # The server is restarted; workers and schedules go on by themselves.
    cluster.stop_server()
    cluster.start_server()
    lap("restart of the server")

    # Version 2: a machine is lost in the middle of a fold, without a word. The fold that began last is in the
    # middle for long enough, also on a fast machine.
    _config(cluster, epochs=80)
    write_digits(data, seed=1)
    cluster.call("labelaudit", "publish-version", "digits", str(data), "--version", "v2")

    def training() -> list[FlowRun]:
        running = [run for run in cluster.folds()[FOLDS:] if run.state and run.state.is_running()]
        return running if len(running) == 2 else []

    lost = wait_for(training, what="for two folds of version 2")[-1]
    process = wait_for(lambda: cluster.process_of(lost))
    kill_tree(workers[cluster.worker_of(lost)].pid)
    kill_tree(process.pid)
    lap("until a worker is killed")
    wait_for(lambda: _is_completed(cluster, "v2"), seconds=600, what="for the audit of version 2")
    lap("audit of version 2, after the kill")
    of_second = cluster.folds()[FOLDS:]
    states = [(run.parameters["fold"], run.state.name) for run in of_second if run.state]
    assert sorted(state for _, state in states) == ["Completed"] * FOLDS + ["Crashed"]
    fold = lost.parameters["fold"]
    assert sorted(number for number, _ in states) == sorted([*range(FOLDS), fold])
    second = _published(cluster, "v2")
    assert second is not None

    # The schedule fires and finds nothing to do.
    before = cluster.objects("audits")
    nightly = cluster.client.read_deployment_by_name("audit-dataset/nightly-digits")
    (schedule,) = nightly.schedules
    # The scheduler looks once a minute, so that a single near minute may be over before it does.
    near = CronSchedule(cron="* * * * *", timezone="Etc/UTC")
    cluster.client.update_deployment_schedule(nightly.id, schedule.id, schedule=near)

    def fired() -> FlowRun | None:
        runs = [run for run in cluster.audits() if run.deployment_id == nightly.id]
        return next((run for run in runs if run.state and run.state.is_final()), None)

    by_schedule = wait_for(fired, what="for the schedule")
    cluster.client.update_deployment_schedule(nightly.id, schedule.id, active=False)
    assert by_schedule.state is not None
    assert by_schedule.state.is_completed()
    assert "auto-scheduled" in by_schedule.tags
    assert len(cluster.folds()) == 2 * FOLDS + 1
    after = cluster.objects("audits")
    changed = {key for key in after if before.get(key) != after[key]}
    assert all(key.endswith("latest.json") or "_audited" in key for key in changed), changed
    lap("until the schedule has found nothing to do")

    # The same audit trained in one process tree of this machine has the same bytes.
    cluster.call(
        "labelaudit", "run", str(cluster.configs / "digits.yaml"), "--version", "v2", "--output", "s3://audits/local",
        "--set", "workers.kind=local", without="PREFECT_API_URL",
    )  # fmt: skip
    local = [key for key in cluster.objects("audits", "local/") if key.endswith("manifest.json")]
    assert _fold_bytes(cluster, local[0].removesuffix("/manifest.json")) == _fold_bytes(cluster, second)
    lap("the same audit on this machine alone")
    print(seconds)  # noqa: T201 (what a night takes, for the record)
    cluster.look()
