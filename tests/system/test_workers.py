"""Worker processes: where folds train, what they return, and what happens if one dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from labelaudit.audit import DirectCaller, run_audit
from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.jobs import FoldJob
from labelaudit.audits.references import PlanReference
from labelaudit.errors import ConfigError, TrainingError, WorkerDiedError
from labelaudit.local.workers import LocalWorkers, Slot
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import _Part
from support.audits import Quiet, audit, fold_bytes, settings, write_fruit
from support.paths import ROOT
from support.waiting import PATIENCE_SECONDS, wait_for

ONE = [Slot(None, 1)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fruit(tmp_path_factory.mktemp("data") / "fruit.parquet")


def test_folds_in_processes_give_the_same_bytes_as_in_this_one(data: Path, tmp_path: Path) -> None:
    here = audit(settings(data, tmp_path / "here"))
    progress = Quiet()
    there = run_audit(settings(data, tmp_path / "there"), DirectCaller(progress))
    assert fold_bytes(there) == fold_bytes(here)
    assert {fold for fold, _, _ in progress.epochs} == {0, 1, 2}
    for fold in range(3):
        epochs = [epoch for number, epoch, _ in progress.epochs if number == fold]
        assert epochs == list(range(1, len(epochs) + 1))


def _reference(data: Path, output: Path, **sections: object) -> PlanReference:
    return prepare(settings(data, output, **sections))


@pytest.mark.parametrize("kind", ["ray", "work-pool"])
def test_without_prefect_folds_train_here(data: Path, tmp_path: Path, kind: str) -> None:
    config = settings(data, tmp_path, workers={"kind": kind})
    with pytest.raises(
        ConfigError, match=f"workers.kind is {kind}, which needs Prefect, but no Prefect API is configured"
    ):
        run_audit(config, DirectCaller(Quiet()))


def test_errors_come_back_as_what_they_are(data: Path, tmp_path: Path) -> None:
    reference = _reference(data, tmp_path, model={"network": "no_such_module:build"})
    with LocalWorkers(ONE) as workers, pytest.raises(ConfigError, match="no_such_module"):
        workers.work_on(FoldJob(reference, 0))


NETS = """
import os, torch

def dies(num_classes, input_shape, **kwargs):
    print("about to go", flush=True)
    os._exit(7)

def is_killed(num_classes, input_shape, **kwargs):
    os.kill(os.getpid(), 9)

def prints(num_classes, input_shape, **kwargs):
    print("{not json", flush=True)
    return torch.nn.Linear(input_shape[0], num_classes)

def breaks(num_classes, input_shape, **kwargs):
    class Broken(torch.nn.Linear):
        def forward(self, x):
            raise KeyError("missing weight")
    return Broken(input_shape[0], num_classes)

def sticks(num_classes, input_shape, **kwargs):
    class Sticky(torch.nn.Linear):
        def forward(self, x):
            if "BROKEN" in os.environ or not os.path.exists(os.environ["MARK"]):
                os.environ["BROKEN"] = open(os.environ["MARK"], "w").name
                raise RuntimeError("CUDA error: device-side assert triggered")
            return super().forward(x)
    return Sticky(input_shape[0], num_classes)

def fills(num_classes, input_shape, **kwargs):
    class Large(torch.nn.Linear):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return Large(input_shape[0], num_classes)
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "users_nets.py").write_text(NETS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            "dies",
            r"The worker of fold 1 ended without a result \(exit code 7\)\. The last line of its log: about to go",
        ),
        ("is_killed", r"ended without a result \(signal SIGKILL, often a lack of memory: lower training"),
    ],
)
def test_a_worker_that_dies(data: Path, tmp_path: Path, network: str, message: str) -> None:
    reference = _reference(data, tmp_path / "out", model={"network": f"users_nets:{network}"})
    with LocalWorkers(ONE) as workers, pytest.raises(WorkerDiedError, match=message):
        workers.work_on(FoldJob(reference, 1))


@pytest.mark.usefixtures("nets")
def test_what_user_code_prints_or_raises(data: Path, tmp_path: Path) -> None:
    with LocalWorkers(ONE) as workers:
        printing = _reference(data, tmp_path / "a", model={"network": "users_nets:prints"})
        workers.work_on(FoldJob(printing, 0))
        breaking = _reference(data, tmp_path / "b", model={"network": "users_nets:breaks"})
        with pytest.raises(TrainingError, match="missing weight"):
            workers.work_on(FoldJob(breaking, 0))
        workers.work_on(FoldJob(printing, 1))


@pytest.mark.usefixtures("nets")
def test_an_error_that_stays_with_its_process_costs_one_fold(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error like CUDA's: every call after it fails."""
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    reference = _reference(data, tmp_path / "out", model={"network": "users_nets:sticks"})
    with LocalWorkers(ONE) as workers:
        with pytest.raises(TrainingError, match="Fold 0 failed: RuntimeError: CUDA error: device-side assert"):
            workers.work_on(FoldJob(reference, 0))
        workers.work_on(FoldJob(reference, 1))


@pytest.mark.usefixtures("nets")
def test_a_gpu_that_is_full_is_told_with_a_remedy(data: Path, tmp_path: Path) -> None:
    reference = _reference(data, tmp_path / "out", model={"network": "users_nets:fills"})
    message = r"GPU is too small \(CUDA out of memory.*\)\. Lower training\.batch_size"
    with LocalWorkers(ONE) as workers, pytest.raises(TrainingError, match=message):
        workers.work_on(FoldJob(reference, 0))


def test_the_number_of_a_gpu_means_something_where_all_are_seen(data: Path, tmp_path: Path) -> None:
    """A worker of a slot sees one GPU, with number 0. A worker of a pool sees the GPUs that it was started with."""
    reference = _reference(data, tmp_path)
    plan = load_plan(reference)
    training = plan.config.training.model_copy(update={"device": "cuda:77"})
    plan = replace(plan, config=plan.config.model_copy(update={"training": training}))
    assert _Part.of_fold(reference, plan, 0, is_pinned=True).device == "cuda"
    assert _Part.of_fold(reference, plan, 0, is_pinned=False).device == "cuda:77"


def test_a_changed_user_module_is_trained_anew(data: Path, tmp_path: Path, nets: None) -> None:
    first = _reference(data, tmp_path / "out", model={"network": "users_nets:prints"})
    (tmp_path / "modules" / "users_nets.py").write_text(NETS + "\n# another architecture\n")
    second = _reference(data, tmp_path / "out", model={"network": "users_nets:prints"})
    assert first.key != second.key


@pytest.mark.slow
@pytest.mark.new_interpreters
def test_leaving_ends_what_still_runs(data: Path, tmp_path: Path) -> None:
    reference = _reference(data, tmp_path, training={"epochs": 100_000})
    failures: list[BaseException] = []

    def train(workers: LocalWorkers, fold: int) -> None:
        try:
            workers.work_on(FoldJob(reference, fold))
        except TrainingError as error:
            failures.append(error)

    began = threading.Event()
    with LocalWorkers(ONE, lambda *_: began.set()) as workers:
        threads = [threading.Thread(target=train, args=(workers, fold)) for fold in (0, 1)]
        for thread in threads:
            thread.start()
        assert began.wait(PATIENCE_SECONDS)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(failures) == 2
    assert all("because the audit ended before it" in str(error) for error in failures)


@pytest.mark.slow
@pytest.mark.new_interpreters
def test_workers_end_with_their_parent(data: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from support.audits import Quiet, settings\nfrom labelaudit.audit import DirectCaller, run_audit\n"
        f"config = settings({str(data)!r}, {str(tmp_path)!r}, training={{'epochs': 100_000}})\n"
        "run_audit(config, DirectCaller(Quiet()))\n"
    )
    children: list[psutil.Process] = []

    def has_workers() -> bool:
        children[:] = psutil.Process(parent.pid).children()
        # A child that has ended meanwhile has no command line.
        with suppress(psutil.Error):
            return any("worker_process" in " ".join(child.cmdline()) for child in children)
        return False

    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        try:
            wait_for(has_workers)
        finally:
            parent.kill()
    # On a busy machine a worker may still be importing torch and notice only afterwards.
    gone, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert gone
    assert not alive
