"""The GPU kit: a point that fails or hangs is reported, its figures are kept, and its data is always the same."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gpu_kit import runner
from gpu_kit.datasets import CLASSES, draw_images, draw_photo
from gpu_kit.isolation import Outcome, run_isolated
from gpu_kit.jobs import REPOSITORY
from gpu_kit.points.gpu_tests import read_report
from gpu_kit.report import markdown
from gpu_kit.results import Figure, PointResult, Record, read_record
from gpu_kit.utilisation import Utilisation, parse
from support.waiting import wait_for

KIT = REPOSITORY / "benchmarks" / "gpu"


def isolated(code: str, folder: Path) -> Outcome:
    return in_time([sys.executable, "-c", code], folder, seconds=600)


def in_time(command: list[str], folder: Path, *, seconds: float) -> Outcome:
    return run_isolated(command, log=folder / "log", seconds=seconds, environment=os.environ, folder=folder)


def test_a_point_that_raises_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    outcome = isolated("print('so far'); raise KeyError('kernel')", tmp_path)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("It ended with exit code 1.")
    assert outcome.error.endswith("KeyError: 'kernel'")


def test_a_point_that_is_killed_is_reported(tmp_path: Path) -> None:
    outcome = isolated("import os; os.kill(os.getpid(), 9)", tmp_path)
    assert (outcome.status, outcome.error) == ("failed", "It ended with signal SIGKILL.")


def test_a_point_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    outcome = in_time(["sh", "-c", "sleep 600 & echo $! >child; wait"], tmp_path, seconds=3)
    assert (outcome.status, outcome.error) == ("timed out", "It was ended after 3 s.")
    child = int((tmp_path / "child").read_text())
    for _ in range(600):
        if not is_running(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("what the point started still runs")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_figures_are_on_disk_as_soon_as_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    assert read_record(path) == ([], [])
    record = Record(path)
    record.figure("speed", 1.23456, "images/s", target="at most 2", is_met=True)
    assert read_record(path)[0] == [Figure("speed", 1.235, "images/s", "at most 2", True)]
    record.figure("memory", None, "MiB")
    record.note("One card.")
    figures, notes = read_record(path)
    assert [figure.value for figure in figures] == [1.235, None]
    assert notes == ["One card."]


def test_the_report_says_what_failed_and_what_was_missed() -> None:
    results = [
        PointResult("a", "Speed", "done", 3.0, [Figure("ratio", 1.2, "x", "at most 1.05", False)], ["Once."]),
        PointResult("b", "Bytes", "timed out", 9.0, [Figure("rows", 50_000)], error="It was ended.\nlast | line"),
        PointResult("c", "Memory", "not started", 0.0),
    ]
    text = markdown(results, {"GPU": None}, images=5, photos=7, is_rehearsal=False, seconds=12)
    assert "| GPU | not available |" in text
    assert "| 1. Speed | done | 3 | 0 of 1 reached |" in text
    assert "| ratio | 1.2 x | at most 1.05: **missed** |" in text
    assert "**Timed out.** It was ended.\n\n```text\nlast | line\n```" in text
    assert "| rows | 50,000 |  |" in text
    assert "| 3. Memory | not started | 0 |  |" in text
    assert "rehearsal" not in text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("87, 1204\n", (87, 1204)),
        ("0, 0", (0, 0)),
        ("[N/A], 1204\n", None),
        ("", None),
        ("No devices were found", None),
    ],
)
def test_what_nvidia_smi_answers(answer: str, expected: tuple[float, float] | None) -> None:
    sample = parse(answer)
    assert (None if sample is None else (sample.percent, sample.mib)) == expected


def test_a_gpu_is_sampled_while_the_context_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$2" = GPU-7 ] && echo "50, 1000"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7,GPU-8")
    with Utilisation() as gpu:
        wait_for(lambda: gpu.peak_mib() is not None)
    assert (gpu.mean_percent(), gpu.peak_mib()) == (50, 1000)
    assert gpu.mean_percent(until=1.0) is None


def test_tests_are_counted_by_outcome(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="m" name="good" time="1.5"/>'
        '<testcase classname="m" name="skips" time="0"><skipped/></testcase>'
        '<testcase classname="m" name="bad" time="0.5"><failure/></testcase>'
        '<testcase classname="m" name="worse" time="0"><error/></testcase>'
        "</testsuite></testsuites>"
    )
    assert read_report(report) == ({"passed": 1, "failed": 2, "skipped": 1, "seconds": 2.0}, ["m::bad", "m::worse"])


def test_the_same_numbers_give_the_same_images() -> None:
    pixels, classes = draw_images(0, 50)
    again, same = draw_images(0, 50)
    other, _ = draw_images(50, 100)
    np.testing.assert_array_equal(pixels, again)
    np.testing.assert_array_equal(classes, same)
    assert not np.array_equal(pixels, other)
    assert pixels.shape == (50, 32, 32, 3)
    assert set(classes.tolist()) <= set(range(len(CLASSES)))


def test_photographs_have_the_sizes_that_are_promised() -> None:
    photos = [draw_photo(number) for number in range(3)]
    assert photos[0].tobytes() == draw_photo(0).tobytes()
    assert photos[0].tobytes() != photos[1].tobytes()
    assert all(256 <= side <= 500 for photo in photos for side in photo.size)


@pytest.fixture(scope="module")
def collecting() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("collect_wheels", str(KIT / "collect-wheels"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_wheel_has_a_version_in_the_lock(collecting: ModuleType) -> None:
    versions = collecting.locked_versions((REPOSITORY / "requirements.lock").read_text())
    wanted = collecting.names_in((KIT / "wheels.txt").read_text())
    assert len(wanted) > 20
    wanted += collecting.names_in((KIT / "optional-wheels.txt").read_text())
    assert [name for name in wanted if name not in versions] == []


def test_lists_of_packages_are_read_in_every_form(collecting: ModuleType) -> None:
    text = "# comment\nPyYAML==6.0\npydantic_core>=2 ; python_version < '4'\ntqdm 4.70\n\nname @ file:///x\ns3fs[boto]"
    assert collecting.names_in(text) == ["pyyaml", "pydantic-core", "tqdm", "name", "s3fs"]
    lock = (
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:0\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n"
    )
    assert collecting.locked_versions(lock) == {"numpy": "2.5.5"}


@pytest.mark.parametrize(("limit", "added"), [(3, True), (2.9, False)])
def test_optional_wheels_are_added_if_they_fit(
    limit: float, added: bool, collecting: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(requirements: list[str], folder: Path) -> None:
        (folder / "weights.whl").write_bytes(bytes(2**20))

    monkeypatch.setattr(collecting, "collect", collect)
    monkeypatch.setattr(collecting, "LIMIT_MIB", limit)
    (tmp_path / "needed.whl").write_bytes(bytes(2 * 2**20))
    collecting.add_if_small_enough(["weights==1"], tmp_path)
    assert (tmp_path / "weights.whl").exists() == added


def test_points_fit_into_the_time_of_the_kit() -> None:
    seconds = sum(point.seconds for point in runner.POINTS) + runner._DRAWING_SECONDS + runner._RESERVE_SECONDS
    assert seconds <= 60 * runner._MINUTES


def test_without_a_gpu_the_kit_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(KIT / "run"), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "No CUDA device is usable here" in done.stderr
    assert "--rehearse" in done.stderr
    assert not (tmp_path / "out").exists()
