"""Compare the start-up time of commands with a bare Python process that imports numpy, pandas and pyarrow.

Each command runs in a fresh process, in turns with that peer, and the median of the rounds counts. The dataset is a CSV
of 200 rows, so the time is mostly imports. Run the benchmark twice in a fresh environment: the first round reads all
files from the disk and, without compiled bytecode, compiles them.

    python benchmarks/startup.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 200
PYTHON = (sys.executable, "-c")
LABELAUDIT = (*PYTHON, "from labelaudit.cli.main import main; main()")
OPTIONS = ("--label", "label", "--id", "id")
PEER = (*PYTHON, "import numpy, pandas, pyarrow.parquet")
# A worker whose standard input ends at once has imported everything that it trains with.
CASES: dict[str, Sequence[str]] = {
    "`labelaudit --help`": (*LABELAUDIT, "--help"),
    "`labelaudit check table.csv`": (*LABELAUDIT, "check", "table.csv", *OPTIONS),
    "`labelaudit check texts.csv`": (*LABELAUDIT, "check", "texts.csv", *OPTIONS),
    "`labelaudit check table.csv --estimate`": (*LABELAUDIT, "check", "table.csv", *OPTIONS, "--estimate"),
    "`labelaudit doctor`": (*LABELAUDIT, "doctor"),
    "`labelaudit run table.csv`, published before": (*LABELAUDIT, "run", "table.csv", *OPTIONS, "--output", "audits"),
    "start of a worker": (*PYTHON, "import labelaudit.local.worker_process"),
    "`import torch`": (*PYTHON, "import torch"),
}


def write_datasets(folder: Path) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, ROWS)
    ids = [f"row-{number}" for number in range(ROWS)]
    table = pd.DataFrame(generator.normal(size=(ROWS, 4)) + 3 * np.eye(3, 4)[labels], columns=list("abcd"))
    table.assign(id=ids, label=np.array(["apple", "pear", "plum"])[labels]).to_csv(folder / "table.csv", index=False)
    words = np.array(["red", "green", "round", "long", "sweet", "sour", "ripe", "large", "small", "soft"])
    texts = [" ".join(generator.choice(words, 12)) for _ in ids]
    frame = pd.DataFrame({"id": ids, "text": texts, "label": np.array(["apple", "pear", "plum"])[labels]})
    frame.to_csv(folder / "texts.csv", index=False)


def seconds(command: Sequence[str], run: Callable[[Sequence[str]], None]) -> float:
    started = time.perf_counter()
    run(command)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with tempfile.TemporaryDirectory() as folder:
        write_datasets(Path(folder))
        environment |= {"LABELAUDIT_CACHE_DIR": f"{folder}/cache", "PREFECT_HOME": f"{folder}/prefect"}

        def run(command: Sequence[str]) -> None:
            subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

        # A first round without timing, which also publishes the audit.
        for command in (*CASES.values(), PEER):
            run(command)
        found: dict[str, list[float]] = {name: [] for name in CASES}
        ratios: dict[str, list[float]] = {name: [] for name in CASES}
        for _ in range(rounds):
            for name, command in CASES.items():
                peer = seconds(PEER, run)
                found[name].append(seconds(command, run))
                ratios[name].append(found[name][-1] / peer)
    print(_table(found, ratios))  # noqa: T201
    machine = f"{len(os.sched_getaffinity(0))} cores of {platform.machine()}, Python {platform.python_version()}"
    print(f"\nMedians of {rounds} rounds on {machine}, load {load:.1f} before and {os.getloadavg()[0]:.1f} after.")  # noqa: T201


def _table(found: dict[str, list[float]], ratios: dict[str, list[float]]) -> str:
    lines = ["| command | seconds | times the peer | lowest to highest ratio |", "|---|---:|---:|---:|"]
    for name, values in found.items():
        ratio = ratios[name]
        lines.append(
            f"| {name} | {statistics.median(values):.2f} | {statistics.median(ratio):.1f} "
            f"| {min(ratio):.1f} to {max(ratio):.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
