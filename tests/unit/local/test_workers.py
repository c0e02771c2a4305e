"""Slots: on which devices jobs run in parallel, and with how many threads."""

from __future__ import annotations

import os

import pytest

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.local.machine import remote_threads
from labelaudit.local.workers import Slot, describe_slots, plan_slots
from support.audits import settings


def _slots(monkeypatch: pytest.MonkeyPatch, *, cores: int, gpus: list[str], **arguments: object) -> list[Slot]:
    monkeypatch.setattr("labelaudit.local.workers.visible_gpus", lambda: gpus)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    plan = {"folds": 5, "device": "auto", "max_parallel": None, "gpus_per_fold": 1.0, **arguments}
    return plan_slots(**plan)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cores", "arguments", "expected"),
    [
        (2, {}, [Slot(None, 1)] * 2),
        (1, {}, [Slot(None, 1)]),
        (16, {}, [Slot(None, 3)] * 5),
        (16, {"max_parallel": 2}, [Slot(None, 8)] * 2),
        (2, {"max_parallel": 8}, [Slot(None, 1)] * 5),
        (8, {}, [Slot(None, 1)] * 8),
        (8, {"max_parallel": 6}, [Slot(None, 1)] * 6),
        (8, {"folds": 3, "threads": 1}, [Slot(None, 1)] * 8),
        (8, {"folds": 5, "threads": 4}, [Slot(None, 4)] * 5),
        (2, {"threads": 4, "max_parallel": 1}, [Slot(None, 4)]),
    ],
)
def test_slots_share_the_cores(monkeypatch, cores, arguments, expected) -> None:  # type: ignore[no-untyped-def]
    assert _slots(monkeypatch, cores=cores, gpus=[], **arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "gpus"),
    [
        ({}, ["0", "1"]),
        ({"gpus_per_fold": 0.5}, ["0", "1", "0", "1"]),
        ({"gpus_per_fold": 0.5, "max_parallel": 3}, ["0", "1", "0"]),
        ({"gpus_per_fold": 0.25}, ["0", "1"] * 4),
        ({"gpus_per_fold": 0.25, "folds": 2, "max_parallel": 5}, ["0", "1", "0", "1", "0"]),
        ({"device": "cuda:1"}, ["1"]),
        ({"device": "cuda"}, ["0", "1"]),
        ({"device": "cpu"}, [None, None, None, None]),
        ({"gpus_per_fold": 0}, [None, None, None, None]),
        ({"gpus_per_fold": 2.0}, ["0,1"]),
        ({"gpus_per_fold": 1 / 3}, ["0", "1"] * 3),
        ({"gpus_per_fold": 0.6}, ["0", "1"]),
        ({"gpus_per_fold": 0.1, "folds": 20}, ["0", "1"] * 10),
    ],
)
def test_slots_share_the_gpus(monkeypatch, arguments, gpus) -> None:  # type: ignore[no-untyped-def]
    slots = _slots(monkeypatch, cores=4, gpus=["0", "1"], **arguments)
    assert [slot.gpu for slot in slots] == gpus


def test_a_worker_sees_only_its_gpu() -> None:
    environment = Slot("GPU-7", 3).environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-7"
    assert environment["OMP_NUM_THREADS"] == "3"


def test_waiting_threads_of_a_worker_sleep_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert Slot(None, 2).environment()["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert Slot(None, 2).environment()["OMP_WAIT_POLICY"] == "active"


def test_a_worker_on_the_cpu_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `training.device: auto` would use the first GPU in as many processes as there are cores."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    [slot] = _slots(monkeypatch, cores=1, gpus=["0", "1"], gpus_per_fold=0)
    assert slot.environment()["CUDA_VISIBLE_DEVICES"] == ""


def test_a_lean_worker_returns_freed_memory() -> None:
    added = Slot(None, 1, lean=True).environment().items() - Slot(None, 1).environment().items()
    assert added == {("MALLOC_MMAP_THRESHOLD_", "1048576"), ("THP_MEM_ALLOC_ENABLE", "1")}


def test_a_missing_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="'cuda', but no CUDA device is visible on this machine"):
        _slots(monkeypatch, cores=2, gpus=[], device="cuda")
    with pytest.raises(TrainingError, match="'cuda:2', but 2 CUDA devices are visible: the last one is cuda:1"):
        _slots(monkeypatch, cores=2, gpus=["0", "1"], device="cuda:2")
    with pytest.raises(ConfigError, match=r"'cuda', but workers\.gpus_per_fold is 0, so a fold has no GPU"):
        _slots(monkeypatch, cores=2, gpus=["0"], device="cuda", gpus_per_fold=0)
    with pytest.raises(TrainingError, match=r"workers\.gpus_per_fold is 3, but 2 CUDA devices are visible"):
        _slots(monkeypatch, cores=2, gpus=["0", "1"], gpus_per_fold=3.0)
    assert [slot.gpu for slot in _slots(monkeypatch, cores=2, gpus=list("01234"), gpus_per_fold=2.0)] == ["0,1", "2,3"]


def test_threads_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {slot.threads for slot in _slots(monkeypatch, cores=2, gpus=[], threads=7)} == {7}
    assert {slot.threads for slot in _slots(monkeypatch, cores=8, gpus=["0"], threads=3)} == {3}
    for folds in (3, 5):
        for parallel in (None, 1, 2):
            here = _slots(monkeypatch, cores=4, gpus=[], folds=folds, max_parallel=parallel)
            config = settings("x", "y", workers={"max_parallel": parallel or "auto"})
            assert remote_threads(config.workers, folds) == here[0].threads
    assert remote_threads(settings("x", "y", workers={"threads": 5}).workers, 3) == 5


def test_slots_in_words() -> None:
    assert describe_slots([Slot(None, 1)] * 2) == "on the CPU, 2 at a time, 1 thread each"
    assert describe_slots([Slot("0", 4)]) == "on GPUs, 1 at a time, 4 threads each"
