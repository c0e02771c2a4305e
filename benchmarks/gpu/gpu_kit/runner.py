"""Runs all points one after the other, each in its own process and within its time. Results are written after each.

    benchmarks/gpu/run --output FOLDER [--wheels FOLDER]
    benchmarks/gpu/run --rehearse

FOLDER gets results.json, results.md (for docs/gpu.md) and log.txt. Exit codes: 0 all points are done and all targets
reached, 1 a point failed or a target was missed, 2 bad usage or no GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gpu_kit.child import DRAWING
from gpu_kit.installing import install, missing_packages
from gpu_kit.isolation import Outcome, end_all, run_isolated
from gpu_kit.jobs import FULL, REHEARSAL, REPOSITORY
from gpu_kit.machine import USABLE, machine_facts
from gpu_kit.report import markdown
from gpu_kit.results import PointResult, read_record, results_as_json, write_json, write_text


@dataclass(frozen=True)
class Point:
    """`module` below gpu_kit.points; `seconds` it may take on a GPU."""

    module: str
    title: str
    seconds: float


# Together with drawing they fit into eight minutes. Most have at least 1.1 times what they needed on an H200 with slow
# CPUs; the estimator has fewer rounds now than when it was measured.
POINTS = (
    Point("gpu_tests", "Tests marked gpu", 103),
    Point("whole_audit", "A whole audit (`labelaudit run`)", 82),
    Point("estimator", "The estimator against a bare loop", 50),
    Point("sharing", "All folds in one process, or one process per fold", 42),
    Point("encoding", "Encoding photographs", 18),
    Point("repeating", "The same seed twice", 17),
    # The last, because its weights may not have travelled.
    Point("views_audit", "An audit with an encoder and three views", 138),
)
_MINUTES = 8.0
_DRAWING_SECONDS = 25.0
# Time reserved for the report and for ending processes.
_RESERVE_SECONDS = 5.0
_FEWEST_SECONDS = 5.0
# A rehearsal spends most of its time on imports, and must not fail on a busy machine.
_REHEARSED_AT_ONCE = 2
_REHEARSAL_PATIENCE = 6
_FILES = ("results.json", "results.md", "log.txt")


class Run:
    """One run of the kit: its folders, its clock, and the results so far."""

    def __init__(
        self, asked: argparse.Namespace, machine: dict[str, str | None], *, work: Path, output: Path, started: float
    ) -> None:
        self.is_rehearsal: bool = asked.rehearse
        self.points = [point for point in POINTS if not asked.only or point.module in asked.only]
        self._budgets: dict[str, float] = dict(asked.budget)
        self._work, self._output = work, output
        self._results: dict[str, PointResult] = {}
        self._started = started
        self._machine = machine
        self._patience = _REHEARSAL_PATIENCE if asked.rehearse else 1
        self._ends = self._started + 60 * asked.minutes * self._patience - _RESERVE_SECONDS
        self._environment = environment(work)
        if asked.rehearse:
            # Two points share two cores.
            self._environment["OMP_NUM_THREADS"] = "1"

    def all_points(self) -> list[PointResult]:
        """Draw the datasets, run the points, and write the results after each of them."""
        self._write()
        began = time.monotonic()
        drawn = self._run(DRAWING, _DRAWING_SECONDS * self._patience)
        say(f"drawing the datasets: {drawn.status}, {time.monotonic() - began:.0f} s")
        if drawn.error is not None:
            say(drawn.error)
        if self.is_rehearsal:
            # The longest first, so that none runs alone at the end.
            ordered = sorted(self.points, key=lambda point: -point.seconds)
            with ThreadPoolExecutor(_REHEARSED_AT_ONCE) as pool:
                try:
                    self._collect(pool.map(self._measured, ordered))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    end_all()
                    raise
        else:
            self._collect(map(self._measured, self.points))
        return list(self._results.values())

    def _collect(self, results: Iterable[PointResult]) -> None:
        for result in results:
            say(f"{result.title}: {result.status}, {result.seconds:.0f} s")
            if result.error is not None:
                say(result.error)
            self._results[result.point] = result
            self._write()

    def _measured(self, point: Point) -> PointResult:
        started = time.monotonic()
        seconds = min(self._budgets.get(point.module, point.seconds * self._patience), self._ends - started)
        if seconds < _FEWEST_SECONDS and point.module not in self._budgets:
            return PointResult(point.module, point.title, "not started", 0.0, error="No time was left for it.")
        outcome = self._run(point.module, seconds)
        figures, notes = read_record(self._record(point.module))
        took = time.monotonic() - started
        return PointResult(point.module, point.title, outcome.status, round(took, 1), figures, notes, outcome.error)

    def _run(self, name: str, seconds: float) -> Outcome:
        log = self._work / f"{name}.log"
        command = [sys.executable, "-m", "gpu_kit.child", name]
        command += ["--work", str(self._work), "--record", str(self._record(name))]
        command += ["--rehearse"] if self.is_rehearsal else []
        outcome = run_isolated(
            command, log=log, seconds=seconds, environment=self._environment, folder=self._work / "cwd"
        )
        with (self._output / "log.txt").open("ab") as all_logs:
            all_logs.write(f"\n=== {name}: {outcome.status}\n".encode() + log.read_bytes())
        return outcome

    def _record(self, name: str) -> Path:
        return self._work / f"{name}.json"

    def _write(self) -> None:
        """Return the results so far, including points that have not run."""
        waiting = "not started"
        results = [
            self._results.get(point.module) or PointResult(point.module, point.title, waiting, 0.0)
            for point in self.points
        ]
        seconds = time.monotonic() - self._started
        sizes = REHEARSAL if self.is_rehearsal else FULL
        content = {
            "machine": self._machine,
            "is_rehearsal": self.is_rehearsal,
            "seconds": round(seconds, 1),
            "points": results_as_json(results),
        }
        write_json(self._output / "results.json", content)
        text = markdown(
            results,
            self._machine,
            images=sizes.images,
            photos=sizes.photos,
            is_rehearsal=self.is_rehearsal,
            seconds=seconds,
        )
        write_text(self._output / "results.md", text)


def environment(work: Path) -> dict[str, str]:
    """Return the environment of the points, without a Prefect API.

    This tree and the carried wheels precede the packages of the machine.
    """
    left_out = ("PREFECT_API_URL", "PREFECT_PROFILES_PATH", "PYTHONDONTWRITEBYTECODE")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    places = [work / "site", REPOSITORY / "benchmarks" / "gpu", REPOSITORY / "src", REPOSITORY]
    paths = [*map(str, places), *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "LABELAUDIT_CACHE_DIR": str(work / "cache"),
        "PREFECT_HOME": str(work / "prefect"),
        "DO_NOT_TRACK": "1",
    }


def main() -> None:
    started = time.monotonic()
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that running processes are ended
    output = asked.output or Path(tempfile.mkdtemp(prefix="labelaudit-gpu-results-"))
    work = Path(tempfile.mkdtemp(prefix="labelaudit-gpu-"))
    try:
        (work / "cwd").mkdir()
        install(asked.wheels, work / "site")
        machine = machine_facts(asked.commit, work / "site")
        if not asked.rehearse and machine[USABLE] != "yes":
            sys.stderr.write(
                f"No CUDA device is usable here ({machine[USABLE]}). Run this on a machine with a GPU, or rehearse "
                "it on the CPU with --rehearse.\n"
            )
            sys.exit(2)
        missing = missing_packages(work / "site")
        if missing:
            say(f"missing here, so that points may fail: {', '.join(missing)} (benchmarks/gpu/collect-wheels)")
        output.mkdir(parents=True, exist_ok=True)
        for name in _FILES:  # from an earlier run
            (output / name).unlink(missing_ok=True)
        results = Run(asked, machine, work=work, output=output, started=started).all_points()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"results: {output / 'results.md'}, results.json and log.txt in the same folder")
    missed = [f"{result.title}: {one.name}" for result in results for one in result.figures if one.is_met is False]
    for name in missed:
        say(f"target missed: {name}")
    sys.exit(1 if missed or not all(result.is_done for result in results) else 0)


def _arguments() -> argparse.Namespace:
    names = [point.module for point in POINTS]
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, help="folder for the results; default: a temporary one, which is printed"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels (collect-wheels) that this machine lacks")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU with tiny sizes, within a minute")
    parser.add_argument("--only", nargs="+", choices=names, help="these points alone")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="for everything (default: %(default)s)")
    parser.add_argument(
        "--budget", type=_budget, action="append", default=[], metavar="POINT=SECONDS", help="other time for a point"
    )
    parser.add_argument("--commit", help="commit to name in the report if the tree is not a git checkout")
    return parser.parse_args()


def _budget(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("=")
    if name not in {point.module for point in POINTS}:
        raise argparse.ArgumentTypeError(f"There is no point {name!r}.")
    return name, float(seconds)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
