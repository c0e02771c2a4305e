"""kill -9 of a real run and of a real worker, then the same command: the same bytes as an undisturbed run.

tests/contract/audits/test_every_write.py ends an audit after each of its writes, within one process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support.audits import fruit, write_fruit
from support.commands import labelaudit
from support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOLDS = 4
QUICK = ["--ignore", "true_label", "--set", "training.epochs=20", "--set", f"cross_validation.folds={FOLDS}"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fruit(tmp_path_factory.mktemp("data") / "fruit.parquet", fruit(rows=600))


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(data, folder / "audits", folder / "cache")
    return published(folder / "audits")


def published(output: Path) -> dict[str, bytes]:
    """Return all bytes of the published audit except times: its start, and the seconds of folds."""
    (manifest,) = output.glob("dataset=*/version=*/audit=*/manifest.json")
    timed = {"manifest.json", "report.html", "folds.parquet", "summary.json"}
    return {
        str(path.relative_to(manifest.parent)): path.read_bytes()
        for path in sorted(manifest.parent.rglob("*"))
        if path.is_file() and path.name not in timed
    }


def run(data: Path, output: Path, cache: Path) -> None:
    done = labelaudit("run", data, "--output", output, *QUICK, folder=output.parent, LABELAUDIT_CACHE_DIR=str(cache))
    assert done.code == 0, done.err


@pytest.mark.parametrize("victim", ["run", "worker"])
def test_a_kill_in_the_middle_changes_no_byte(
    data: Path, undisturbed: dict[str, bytes], tmp_path: Path, victim: str
) -> None:
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "labelaudit.cli.main", "run", str(data), "--output", str(output), *QUICK]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        # Some folds are done, others are not.
        wait_for(lambda: list(output.rglob("_work/folds/**/*.json")))
        if victim == "run":
            process.kill()
        else:
            psutil.Process(process.pid).children()[0].kill()
        _, err = process.communicate(timeout=600)
    assert process.returncode == (-signal.SIGKILL if victim == "run" else 0), err.decode()
    assert bool(list(output.rglob("manifest.json"))) == (victim == "worker")
    run(data, output, Path(os.environ["LABELAUDIT_CACHE_DIR"]))
    assert {"issues.parquet", f"pred_probs/fold={FOLDS - 1}/part.parquet"} <= undisturbed.keys()
    assert published(output) == undisturbed
