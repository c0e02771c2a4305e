"""Measure how the time and memory of an audit grow with its rows: tables of three sizes, images of two.

    python benchmarks/growth.py                                    all cases, as a Markdown table
    python benchmarks/growth.py table-10k images-5k --plot growth.png      needs matplotlib

Each case is written to a temporary folder and audited there in its own process, as the command line does it: 2 folds in
worker processes, 1 epoch for each network. Seconds are wall time by phase. "train" includes the start of the workers
(mostly imports). The start of the audit's own process is not counted. Memory is the peak of the process and its workers
without pages of mapped files, as `limits.memory` counts it, measured 50 times a second.

A second table has the peak of the process and its CPU seconds in each of its four steps. From the peaks of two cases
of one kind follow the bytes per row.
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
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
PHASES = ("prepare", "train", "publish")
# Steps of the audit's own process. Folds are trained in others.
STEPS = ("prepare", "gather", "detect", "publish")


@dataclass(frozen=True)
class Case:
    """A dataset of `rows` examples, which `shard` makes piece by piece."""

    rows: int
    shard: Callable[[np.random.Generator, np.ndarray], dict[str, Any]]


def table_shard(generator: np.random.Generator, right: np.ndarray) -> dict[str, Any]:
    """Return a category and eight numbers. The first three depend on the class."""
    values = generator.normal(size=(len(right), 8))
    values[:, :3] += 3 * np.eye(3)[right]
    columns = {f"x{number}": values[:, number] for number in range(8)}
    return {**columns, "shop": generator.choice(["north", "south", "east", "west"], len(right))}


def image_shard(generator: np.random.Generator, right: np.ndarray) -> dict[str, Any]:
    """Return noise of 16x16 pixels with one colour brighter than the others."""
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
    """Write the dataset with every twentieth label wrong."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for start in range(0, case.rows, SHARD_ROWS):
        numbers = np.arange(start, min(start + SHARD_ROWS, case.rows))
        right = generator.integers(0, 3, len(numbers))
        given = np.where(numbers % 20 == 7, (right + 1) % 3, right)
        columns = {"id": [f"row-{number:07d}" for number in numbers], **case.shard(generator, right)}
        pq.write_table(pa.table({**columns, "label": CLASSES[given]}), folder / f"{start:07d}.parquet")


class TimedCaller(DirectCaller):
    """A direct caller that measures the seconds before, during and after the work of the workers.

    It also measures the CPU seconds and the peak memory of this process in each step.
    """

    def __init__(self) -> None:
        super().__init__(SilentProgress())
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.cpu = dict.fromkeys(STEPS, 0.0)
        self.peaks = dict.fromkeys(STEPS, 0.0)
        self._phase = self._step = "prepare"
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.peaks[self._step] = max(self.peaks.get(self._step, 0.0), held_bytes() / MIB)
            time.sleep(0.02)

    def call(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        if self._phase == "train":  # a shard or fold, whose seconds `encode` or `train_folds` counts
            return super().call(step, *args, **kwargs)
        self._step = step.__name__
        before = time.process_time()
        try:
            return self._timed(super().call, step, *args, **kwargs)
        finally:
            self.cpu[self._step] = time.process_time() - before

    def encode(self, *args: Any) -> Any:
        self._phase = self._step = "train"
        return self._timed(super().encode, *args)

    def train_folds(self, *args: Any) -> Any:
        self._phase = self._step = "train"
        try:
            return self._timed(super().train_folds, *args)
        finally:
            self._phase = "publish"

    def _timed(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            self.seconds[self._phase] += time.perf_counter() - started


class SilentProgress:
    """Progress that prints nothing."""

    def prepared(self, *_: Any) -> None: ...

    def encoding(self, *_: Any) -> None: ...

    def encoded(self, *_: Any) -> None: ...

    def training(self, *_: Any) -> None: ...

    def epoch(self, *_: Any) -> None: ...


def audit(folder: Path) -> None:
    """Audit in this process, which is measured, and print the seconds of the phases."""
    config = build_config(
        {
            "dataset": {"url": str(folder / "data"), "label": "label", "id": "id"},
            "training": {"epochs": 1, "device": "cpu"},
            "cross_validation": {"folds": 2},
            "output": {"url": str(folder / "audits")},
        }
    )
    caller = TimedCaller()
    published = run_audit(config, caller)
    peaks = {f"{step} MiB": caller.peaks[step] for step in STEPS}
    cpu = {f"{step} CPU s": caller.cpu[step] for step in STEPS}
    say(json.dumps({**caller.seconds, **peaks, **cpu, "issues": published.issues}))


def measure(name: str) -> dict[str, float]:
    """Return the seconds of one case by phase, and the peak MiB of the process, of one worker and of all together."""
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
        sys.exit(f"The audit of {name} ended with exit code {process.returncode}.")
    return {**json.loads(lines[-1]), **memory}


def watched(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Return the peak MiB of the process, of its largest worker, and of all together."""
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
    """Return one line of the Markdown table."""
    steps = [figures[phase] for phase in PHASES]
    cells = [
        name,
        f"{CASES[name].rows:,}",
        *(f"{seconds:.1f}" for seconds in (*steps, sum(steps))),
        f"{sum(steps) / CASES[name].rows * 1000:.3f}",
        *(f"{figures[key]:,.0f}" for key in ("parent", "worker", "together")),
    ]
    return f"| {' | '.join(cells)} |"


def say_steps(measured: dict[str, dict[str, float]]) -> None:
    """Print the peaks and CPU seconds of the steps, and the bytes per row between the smallest and the largest case."""
    say(f"\n| case | {' | '.join(f'{step} MiB' for step in STEPS)} | {' | '.join(f'{step} CPU s' for step in STEPS)} |")
    say(f"|---|{'---:|' * 2 * len(STEPS)}")
    for name, figures in measured.items():
        peaks = [f"{figures[f'{step} MiB']:,.0f}" for step in STEPS]
        cpu = [f"{figures[f'{step} CPU s']:.1f}" for step in STEPS]
        say(f"| {name} | {' | '.join((*peaks, *cpu))} |")
    for kind in ("table", "images"):
        cases = sorted((name for name in measured if name.startswith(kind)), key=lambda name: CASES[name].rows)
        if len(cases) < 2:
            continue
        first, last = cases[0], cases[-1]
        rows = CASES[last].rows - CASES[first].rows
        grown = [(measured[last][f"{step} MiB"] - measured[first][f"{step} MiB"]) * MIB / rows for step in STEPS]
        say(f"| {kind}: bytes per row | {' | '.join(f'{count:,.0f}' for count in grown)} |{' |' * len(STEPS)}")


def plot(measured: dict[str, dict[str, float]], path: Path) -> None:
    """Plot the seconds by phase and the peak memory over the rows, with logarithmic axes."""
    import matplotlib as mpl  # not a dependency of labelaudit
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for kind, marker in (("table", "o"), ("images", "s")):
        cases = [(CASES[name].rows, figures) for name, figures in measured.items() if name.startswith(kind)]
        rows = [count for count, _ in cases]
        for phase, colour in zip(PHASES, ("tab:blue", "tab:orange", "tab:green"), strict=True):
            seconds = [figures[phase] for _, figures in cases]
            left.plot(rows, seconds, marker=marker, color=colour, label=f"{kind}: {phase}")
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
    parser.add_argument("cases", nargs="*", help=f"any of {', '.join(CASES)}; default: all")
    parser.add_argument("--plot", type=Path, help="write a plot to this file (PNG)")
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.audit:
        audit(arguments.audit)
        return
    cases = arguments.cases or list(CASES)
    unknown = set(cases) - set(CASES)
    if unknown:
        parser.error(f"Case {sorted(unknown)[0]!r} is unknown. Use {', '.join(CASES)}.")
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
    say_steps(measured)
    if arguments.plot:
        plot(measured, arguments.plot)


if __name__ == "__main__":
    main()
