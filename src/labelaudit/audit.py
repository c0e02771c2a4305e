"""The order of work of an audit, written once: prepare, folds, gather, detect, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Protocol, TypeVar

from labelaudit.budget import fitting_slots
from labelaudit.config import AuditConfig
from labelaudit.errors import LabelauditError
from labelaudit.steps.detect import detect
from labelaudit.steps.gather import gather
from labelaudit.steps.prepare import memory_limit, prepare
from labelaudit.steps.prepared import Prepared, load_prepared
from labelaudit.steps.publish import find_published, publish
from labelaudit.steps.references import AuditReference, FoldReference, PreparedReference
from labelaudit.workers import LocalWorkers, Slot, plan_slots

P = ParamSpec("P")
T = TypeVar("T")

# Storage that does not answer, and a worker that died: the second try may find another state of the world.
ATTEMPTS = 3
RETRY_DELAY_SECONDS = 2.0


class StepCaller(Protocol):
    """The way in which steps are called: directly, or as tasks of a flow."""

    def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one step and wait for it."""
        ...

    def train_folds(self, workers: LocalWorkers, reference: PreparedReference, folds: list[int]) -> list[FoldReference]:
        """Train folds side by side, as many as the workers have slots, and wait for all."""
        ...


class Progress(Protocol):
    """Is told how an audit goes on; methods are called from several threads while folds train."""

    def prepared(self, prepared: Prepared, slots: list[Slot]) -> None:
        """The dataset is read and checked, and folds are about to be trained."""
        ...

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        """A fold has finished an epoch, counted from 1."""
        ...


def run_audit(config: AuditConfig, caller: StepCaller, progress: Progress) -> AuditReference:
    """Audit one dataset version; returns at once when the same audit is published already.

    Raises the errors of the steps; nothing is visible to readers unless everything succeeded.
    """
    reference = caller.call(prepare, config)
    published = caller.call(find_published, reference)
    if published is not None:
        return published
    folds = config.cross_validation.folds * config.cross_validation.repeats
    slots = fitting_slots(local_slots(config, folds), reference, memory_limit(config))
    progress.prepared(load_prepared(reference), slots)
    trained = caller.train_folds(LocalWorkers(slots, progress.epoch), reference, list(range(folds)))
    gathered = caller.call(gather, reference, trained)
    detected = caller.call(detect, reference, gathered)
    return caller.call(publish, reference, trained, detected)


def local_slots(config: AuditConfig, folds: int) -> list[Slot]:
    """Where the folds of an audit train on this machine."""
    wanted = config.workers.max_parallel
    return plan_slots(
        folds=folds,
        device=config.training.device,
        max_parallel=None if wanted == "auto" else wanted,
        gpus_per_fold=config.workers.gpus_per_fold,
    )


class DirectCaller:
    """Calls steps in this process, folds in worker processes; what may pass is tried again."""

    def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(1, ATTEMPTS):
            try:
                return step(*args, **kwargs)
            except LabelauditError as error:
                if not error.transient:
                    raise
                time.sleep(RETRY_DELAY_SECONDS * attempt)
        return step(*args, **kwargs)

    def train_folds(self, workers: LocalWorkers, reference: PreparedReference, folds: list[int]) -> list[FoldReference]:
        with ThreadPoolExecutor(len(workers.slots)) as pool, workers:
            futures = [pool.submit(self.call, workers.train, reference, fold) for fold in folds]
            try:
                return [future.result() for future in futures]
            finally:
                # After an error or Ctrl-C, folds that wait are not begun; leaving `workers` ends the others.
                pool.shutdown(wait=False, cancel_futures=True)
