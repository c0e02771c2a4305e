"""The work pools that `deployments/deploy` and the Kubernetes job create on a server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BIN = Path(sys.executable).parent
POOLS = ("labelaudit-cpu", "labelaudit-gpu")
# Prefect's command, except that a worker of the CPU pool is faster than `create`. Steps after the pools are left out.
QUICK_WORKER = f"""#!/usr/bin/env bash
[[ " $* " != *" deploy "* ]] || exit 0
[[ " $* " != *" create labelaudit-cpu "* ]] || {BIN}/prefect --no-prompt work-pool create labelaudit-cpu --type "$TYPE"
exec {BIN}/prefect "$@"
"""


@pytest.fixture
def bring_up(client: SyncPrefectClient, tmp_path: Path) -> Iterator[Callable[..., dict[str, int | None]]]:
    """Run a script that creates the pools, and return their limits."""
    for name, text in (("prefect", QUICK_WORKER), ("labelaudit", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(script: str, **variables: str) -> dict[str, int | None]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("PREFECT_", "LABELAUDIT_"))}
        environment = {
            **clean,
            "PATH": f"{tmp_path}:{BIN}:{os.environ['PATH']}",
            "PREFECT_API_URL": str(client.api_url),
            "PREFECT_HOME": str(tmp_path / "home"),
            "TYPE": "process",
            **variables,
        }
        done = subprocess.run(
            ["bash", "-euc", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {pool: client.read_work_pool(pool).concurrency_limit for pool in POOLS}

    yield run
    for pool in POOLS:
        with contextlib.suppress(ObjectNotFound):
            client.delete_work_pool(pool)


def test_pools_get_a_limit_and_keep_another(
    client: SyncPrefectClient, bring_up: Callable[..., dict[str, int | None]]
) -> None:
    # Like a pool that a worker created first.
    client.create_work_pool(WorkPoolCreate(name="labelaudit-gpu", type="process"))
    assert bring_up("deployments/deploy") == {"labelaudit-cpu": 4, "labelaudit-gpu": 2}
    client.update_work_pool("labelaudit-gpu", WorkPoolUpdate(concurrency_limit=8))
    assert bring_up("deployments/deploy", LABELAUDIT_CPU_RUNS="6") == {"labelaudit-cpu": 6, "labelaudit-gpu": 8}


def test_pools_of_kubernetes(
    client: SyncPrefectClient, bring_up: Callable[..., dict[str, int | None]], tmp_path: Path
) -> None:
    folder = ROOT / "deployments" / "kubernetes" / "base"
    job = yaml.safe_load((folder / "deploy-job.yaml").read_text())
    settings = yaml.safe_load((folder / "settings.yaml").read_text())["data"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    script = container["args"][-1].replace("/tmp/", f"{tmp_path}/")
    runs = {name: settings[name] for name in ("LABELAUDIT_CPU_RUNS", "LABELAUDIT_GPU_RUNS", "LABELAUDIT_POOL_TYPE")}
    limits = bring_up(script, IMAGE="labelaudit:x", NAMESPACE="audits", TYPE="kubernetes", **runs)
    assert limits == {"labelaudit-cpu": 4, "labelaudit-gpu": 2}
    for pool in POOLS:
        made = client.read_work_pool(pool)
        assert made.type == "kubernetes"
        assert made.base_job_template["variables"]["properties"]["image"]["default"] == "labelaudit:x"
