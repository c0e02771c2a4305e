"""How many folds can train at a time within `limits.memory`, measured by rehearsing one fold.

The limit applies to the memory of this process and its workers together (`labelaudit.memory`). It is checked before
the first fold, so that a fold that does not fit is an error at once and not a killed process hours later.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass, replace

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.references import PlanReference
from labelaudit.codec import from_record, to_record
from labelaudit.errors import ConfigError
from labelaudit.local.python_path import python_command
from labelaudit.local.workers import Slot
from labelaudit.memory import held_bytes, release
from labelaudit.storage.manifest import dump_json, read_json

# A second fold in the same process took 11 % more than the first, and many steps took a little more than a few.
_MARGIN = 1.15
_SAMPLE_SECONDS = 0.01
# Memory of gathering, detecting and publishing. Measured: 1,080 bytes per row for 300,000 rows of 3 classes, and
# 7.6 copies of the probabilities for 200,000 rows of 100 classes.
_BYTES_PER_ROW = 1_100
_COPIES_OF_PROBABILITIES = 8


@dataclass(frozen=True)
class Need:
    """Memory in bytes: of this process while folds train, of one fold, and of this process after the last fold."""

    audit: int
    fold: int
    closing: int


def fitting_slots(slots: list[Slot], reference: PlanReference, limit: int | None) -> list[Slot]:
    """Return as many slots as fit into `limit` bytes together with this process; all of them if `limit` is None.

    Raises:
        ConfigError: Not even one slot fits.
    """
    if limit is None:
        return slots
    cores = len(os.sched_getaffinity(0))
    need = _recorded(reference, replace(slots[0], threads=cores, lean=True), limit)
    if need is None:
        return slots[:1]
    fitting = min(len(slots), (limit - need.audit) // need.fold)
    if fitting < 1:
        raise _too_small(limit, f"this process uses {_mib(need.audit)} and one fold needs {_mib(need.fold)}")
    if need.closing > limit:
        raise _too_small(limit, f"gathering and publishing the probabilities need {_mib(need.closing)}")
    shared = cores // fitting if fitting < len(slots) else slots[0].threads
    return [replace(slot, threads=max(1, shared), lean=True) for slot in slots[:fitting]]


def _recorded(reference: PlanReference, slot: Slot, limit: int) -> Need | None:
    """Return the memory that the audit needs, or None if the rehearsal failed.

    It is measured once and stored, so that a resumed audit trains as many folds at a time and gives the same bytes.
    If the rehearsal failed, the first fold will fail too and say why.
    """
    plan = load_plan(reference)
    store = output_store(reference)
    key = f"{plan.work_folder}/memory.json"
    if not store.exists(key):
        fold = _rehearsed_peak(reference, slot, limit)
        if fold is None:
            return None
        release()
        held = int(held_bytes() * _MARGIN)
        need = Need(held, int(fold * _MARGIN), held + _closing_bytes(plan))
        store.create(key, dump_json(to_record(need)))
    return from_record(Need, read_json(store, key))


def _rehearsed_peak(reference: PlanReference, slot: Slot, limit: int) -> int | None:
    """Return the peak memory of a rehearsed fold in bytes, or None if it failed.

    Raises:
        ConfigError: The fold alone needs more than the limit.
    """
    process = subprocess.Popen(
        python_command("-m", "labelaudit.local.rehearsal"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=slot.environment(),
        start_new_session=True,
    )
    assert process.stdin is not None
    peak = 0
    try:
        with process.stdin:
            process.stdin.write(json.dumps(asdict(reference)).encode())
        while process.poll() is None:
            peak = max(peak, held_bytes(process.pid))
            if peak > limit:
                raise _too_small(limit, f"one fold alone needs more than {_mib(peak)}")
            try:
                process.wait(_SAMPLE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.wait()
    return peak if process.returncode == 0 else None


def _closing_bytes(plan: Plan) -> int:
    probabilities = plan.scored * len(plan.class_names) * 4
    return plan.examples * _BYTES_PER_ROW + _COPIES_OF_PROBABILITIES * probabilities


def _too_small(limit: int, needs: str) -> ConfigError:
    return ConfigError(
        f"limits.memory of {_mib(limit)} is too small: {needs}. Raise it, lower training.batch_size, or choose a "
        "smaller network or image_size."
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
