"""kill -9 at any moment, then the same command: the same bytes as an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from support.audits import fruit, write_fruit

QUICK = ["--ignore", "true_label", "--set", "training.epochs=20", "--set", "cross_validation.folds=4"]
# Longer than the whole run of this small audit takes on a busy machine.
RUN_SECONDS = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fruit(tmp_path_factory.mktemp("data") / "fruit.parquet", fruit(rows=600))


def _start(data: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flows.cli", "run", str(data), "--output", str(output), *QUICK]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _finish(data: Path, output: Path) -> None:
    process = _start(data, output)
    _, err = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, err.decode()


def _published(output: Path) -> dict[str, bytes]:
    """All bytes of the published audit but those that tell time: when it was begun, how long folds took."""
    manifests = list(output.glob("dataset=*/version=*/audit=*/manifest.json"))
    assert len(manifests) == 1
    folder = manifests[0].parent
    timed = {"manifest.json", "report.html", "folds.parquet", "summary.json"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in timed
    }


def _kill_some_process(process: subprocess.Popen[bytes], generator: random.Random) -> str:
    """Kill the run itself, or sometimes one of its workers alone."""
    workers = psutil.Process(process.pid).children()
    if workers and generator.random() < 0.3:
        generator.choice(workers).kill()
        return "worker"
    process.send_signal(signal.SIGKILL)
    return "run"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills(data: Path, tmp_path: Path) -> None:
    generator = random.Random(7)
    started = time.monotonic()
    _finish(data, tmp_path / "undisturbed")
    whole = time.monotonic() - started
    expected = _published(tmp_path / "undisturbed")
    assert "pred_probs/fold=3/part.parquet" in expected
    assert "issues.parquet" in expected
    killed = {"run": 0, "worker": 0, "finished first": 0}
    for number in range(20):
        output = tmp_path / f"killed-{number}"
        process = _start(data, output)
        began = time.monotonic()
        try:
            process.communicate(timeout=generator.uniform(0.2, whole))
            # The machine is less busy than it was: the next kills come earlier.
            whole = time.monotonic() - began
            killed["finished first"] += 1
        except subprocess.TimeoutExpired:
            killed[_kill_some_process(process, generator)] += 1
            process.communicate(timeout=RUN_SECONDS)
        assert process.returncode in (0, -signal.SIGKILL)
        if process.returncode != 0:
            assert not list(output.rglob("manifest.json")) or _published(output) == expected
            _finish(data, output)
        assert _published(output) == expected, f"kill {number}"
    assert killed["run"] + killed["worker"] >= 15, killed
