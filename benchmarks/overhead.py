"""Measure the cost of orchestration: the flow of a whole audit with 5 folds, compared with the same steps in a loop.

Three ways run in turns, each in its own process: a plain loop over the steps; the flow with a Prefect server on
this machine; the flow without one, for which Prefect starts a temporary server. Imports are not timed. The dataset is
a small table, so the steps themselves take little time.

    python benchmarks/overhead.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

WAYS = ("loop", "server", "temporary")
ROWS = 1_000


def measure(way: str, folder: Path) -> float:
    """Return the seconds of one audit in this process, without imports."""
    from labelaudit.audit import DirectCaller, run_audit
    from labelaudit.config import build_config

    config = build_config(
        {
            "dataset": {"url": str(folder / "table.parquet"), "label": "label", "id": "id"},
            "training": {"epochs": 5, "device": "cpu"},
            "output": {"url": str(folder / "audits")},
        }
    )
    if way == "loop":
        started = time.perf_counter()
        run_audit(config, DirectCaller(_SilentProgress()))
    else:
        from labelaudit.orchestration.audit_dataset import audit_dataset

        started = time.perf_counter()
        audit_dataset(config)
    return time.perf_counter() - started


class _SilentProgress:
    """Progress that prints nothing."""

    def prepared(self, plan: object) -> None: ...

    def encoding(self, place: str, rows: int, stored: int) -> None: ...

    def encoded(self, shard: int, rows: int, of: int) -> None: ...

    def training(self, place: str) -> None: ...

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None: ...


def write_table(path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, ROWS)
    frame = pd.DataFrame(generator.normal(size=(ROWS, 6)) + 3 * np.eye(3, 6)[labels])
    frame.columns = [f"column {number}" for number in range(6)]
    frame.insert(0, "id", [f"row-{number}" for number in range(ROWS)])
    frame["label"] = labels.astype(str)
    frame.to_parquet(path)


def run_round(environment: dict[str, str], api_url: str) -> dict[str, float]:
    """Return the seconds by way. Each way gets a fresh process, output folder and home."""
    seconds = {}
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            write_table(Path(folder) / "table.parquet")
            variables = {**environment, "PREFECT_HOME": f"{folder}/home", "LABELAUDIT_CACHE_DIR": f"{folder}/cache"}
            if way == "server":
                variables["PREFECT_API_URL"] = api_url
            command = [sys.executable, __file__, "--way", way, "--folder", folder]
            done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            seconds[way] = float(json.loads(done.stdout.splitlines()[-1]))
    return seconds


def start_server(environment: dict[str, str], home: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    prefect = str(Path(sys.executable).parent / "prefect")
    command = [prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        command, env={**environment, "PREFECT_HOME": home}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}/api"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
        except OSError:
            time.sleep(1)
        else:
            return server, url
    server.kill()
    raise SystemExit("The Prefect server did not start within two minutes.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.folder)))  # noqa: T201
        return
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
    with tempfile.TemporaryDirectory() as home:
        server, url = start_server(environment, home)
        try:
            rounds = [run_round(environment, url) for _ in range(arguments.rounds)]
        finally:
            server.terminate()
            server.wait(60)
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")  # noqa: T201
    loop = statistics.median(one["loop"] for one in rounds)
    for way in WAYS:
        seconds = statistics.median(one[way] for one in rounds)
        print(f"{way:<10} {seconds:6.2f} s   {seconds - loop:+6.2f} s   ratio {seconds / loop:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
