"""Folds on a Ray cluster whose GPUs exist only by number: placement, lost nodes, a lost driver."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from labelaudit.audits.references import AuditReference
from labelaudit.config import AuditConfig
from labelaudit.orchestration import concurrency as turns
from labelaudit.orchestration.audit_dataset import audit_dataset
from support.audits import audit, fold_bytes, fruit, settings, write_fruit
from support.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    # Ray closes sockets and files only at the end of the process.
    pytest.mark.filterwarnings("ignore"),
]

FOLDS = 4
# Records where it is built, and trains for as long as the test needs.
NETS = """
import os, time, torch

class Slow(torch.nn.Linear):
    seconds = 0.0
    def forward(self, x):
        time.sleep(self.seconds)
        return super().forward(x)

def build(num_classes, input_shape, folder, seconds=0.0):
    with open(f"{folder}/{time.time_ns()}-{os.getpid()}", "w") as file:
        file.write(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    network = Slow(input_shape[0], num_classes)
    network.seconds = seconds
    return network
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    (folder / "modules").mkdir()
    (folder / "modules" / "ray_nets.py").write_text(NETS)
    write_fruit(folder / "fruit.parquet", fruit(rows=240))
    return folder


@pytest.fixture(scope="module")
def ray_cluster(place: Path, client: SyncPrefectClient) -> Iterator[Any]:
    """Start a head without GPUs and two nodes with two GPUs each. Their processes inherit the current environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{place / 'modules'}:{os.environ.get('PYTHONPATH', '')}")
        patch.syspath_prepend(str(place / "modules"))
        patch.setenv("LABELAUDIT_CACHE_DIR", str(place / "cache"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
        )
        for _ in range(2):
            cluster.add_node(num_cpus=1, num_gpus=2)
        cluster.wait_for_nodes()
        yield cluster
        cluster.shutdown()


def _config(place: Path, output: str, address: str | None, **sections: Any) -> AuditConfig:
    (place / "places" / output).mkdir(parents=True, exist_ok=True)
    kwargs = {"folder": str(place / "places" / output), **sections.pop("kwargs", {})}
    workers = {"kind": "ray", "address": address, "threads": 1, **sections.pop("workers", {})}
    return settings(
        place / "fruit.parquet",
        place / output,
        model={"network": "ray_nets:build", "kwargs": kwargs},
        training={"learning_rate": 0.05, "batch_size": 32},
        cross_validation={"folds": FOLDS},
        workers=workers,
    )


def _places(place: Path, output: str) -> list[str]:
    return [file.read_text().strip() for file in sorted((place / "places" / output).iterdir())]


def _same_audit_here(config: AuditConfig, place: Path, monkeypatch: pytest.MonkeyPatch) -> AuditReference:
    """Run the same audit here with another output. Its network does not sleep, which changes no weight."""
    output = {"url": f"{config.output.url}-here"}
    model = {"network": config.model.network, "kwargs": {**config.model.kwargs, "seconds": 0.0}}
    # Only for the audit, because a node that is added later inherits this environment.
    with monkeypatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("LABELAUDIT_CACHE_DIR", str(place / "cache-here"))
        return audit(AuditConfig.model_validate({**config.model_dump(mode="json"), "output": output, "model": model}))


def test_one_gpu_per_fold(ray_cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(place, "whole", ray_cluster.address, kwargs={"seconds": 0.1})
    reference = AuditReference(**audit_dataset(config))
    # Two nodes with the GPUs 0 and 1 each.
    assert Counter(_places(place, "whole")) == {"0": 2, "1": 2}
    assert fold_bytes(reference) == fold_bytes(_same_audit_here(config, place, monkeypatch))


def test_two_folds_on_one_gpu(ray_cluster: Any, place: Path) -> None:
    config = _config(place, "half", ray_cluster.address, workers={"gpus_per_fold": 0.5}, kwargs={"seconds": 0.1})
    audit_dataset(config)
    # All four folds fit on the two GPUs of one node, or are spread. No GPU has more than two.
    assert len(_places(place, "half")) == FOLDS
    assert max(Counter(_places(place, "half")).values()) >= 2


def test_a_node_is_lost_in_the_middle_of_its_folds(
    ray_cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(place, "lost", ray_cluster.address, kwargs={"seconds": 0.2})
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(audit_dataset(config)))
    thread.start()
    wait_for(lambda: len(_places(place, "lost")) == FOLDS)
    ray_cluster.remove_node(ray_cluster.list_all_nodes()[-1], allow_graceful=False)
    thread.join(600)
    (result,) = results
    begun = len(_places(place, "lost"))
    assert begun == FOLDS + 2, "the two folds of the lost node began again"
    here = _same_audit_here(config, place, monkeypatch)
    assert fold_bytes(AuditReference(**result)) == fold_bytes(here)
    ray_cluster.add_node(num_cpus=1, num_gpus=2)
    ray_cluster.wait_for_nodes()


def test_the_driver_is_killed_and_the_audit_run_again(
    ray_cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The temporary server of tests ends no leases, so only the missing heartbeats reveal the killed run.
    monkeypatch.setattr(turns, "WAIT_SECONDS", 10.0)
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    # Two at a time, so that some folds are done and some not started when the driver is killed.
    config = _config(place, "driver", ray_cluster.address, kwargs={"seconds": 0.1}, workers={"max_parallel": 1})
    file = place / "driver.yaml"
    file.write_text(config.model_dump_json())
    environment = {**os.environ, "PREFECT_API_URL": str(get_current_settings().api.url)}
    driver = subprocess.Popen([sys.executable, "-m", "labelaudit.cli.main", "run", str(file)], env=environment)
    wait_for(lambda: len(list((place / "driver").rglob("fold=*.json"))) >= 2)
    driver.kill()
    driver.wait()
    committed = {path.name: path.read_bytes() for path in (place / "driver").rglob("fold=*.json")}
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        result = audit_dataset(config)
    assert result["status"] == "published"
    after = {path.name: path.read_bytes() for path in (place / "driver").rglob("fold=*.json")}
    assert len(after) == FOLDS
    assert {name: after[name] for name in committed} == committed
