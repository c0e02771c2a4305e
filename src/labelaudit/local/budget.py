"""How many folds train at a time within `limits.memory`: one is rehearsed, and its memory measured.

The limit is on what this process and its workers hold together (`labelaudit.memory`). It is planned for before
the first fold, so that a fold that cannot fit is an error then, and no process is killed hours later.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace

from labelaudit.audits.prepared import Prepared, load_prepared, output_store
from labelaudit.audits.references import PreparedReference
from labelaudit.errors import ConfigError
from labelaudit.local.workers import Slot
from labelaudit.memory import held_bytes, release
from labelaudit.storage.manifest import dump_json, read_json

# A second fold in the same process was seen to take 11 % more than the first, and many steps a little more than few.
_MARGIN = 1.15
_SAMPLE_SECONDS = 0.01
# What gathering, detecting and publishing take besides: 1,080 bytes at 300,000 rows of 3 classes, and 7.6 copies of
# the probabilities at 200,000 rows of 100 classes were measured.
_BYTES_PER_ROW = 1_100
_COPIES_OF_PROBABILITIES = 8


@dataclass(frozen=True)
class Need:
    """Bytes of memory: of this process while folds train, of one fold, and of this process afterwards."""

    audit: int
    fold: int
    closing: int


def fitting_slots(slots: list[Slot], reference: PreparedReference, limit: int | None) -> list[Slot]:
    """As many of the slots as fit into `limit` bytes together with this process; None: all of them.

    Raises `ConfigError` where not even one fits.
    """
    if limit is None:
        return slots
    cores = len(os.sched_getaffinity(0))
    need = _recorded(reference, replace(slots[0], threads=cores, lean=True), limit)
    if need is None:
        return slots[:1]
    fitting = min(len(slots), (limit - need.audit) // need.fold)
    if fitting < 1:
        raise _too_small(limit, f"this process holds {_mib(need.audit)} and one fold needs {_mib(need.fold)}")
    if need.closing > limit:
        raise _too_small(limit, f"gathering and publishing the probabilities need {_mib(need.closing)}")
    shared = cores // fitting if fitting < len(slots) else slots[0].threads
    return [replace(slot, threads=max(1, shared), lean=True) for slot in slots[:fitting]]


def _recorded(reference: PreparedReference, slot: Slot, limit: int) -> Need | None:
    """The need of this audit, measured once: a resumed audit then has as many folds at a time, and the same bytes.

    None where the rehearsal failed: so will the first fold, and say why.
    """
    prepared = load_prepared(reference)
    store = output_store(reference)
    key = f"{prepared.work_folder}/memory.json"
    if not store.exists(key):
        fold = _rehearsed_peak(reference, slot, limit)
        if fold is None:
            return None
        release()
        held = int(held_bytes() * _MARGIN)
        need = Need(held, int(fold * _MARGIN), held + _closing_bytes(prepared))
        store.create(key, dump_json(asdict(need)))
    return Need(**read_json(store, key))


def _rehearsed_peak(reference: PreparedReference, slot: Slot, limit: int) -> int | None:
    """The most bytes that a rehearsed fold held, None where it failed. Raises `ConfigError` above the limit."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labelaudit.local.rehearsal"],
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


def _closing_bytes(prepared: Prepared) -> int:
    probabilities = prepared.scored * len(prepared.class_names) * 4
    return prepared.examples * _BYTES_PER_ROW + _COPIES_OF_PROBABILITIES * probabilities


def _too_small(limit: int, needs: str) -> ConfigError:
    return ConfigError(
        f"limits.memory of {_mib(limit)} is too small: {needs}. Raise it, lower training.batch_size, or choose a "
        "smaller network or image_size."
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
