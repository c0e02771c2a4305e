"""How many folds fit into `limits.memory`, and the error if none does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from labelaudit.audits.audit_plan import load_plan, output_store
from labelaudit.audits.references import PlanReference
from labelaudit.errors import ConfigError
from labelaudit.local.budget import fitting_slots
from labelaudit.local.machine import slots_within_memory
from labelaudit.local.workers import Slot
from labelaudit.pipeline.plan import prepare
from labelaudit.storage.manifest import dump_json, read_json
from support.audits import settings, write_fruit

MIB = 2**20
FOUR = [Slot(None, 2)] * 4


def _prepared(tmp_path: Path, **sections: Any) -> PlanReference:
    return prepare(settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out", **sections))


def _record(reference: PlanReference) -> str:
    return f"{load_plan(reference).work_folder}/memory.json"


def _remember(reference: PlanReference, **mebibytes: int) -> None:
    need = {name: size * MIB for name, size in mebibytes.items()}
    output_store(reference).create(_record(reference), dump_json(need))


@pytest.mark.parametrize(
    ("limit", "fitting", "threads"), [(300, 1, 8), (499, 1, 8), (500, 2, 4), (700, 3, 2), (900, 4, 2), (9000, 4, 2)]
)
def test_folds_share_the_memory_that_the_audit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, fitting: int, threads: int
) -> None:
    """With an audit of 100 MiB and folds of 200 MiB, each further 200 MiB allow one more fold, up to the slots."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    reference = _prepared(tmp_path)
    _remember(reference, audit=100, fold=200, closing=150)
    assert fitting_slots(FOUR, reference, limit * MIB) == [Slot(None, threads, lean=True)] * fitting


def test_without_a_limit_nothing_is_measured(tmp_path: Path) -> None:
    reference = _prepared(tmp_path)
    assert fitting_slots(FOUR, reference, None) == FOUR
    assert not output_store(reference).exists(_record(reference))


def test_too_little_memory_is_an_error_before_training(tmp_path: Path) -> None:
    reference = _prepared(tmp_path)
    _remember(reference, audit=100, fold=200, closing=450)
    with pytest.raises(ConfigError, match="of 299 MiB is too small: this process uses 100 MiB and one fold"):
        fitting_slots(FOUR, reference, 299 * MIB)
    with pytest.raises(ConfigError, match="gathering and publishing the probabilities need 450 MiB"):
        fitting_slots(FOUR, reference, 400 * MIB)


@pytest.mark.slow
def test_a_fold_is_rehearsed_once(tmp_path: Path) -> None:
    reference = _prepared(tmp_path)
    (slot,) = fitting_slots(FOUR[:1], reference, 8192 * MIB)
    assert slot == Slot(None, 2, lean=True)
    need = read_json(output_store(reference), _record(reference))
    assert 200 * MIB < need["fold"] < 2048 * MIB
    assert 50 * MIB < need["audit"] < 4096 * MIB
    assert need["closing"] > 0
    # Without the dataset a second rehearsal would fail.
    (tmp_path / "fruit.parquet").unlink()
    assert (
        fitting_slots(FOUR, reference, need["audit"] + 2 * need["fold"])
        == [Slot(None, max(1, len(os.sched_getaffinity(0)) // 2), lean=True)] * 2
    )


def test_a_rehearsal_above_the_limit_is_stopped(tmp_path: Path) -> None:
    reference = _prepared(tmp_path)
    with pytest.raises(ConfigError, match=r"limits.memory of 64 MiB is too small: one fold alone needs more than \d+"):
        fitting_slots(FOUR, reference, 64 * MIB)
    assert not output_store(reference).exists(_record(reference))


@pytest.mark.slow
def test_after_a_failed_rehearsal_one_fold_trains_and_reports_the_error(tmp_path: Path) -> None:
    reference = _prepared(tmp_path, model={"network": "no_such_module:build"})
    assert fitting_slots(FOUR, reference, 8192 * MIB) == FOUR[:1]
    assert not output_store(reference).exists(_record(reference))


def test_the_limit_sets_how_many_folds_train_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    config = settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out", limits={"memory": "50GiB"})
    reference = prepare(config)
    # Far more than the process of the tests uses.
    _remember(reference, audit=10_240, fold=20_480, closing=15_360)
    assert slots_within_memory(config, reference) == [Slot(None, 4, lean=True)] * 2
