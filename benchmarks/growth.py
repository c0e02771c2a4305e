"""How the time and memory of an audit grow with the rows of a dataset: tables of three sizes, images of two.

    python benchmarks/growth.py                                    all cases, as a Markdown table
    python benchmarks/growth.py table-10k images-5k --plot growth.png

Each case is written to a temporary folder and audited there in a process of its own, as the command line does it:
2 folds in worker processes, 1 epoch for each network. Seconds are those of the steps; "train" has the start of the
workers in it (mostly imports), the start of the audit's own process is in none. Memory is the most that the process
and its workers held, without pages of mapped files, as `limits.memory` counts it; looked at 50 times a second.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from labelaudit.audit import DirectCaller, run_audit
from labelaudit.config import build_config
from labelaudit.memory import held_bytes

MIB = 2**20
CLASSES = np.array(["apple", "pear", "plum"])
SHARD_ROWS = 10_000
COLUMNS = (
    *("rows", "prepare s", "train s", "publish s", "all s", "ms per row"),
    *("parent MiB", "worker MiB", "together MiB"),
)
STEPS = {"prepare": "prepare", "train_folds": "train"}  # all others: publish


@dataclass(frozen=True)
class Case:
    """A dataset of `rows` examples, written shard by shard."""

    rows: int
    shard: Callable[[np.random.Generator, np.ndarray], dict[str, Any]]


def table_shard(generator: np.random.Generator, right: np.ndarray) -> dict[str, Any]:
    """Eight numbers, of which three tell the class, and a category."""
    values = generator.normal(size=(len(right), 8))
    values[:, :3] += 3 * np.eye(3)[right]
    columns = {f"x{number}": values[:, number] for number in range(8)}
    return {**columns, "shop": generator.choice(["north", "south", "east", "west"], len(right))}


def image_shard(generator: np.random.Generator, right: np.ndarray) -> dict[str, Any]:
    """Noise of 16x16 pixels with one colour brighter than the others."""
    encoded = []
    for label in right:
        pixels = generator.integers(0, 120, (16, 16, 3), dtype=np.uint8)
        pixels[4:12, 4:12, label] += 100
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG", compress_level=1)
        encoded.append(sink.getvalue())
    return {"image": encoded}


CASES = {
    "table-10k": Case(10_000, table_shard),
    "table-100k": Case(100_000, table_shard),
    "table-1M": Case(1_000_000, table_shard),
    "images-5k": Case(5_000, image_shard),
    "images-50k": Case(50_000, image_shard),
}


def write_dataset(case: Case, folder: Path) -> None:
    """Every twentieth label is wrong."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for start in range(0, case.rows, SHARD_ROWS):
        numbers = np.arange(start, min(start + SHARD_ROWS, case.rows))
        right = generator.integers(0, 3, len(numbers))
        given = np.where(numbers % 20 == 7, (right + 1) % 3, right)
        columns = {"id": [f"row-{number:07d}" for number in numbers], **case.shard(generator, right)}
        pq.write_table(pa.table({**columns, "label": CLASSES[given]}), folder / f"{start:07d}.parquet")


class TimedCaller(DirectCaller):
    """Calls steps directly, and keeps the seconds of each."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*STEPS.values(), "publish"], 0.0)

    def call(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        if step.__name__ == "train":  # a fold within `train_folds`
            return super().call(step, *args, **kwargs)
        return self._timed(step.__name__, super().call, step, *args, **kwargs)

    def train_folds(self, *args: Any) -> Any:
        return self._timed("train_folds", super().train_folds, *args)

    def _timed(self, name: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            self.seconds[STEPS.get(name, "publish")] += time.perf_counter() - started


class Quiet:
    """Progress that nobody watches."""

    def prepared(self, *_: Any) -> None: ...

    def epoch(self, *_: Any) -> None: ...


def audit(folder: Path) -> None:
    """The body of the measured process: prints the seconds of the steps."""
    config = build_config(
        {
            "dataset": {"url": str(folder / "data"), "label": "label", "id": "id"},
            "training": {"epochs": 1, "device": "cpu"},
            "cross_validation": {"folds": 2},
            "output": {"url": str(folder / "audits")},
        }
    )
    caller = TimedCaller()
    published = run_audit(config, caller, Quiet())  # type: ignore[arg-type]
    say(json.dumps({**caller.seconds, "issues": published.issues}))


def measure(name: str) -> dict[str, float]:
    """Seconds of the steps and MiB of the process, of one worker and of all together, of one case."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_dataset(CASES[name], folder / "data")
        environment = {**os.environ, "LABELAUDIT_CACHE_DIR": str(folder / "cache")}
        command = [sys.executable, __file__, "--audit", temporary]
        with (folder / "out.txt").open("w+") as output:
            process = subprocess.Popen(command, stdout=output, env=environment)
            memory = watched(process)
            output.seek(0)
            lines = output.read().splitlines()
    if process.returncode:
        sys.exit(f"{name}: the audit ended with exit code {process.returncode}")
    return {**json.loads(lines[-1]), **memory}


def watched(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """The most MiB that the process, its largest worker, and all of them together held until it ended."""
    parent = psutil.Process(process.pid)
    peaks = {"parent": 0.0, "worker": 0.0, "together": 0.0}
    while process.poll() is None:
        try:
            workers = [held_bytes(child.pid) / MIB for child in parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        own = held_bytes(process.pid) / MIB
        for key, value in (("parent", own), ("worker", max(workers, default=0.0)), ("together", own + sum(workers))):
            peaks[key] = max(peaks[key], value)
        time.sleep(0.02)
    process.wait()
    return peaks


def row(name: str, figures: dict[str, float]) -> str:
    """One line of the Markdown table."""
    steps = [figures[step] for step in ("prepare", "train", "publish")]
    cells = [
        name,
        f"{CASES[name].rows:,}",
        *(f"{seconds:.1f}" for seconds in (*steps, sum(steps))),
        f"{sum(steps) / CASES[name].rows * 1000:.3f}",
        *(f"{figures[key]:,.0f}" for key in ("parent", "worker", "together")),
    ]
    return f"| {' | '.join(cells)} |"


def plot(measured: dict[str, dict[str, float]], path: Path) -> None:
    """Seconds of the steps and peak memory over rows, both axes logarithmic."""
    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for kind, marker in (("table", "o"), ("images", "s")):
        cases = [(CASES[name].rows, figures) for name, figures in measured.items() if name.startswith(kind)]
        rows = [count for count, _ in cases]
        for step, colour in (("prepare", "tab:blue"), ("train", "tab:orange"), ("publish", "tab:green")):
            seconds = [figures[step] for _, figures in cases]
            left.plot(rows, seconds, marker=marker, color=colour, label=f"{kind}: {step}")
        for key, colour in (("parent", "tab:purple"), ("worker", "tab:red")):
            right.plot(
                rows, [figures[key] for _, figures in cases], marker=marker, color=colour, label=f"{kind}: {key}"
            )
    left.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds", title="wall")
    right.set(xscale="log", yscale="log", xlabel="rows", ylabel="MiB", title="peak memory of a process")
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=100)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--plot", type=Path, help="where the plot is saved (PNG)")
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.audit:
        audit(asked.audit)
        return
    cases = asked.cases or list(CASES)
    unknown = set(cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {sorted(unknown)[0]!r}: use {', '.join(CASES)}")
    memory = psutil.virtual_memory().total / 2**30
    say(
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, "
        f"torch {importlib.metadata.version('torch')}; load before: {os.getloadavg()[0]:.1f}\n"
    )
    say(f"| case | {' | '.join(COLUMNS)} |")
    say(f"|---|{'---:|' * len(COLUMNS)}")
    measured = {}
    for name in cases:
        measured[name] = measure(name)
        say(row(name, measured[name]))
    if asked.plot:
        plot(measured, asked.plot)


if __name__ == "__main__":
    main()
