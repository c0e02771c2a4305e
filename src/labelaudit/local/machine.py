"""How the jobs of an audit share this machine: the slots of its config, and the worker processes in them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

from labelaudit.audits.jobs import Job
from labelaudit.audits.references import PlanReference
from labelaudit.config import AuditConfig, WorkersConfig
from labelaudit.local.budget import fitting_slots
from labelaudit.local.workers import LocalWorkers, OnProgress, Slot, describe_slots, fair_threads, plan_slots


def total_folds(config: AuditConfig) -> int:
    """Return the number of folds of all repeats."""
    return config.cross_validation.folds * config.cross_validation.repeats


def local_slots(config: AuditConfig) -> list[Slot]:
    """Return the slots of this machine in which the folds of an audit train."""
    return machine_slots(config)[: total_folds(config)]


def machine_slots(config: AuditConfig) -> list[Slot]:
    """Return all slots of this machine for the jobs of an audit. Folds train in the first ones."""
    workers = config.workers
    return plan_slots(
        folds=total_folds(config),
        device=config.training.device,
        max_parallel=workers.max_parallel,
        gpus_per_fold=workers.gpus_per_fold,
        threads=workers.threads,
    )


def remote_threads(workers: WorkersConfig, folds: int) -> int:
    """Return the CPU threads of a job that runs on another machine.

    These are as many as if all folds trained here in parallel, so the audit has the same bytes on every machine.
    """
    return workers.threads or fair_threads(folds, workers.max_parallel)


def slots_within_memory(config: AuditConfig, reference: PlanReference, slots: list[Slot] | None = None) -> list[Slot]:
    """Return as many of the local slots (or of `slots`) as fit into `limits.memory` while folds train.

    Raises:
        ConfigError: Not even one fits.
    """
    fitting = fitting_slots(slots or local_slots(config), reference, config.limits.memory)
    threads = config.workers.threads
    return fitting if threads is None else [replace(slot, threads=threads) for slot in fitting]


def slots_for_encoding(config: AuditConfig, slots: list[Slot] | None = None) -> list[Slot]:
    """Return the slots of this machine (or `slots`) in which shards are encoded.

    There may be more than folds. Their threads are those of a fold on any machine, because features depend on the
    number of threads in their last digit. With `limits.memory` there is only one: how much memory a fold needs can only
    be measured when its features exist.
    """
    here = slots or machine_slots(config)
    return here if config.limits.memory is None else [replace(here[0], lean=True)]


@dataclass(frozen=True)
class JobSlots:
    """Worker processes for jobs of one kind.

    Attributes:
        workers: The processes.
        parallel: Jobs at a time.
    """

    workers: LocalWorkers
    parallel: int

    @property
    def description(self) -> str:
        """Return the place of the jobs in words."""
        return describe_slots(self.workers.slots[: self.parallel])

    def work_on(self, job: Job) -> None:
        """Do one job as soon as a slot is free. Raises what `LocalWorkers.work_on` raises."""
        self.workers.work_on(job)


class MachineWorkers:
    """The worker processes of an audit on this machine.

    Folds use processes that have encoded shards, because these have imported what both need. If there are fewer folds
    than slots, the other processes end before the first fold, so that their memory is free.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._here: list[Slot] | None = None
        self._workers: LocalWorkers | None = None
        self._exit = ExitStack()

    def for_encoding(self, config: AuditConfig, shards: int) -> JobSlots:
        """Return slots for so many shards. Their processes start with their first jobs."""
        workers = self._in(slots_for_encoding(config, self._slots(config)))
        return JobSlots(workers, min(shards, len(workers.slots)))

    def for_training(self, config: AuditConfig, reference: PlanReference) -> JobSlots:
        """Return slots for folds.

        Raises:
            ConfigError: `limits.memory` is too small for one fold.
        """
        here = self._slots(config)[: total_folds(config)]
        if config.limits.memory is not None:
            # A fold is rehearsed to measure its memory, and the processes that encoded would add theirs.
            self._end_workers()
        workers = self._in(slots_within_memory(config, reference, here))
        return JobSlots(workers, len(workers.slots))

    def end(self) -> None:
        """End all worker processes, and what they are doing."""
        self._here = None
        self._end_workers()

    def _end_workers(self) -> None:
        self._workers = None
        self._exit.close()

    def _slots(self, config: AuditConfig) -> list[Slot]:
        # Looking for GPUs starts a process, so it is done once.
        if self._here is None:
            self._here = machine_slots(config)
        return self._here

    def _in(self, slots: list[Slot]) -> LocalWorkers:
        if self._workers is not None and self._workers.slots[: len(slots)] == slots:
            self._workers.keep(len(slots))
        else:
            self._end_workers()
            self._workers = self._exit.enter_context(LocalWorkers(slots, self._on_progress))
        return self._workers
