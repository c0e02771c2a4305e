"""How shards and folds share the worker processes of this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from labelaudit.local.machine import MachineWorkers, local_slots, slots_for_encoding
from labelaudit.local.workers import Slot
from support.audits import settings

FOUR = [Slot(None, 2)] * 4


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def test_shards_use_the_slots_of_folds_unless_memory_is_limited() -> None:
    assert slots_for_encoding(settings("x", "y", cross_validation={"folds": 4})) == FOUR
    limited = {"memory": "4GB"}
    assert slots_for_encoding(settings("x", "y", limits=limited, cross_validation={"folds": 4})) == [
        replace(FOUR[0], lean=True)
    ]
    three = settings("x", "y", limits=limited, workers={"threads": 3})
    assert slots_for_encoding(three) == [Slot(None, 3, lean=True)]


def test_shards_use_all_gpus_and_folds_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelaudit.local.workers.visible_gpus", lambda: list("0123"))
    config = settings("x", "y", cross_validation={"folds": 2}, training={"device": "auto"})
    assert local_slots(config) == [Slot("0", 2), Slot("1", 2)]
    machine = MachineWorkers(lambda job, progress: None)
    encoding = machine.for_encoding(config, 100)
    assert encoding.workers.slots == [Slot(gpu, 2) for gpu in "0123"]
    assert encoding.description == "on GPUs, 4 at a time, 2 threads each"
    reference: Any = None
    training = machine.for_training(config, reference)
    assert training.workers is encoding.workers
    assert training.workers.slots == local_slots(config)
    assert training.description == "on GPUs, 2 at a time, 2 threads each"
    machine.end()


def test_folds_use_the_processes_of_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings("x", "y")
    reference: Any = None  # is read only if the memory is limited
    machine = MachineWorkers(lambda job, progress: None)
    encoding = machine.for_encoding(config, 2)
    assert encoding.description == "on the CPU, 2 at a time, 2 threads each"
    training = machine.for_training(config, reference)
    assert training.workers is encoding.workers
    assert training.description == "on the CPU, 3 at a time, 2 threads each"
    # Other slots need other processes.
    monkeypatch.setattr("labelaudit.local.machine.fitting_slots", lambda slots, reference, limit: slots[:1])
    assert machine.for_training(config, reference).workers.slots == training.workers.slots[:1]
    machine.end()
    machine.end()
    assert machine.for_encoding(config, 9).workers is not encoding.workers
    machine.end()
