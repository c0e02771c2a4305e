"""A complete installation on loopback, in its own processes: S3, a Prefect server on PostgreSQL, workers."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from playwright.sync_api import sync_playwright
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventRelatedFilter

from support.paths import ROOT
from support.waiting import PATIENCE_SECONDS, wait_for

BIN = Path(sys.executable).parent
# A user's networks whose training takes as long as the test needs: one of tables, and one of images that waits while a
# file exists.
SLOW_NETS = """
import pathlib, time, torch

class Slow(torch.nn.Linear):
    seconds = 0.0
    def forward(self, x):
        time.sleep(self.seconds)
        return super().forward(x)

class Held(torch.nn.Linear):
    def forward(self, x):
        while self.hold.exists():
            time.sleep(0.1)
        return super().forward(x.flatten(1))

def build(num_classes, input_shape, seconds=0.0):
    network = Slow(input_shape[0], num_classes)
    network.seconds = seconds
    return network

def build_held(num_classes, input_shape, hold):
    network = Held(torch.Size(input_shape).numel(), num_classes)
    network.hold = pathlib.Path(hold)
    return network
"""


class Cluster:
    """Servers and workers, each in its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configs = folder / "configs"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._exit = contextlib.ExitStack()
        self._api_port, s3_port = _free_port(), _free_port()
        self.api_url = f"http://127.0.0.1:{self._api_port}/api"
        for name in ("configs", "modules", "client"):
            (folder / name).mkdir(parents=True)
        (folder / "modules" / "slow_nets.py").write_text(SLOW_NETS)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LABELAUDIT_"))},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "modules"),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_HOME": str(folder / "client"),
            # The shortest that Prefect allows: a silent run is found in 90 s, not in 9 minutes.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            # How often workers poll for runs; the default is 10 s.
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "LABELAUDIT_CONFIGS": str(self.configs),
            "LABELAUDIT_CACHE_DIR": str(folder / "client" / "cache"),
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._database = self._start_database()
        self._exit.callback(self._end_processes)
        self._start("s3", [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(s3_port)])
        self.start_server()
        self.client = self._exit.enter_context(SyncPrefectClient(self.api_url))
        wait_for(lambda: _answers(self.environment["AWS_ENDPOINT_URL"]))
        self.s3 = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )
        for bucket in ("datasets", "audits"):
            self.s3.create_bucket(Bucket=bucket)

    def start_server(self, *, has_scheduler: bool = False) -> None:
        """Start the Prefect server, or start it again after `stop_server`.

        Args:
            has_scheduler: whether schedules fire. A sweep at a quarter of an hour would start audits that no test
                expects, and a schedule that is paused while the scheduler works may still get runs.
        """
        command = ["server", "start", "--host", "127.0.0.1", "--port", str(self._api_port)]
        extra = {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self._database,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": str(has_scheduler),
            # How often scheduled runs are created; the default is once a minute.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            # Leases in memory are lost at a restart.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_HOME": str(self.folder / "server"),
        }
        self._server = self._start("server", [str(BIN / "prefect"), *command], extra)
        wait_for(lambda: _answers(f"{self.api_url}/health"))

    def stop_server(self) -> None:
        self._server.terminate()
        self._server.wait(60)

    def start_worker(self, pool: str, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker with its own home, temporary folder, cache and working directory."""
        place = self.folder / name
        for part in ("home", "tmp", "work"):
            (place / part).mkdir(parents=True, exist_ok=True)
        extra = {
            "HOME": str(place / "home"),
            "TMPDIR": str(place / "tmp"),
            "PREFECT_HOME": str(place / "prefect"),
            "LABELAUDIT_CACHE_DIR": str(place / "cache"),
        }
        command = [str(BIN / "prefect"), "worker", "start", "--pool", pool, "--name", name, *options]
        return self._start(name, command, extra, cwd=place / "work")

    def call(self, *command: str, without: str = "") -> str:
        """Run a command as a user does, without one environment variable, and return its standard output."""
        done = subprocess.run(
            [str(BIN / command[0]) if (BIN / command[0]).exists() else command[0], *command[1:]],
            env={name: value for name, value in self.environment.items() if name != without},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def deploy(self) -> None:
        self.call(str(ROOT / "deployments" / "deploy"))

    def pause_schedules(self) -> None:
        """Pause the schedules of all deployments."""
        for deployment in self.client.read_deployments():
            if deployment.schedules:
                self.client.pause_deployment(deployment.id)

    def runs(self, *tags: str, flow: str | None = None) -> list[FlowRun]:
        """Return the runs that have started, oldest first."""
        of_flow = None if flow is None else FlowFilter(name=FlowFilterName(any_=[flow]))
        of_run = FlowRunFilter(tags=FlowRunFilterTags(all_=list(tags))) if tags else None
        found = self.client.read_flow_runs(flow_filter=of_flow, flow_run_filter=of_run, limit=200)
        begun = [run for run in found if run.start_time]
        return sorted(begun, key=lambda run: run.start_time or run.created)  # type: ignore[arg-type, return-value]

    def describe(self) -> str:
        """Return the state of each run, and the last lines that the servers and workers wrote."""
        runs = sorted(self.client.read_flow_runs(limit=200), key=lambda run: str(run.created))
        states = [(run.created, run.name, run.state_name, run.state and run.state.message) for run in runs]
        logs = [f"--- {path.name}\n" + "\n".join(_last_lines(path)) for path in sorted(self.folder.glob("*.log"))]
        return "\n".join([*(" | ".join(map(str, state)) for state in states), *logs])

    def audits(self) -> list[FlowRun]:
        return self.runs("labelaudit-audit")

    def folds(self) -> list[FlowRun]:
        return self.runs(flow="train-fold")

    def cancel(self, run: FlowRun) -> None:
        self.call("prefect", "--no-prompt", "flow-run", "cancel", str(run.id))

    def process_of(self, run: FlowRun) -> psutil.Process | None:
        """Return the process of a run, from any worker."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run.id) and process.is_running():
                    return process
        return None

    def objects(self, bucket: str, prefix: str = "") -> dict[str, str]:
        """Return the keys of a bucket with their ETags."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}

    def read(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket="audits", Key=key)["Body"].read()
        return body

    def worker_of(self, run: FlowRun) -> str:
        """Return the name of the worker that claimed a run."""
        wanted = EventFilter(
            event=EventNameFilter(prefix=["prefect.worker."]),
            related=EventRelatedFilter(id=[f"prefect.flow-run.{run.id}"]),
        )
        found = self.client.read_events(filter=wanted, limit=1).events
        return str(found[0].resource.name) if found else ""

    def save_screenshots(self) -> None:
        """Save screenshots of the server's pages in the folder LABELAUDIT_PICTURES, if that is set."""
        folder = os.environ.get("LABELAUDIT_PICTURES")
        if not folder:
            return
        audit = self.audits()[-1]
        pages = {"runs": "/runs", "audit": f"/runs/flow-run/{audit.id}", "deployments": "/deployments"}
        for name, page in pages.items():
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                view = browser.new_page(viewport={"width": 1400, "height": 1000})
                view.goto(self.api_url.removesuffix("/api") + page, wait_until="load")
                view.wait_for_timeout(6000)
                view.screenshot(path=Path(folder) / f"{name}.png")
                browser.close()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        self._exit.close()

    def _end_processes(self) -> None:
        for process in reversed(self._processes):
            kill_tree(process.pid)
            process.wait(30)

    def _start_database(self) -> str:
        """Start PostgreSQL. On SQLite the automations of a Prefect server are not reliable."""
        tools = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not tools:
            pytest.skip("The tests of an installation need PostgreSQL. Run apt-get install postgresql.")
        # Not below pytest's temporary folder, because each run of pytest denies the database's user access to it.
        place, port = Path(tempfile.mkdtemp(prefix="labelaudit-postgres-")), _free_port()
        self._exit.callback(shutil.rmtree, place, ignore_errors=True)
        user = _database_user(place)
        run: dict[str, Any] = {"user": user, "cwd": "/", "check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([tools[-1] / "initdb", "-D", place / "data", "-U", "prefect", "-A", "trust"], **run)
        options = ["-p", str(port), "-k", str(place), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        self._start("postgres", [str(tools[-1] / "postgres"), "-D", str(place / "data"), *options], user=user, cwd="/")
        connect = ["-h", "127.0.0.1", "-p", str(port), "-U", "prefect"]
        ready = [tools[-1] / "pg_isready", *connect]
        wait_for(lambda: subprocess.run(ready, check=False, stdout=subprocess.DEVNULL).returncode == 0)
        subprocess.run([tools[-1] / "createdb", *connect, "prefect"], **run)
        return f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"

    def _start(
        self, name: str, command: list[str], extra: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env={**self.environment, **(extra or {})}, stdout=log, stderr=subprocess.STDOUT, **options
            )
        self._processes.append(process)
        return process


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and its children, as if the machine lost power."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)


def _last_lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-40:]


def _database_user(place: Path) -> str | None:
    """Return the user for PostgreSQL, which refuses to run as root."""
    if os.getuid() != 0:
        return None
    shutil.chown(place, "postgres", "postgres")
    # The user must be able to reach the folder.
    for parent in place.parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return pwd.getpwnam("postgres").pw_name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status < 500)
    except OSError:
        return False
