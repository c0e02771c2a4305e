"""Folds on a Ray cluster whose GPUs exist only by number: placement, lost nodes, a lost driver."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from labelaudit.audits.references import AuditReference
from labelaudit.config import AuditConfig, OutputConfig
from labelaudit.orchestration import concurrency as turns
from labelaudit.orchestration import heartbeats
from labelaudit.orchestration.audit_dataset import audit_dataset
from support.audits import audit, fold_bytes, fruit, settings, write_fruit
from support.waiting import PATIENCE_SECONDS, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    # Ray closes sockets and files only at the end of the process.
    pytest.mark.filterwarnings("ignore"),
]

FOLDS = 3
# Records where it is built, and does not train while the file `hold` exists and does not name its process.
NETS = """
import os, pathlib, time, torch

class Held(torch.nn.Linear):
    def forward(self, x):
        while self.is_held():
            time.sleep(0.05)
        return super().forward(x)

    def is_held(self):
        try:
            return str(os.getpid()) not in self.hold.read_text().split()
        except FileNotFoundError:
            return False

def build(num_classes, input_shape, folder):
    with open(f"{folder}/{time.time_ns()}-{os.getpid()}", "w") as file:
        file.write(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    network = Held(input_shape[0], num_classes)
    network.hold = pathlib.Path(f"{folder}.hold")
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
    """Start a head with two GPUs and a node with one. Their processes inherit the current environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{place / 'modules'}:{os.environ.get('PYTHONPATH', '')}")
        patch.syspath_prepend(str(place / "modules"))
        patch.setenv("LABELAUDIT_CACHE_DIR", str(place / "cache"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 2, "include_dashboard": False}
        )
        cluster.add_node(num_cpus=1, num_gpus=1)
        cluster.wait_for_nodes()
        yield cluster
        cluster.shutdown()


def _config(place: Path, output: str, address: str | None, **workers: Any) -> AuditConfig:
    folder = place / "places" / output
    folder.mkdir(parents=True)
    return settings(
        place / "fruit.parquet",
        place / output,
        model={"network": "ray_nets:build", "kwargs": {"folder": str(folder)}},
        training={"learning_rate": 0.05, "batch_size": 32},
        cross_validation={"folds": FOLDS},
        workers={"kind": "ray", "address": address, "threads": 1, **workers},
    )


@contextmanager
def _held(place: Path, output: str) -> Iterator[Path]:
    """Let no network of an audit train, unless its process is named in the returned file."""
    hold = place / "places" / f"{output}.hold"
    hold.touch()
    try:
        yield hold
    finally:
        hold.unlink()


def _places(place: Path, output: str) -> list[str]:
    return [file.read_text() for file in sorted((place / "places" / output).iterdir())]


def _processes(place: Path, output: str) -> list[psutil.Process]:
    """The processes that built a network and still run."""
    running = []
    for file in (place / "places" / output).iterdir():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(file.name.partition("-")[2]))
            if process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def _records(place: Path, output: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place / output).rglob("fold=*.json")}


def _same_audit_here(config: AuditConfig, place: Path, monkeypatch: pytest.MonkeyPatch) -> AuditReference:
    """Run the same audit here with another output."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("LABELAUDIT_CACHE_DIR", str(place / "cache-here"))
    return audit(config.model_copy(update={"output": OutputConfig(url=f"{config.output.url}-here")}))


@contextmanager
def _in_the_background(config: AuditConfig) -> Iterator[list[dict[str, Any]]]:
    """Run an audit in a thread. Its result is in the list when the block ends."""
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(audit_dataset(config)))
    thread.start()
    yield results
    thread.join(PATIENCE_SECONDS)
    assert results, "the audit failed, or did not end"


# The tests of this file use one cluster, in this order.
def test_a_fold_has_a_gpu_of_its_own_and_a_node_is_lost(
    ray_cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(place, "lost", ray_cluster.address)
    with _in_the_background(config) as results, _held(place, "lost"):
        wait_for(lambda: len(_places(place, "lost")) == FOLDS)
        # One node has the GPUs 0 and 1, the other one has only GPU 0.
        assert Counter(_places(place, "lost")) == {"0": 2, "1": 1}
        ray_cluster.remove_node(ray_cluster.list_all_nodes()[-1], allow_graceful=False)
        # A fold's process ends a moment after its node. Released before that, it would commit the fold itself.
        wait_for(lambda: len(_processes(place, "lost")) == FOLDS - 1)
    assert len(_places(place, "lost")) == FOLDS + 1, "the fold of the lost node began again"
    here = _same_audit_here(config, place, monkeypatch)
    assert fold_bytes(AuditReference(**results[0])) == fold_bytes(here)


def test_folds_share_a_gpu_and_the_driver_is_killed(
    ray_cluster: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node with two GPUs is left."""
    # The temporary server of tests ends no leases, so only the missing heartbeats reveal the killed run. Here, they
    # are missing after two seconds (tests/system/prefect/test_concurrency.py).
    monkeypatch.setattr(turns, "WAIT_SECONDS", 2.0)
    monkeypatch.setattr(heartbeats, "DEFAULT_HEARTBEAT_SECONDS", 2 / 3)
    config = _config(place, "driver", ray_cluster.address, gpus_per_fold=0.5)
    file = place / "driver.yaml"
    file.write_text(config.model_dump_json())
    environment = {**os.environ, "PREFECT_API_URL": str(get_current_settings().api.url)}
    command = [sys.executable, "-m", "labelaudit.cli.main", "run", str(file)]
    with _held(place, "driver") as hold:
        driver = subprocess.Popen(command, env=environment)
        wait_for(lambda: len(_places(place, "driver")) == FOLDS)
        # All train at once, so two of them share a GPU.
        assert sorted(Counter(_places(place, "driver")).values()) == [1, 2]
        first, *_ = sorted((place / "places" / "driver").iterdir())
        hold.write_text(first.name.partition("-")[2])
        wait_for(lambda: _records(place, "driver"))
        driver.kill()
        driver.wait()
        committed = _records(place, "driver")
        assert len(committed) == 1
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        result = audit_dataset(config)
    assert result["status"] == "published"
    after = _records(place, "driver")
    assert len(after) == FOLDS
    assert {name: after[name] for name in committed} == committed
    assert len(_places(place, "driver")) == 2 * FOLDS - 1, "the committed fold did not train again"
