"""Folds as runs of the deployment `train-fold` on a work pool: started, watched, started again, cancelled.

The audit holds no GPU while it waits. It and its folds share nothing but storage, so that a fold may run on any
machine, and a fold that an earlier run of the audit started is taken over.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling, Crashed

from flows.heartbeats import is_silent
from flows.patience import patiently
from flows.train_fold import REFUSED
from labelaudit.config import WorkersConfig
from labelaudit.errors import ConfigError, TrainingError, WorkerDiedError
from labelaudit.steps.prepared import Prepared
from labelaudit.steps.references import FoldReference, PreparedReference
from labelaudit.steps.train import missing_folds
from labelaudit.storage.layout import fold_record_key

ATTEMPTS = 3
BACKOFF_SECONDS = (5.0, 30.0)
POLL_SECONDS = 2.0
_LIVE = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
# More than the folds and tries that a config can ask for.
_MANY = 200


def train_on_work_pool(
    reference: PreparedReference, prepared: Prepared, folds: list[int], workers: WorkersConfig, audit_run: UUID
) -> list[FoldReference]:
    """Train each fold that is not committed yet in a run of `workers.deployment`, and wait for all.

    A run that failed or crashed, or whose heartbeats stopped, is followed by another one, `ATTEMPTS` in all.
    Raises `TrainingError` in the end where folds are still missing; those that were trained are kept.
    """
    with get_client(sync_client=True) as client:
        runs = _FoldRuns(client, reference, prepared, workers, audit_run)
        with _cancelled_together(client, audit_run):
            runs.train(missing_folds(reference, prepared, folds))
    return [FoldReference(fold, fold_record_key(prepared.dataset, prepared.training_key, fold)) for fold in folds]


def cancel_folds(audit_run: UUID) -> int:
    """Cancel the runs of folds that an audit's run has started and that are not over; returns how many."""
    with get_client(sync_client=True) as client:
        live = _live_runs(client, [_audit_tag(audit_run)])
        for run in live:
            client.set_flow_run_state(run.id, Cancelling(message="The audit was cancelled."))
        return len(live)


class _FoldRuns:
    """The runs of one audit's folds."""

    def __init__(
        self,
        client: SyncPrefectClient,
        reference: PreparedReference,
        prepared: Prepared,
        workers: WorkersConfig,
        audit_run: UUID,
    ) -> None:
        self._client = client
        self._parameters = {"reference": asdict(reference), "workers": workers.model_dump(mode="json")}
        self._deployment = workers.deployment
        self._audited = f"{prepared.dataset} {prepared.version}"
        self._at_once = None if workers.max_parallel == "auto" else workers.max_parallel
        # By what they train, so that another run of the same audit finds them too.
        self._tags = [f"labelaudit-training:{prepared.training_key}", _audit_tag(audit_run)]
        # A start whose answer was lost is not made twice.
        self._starter = uuid4()
        self._running: dict[int, UUID] = {}
        self._attempts: Counter[int] = Counter()
        self._problems: dict[int, str] = {}

    def train(self, folds: list[int]) -> None:
        self._take_over(folds)
        # Folds that wait to be started, each with the time from which on it may be.
        waiting = {fold: 0.0 for fold in folds if fold not in self._running}
        while waiting or self._running:
            for fold in [fold for fold, start in waiting.items() if start <= time.monotonic()]:
                if self._at_once is None or len(self._running) < self._at_once:
                    del waiting[fold]
                    self._start(fold)
            time.sleep(POLL_SECONDS)
            for fold, run in self._ended():
                if self._is_to_be_repeated(fold, run):
                    waiting[fold] = time.monotonic() + BACKOFF_SECONDS[self._attempts[fold] - 1]
        if self._problems:
            listed = " ".join(f"Fold {fold}: {problem}" for fold, problem in sorted(self._problems.items()))
            raise TrainingError(f"{len(self._problems)} of {len(folds)} folds could not be trained. {listed}")

    def _take_over(self, folds: list[int]) -> None:
        for run in _live_runs(self._client, self._tags[:1]):
            fold = run.parameters.get("fold")
            if fold in folds and fold not in self._running:
                self._running[fold] = run.id
                get_run_logger().info("fold %d is in the hands of run %s already", fold, run.name)

    def _start(self, fold: int) -> None:
        self._attempts[fold] += 1
        try:
            run: Any = patiently(
                run_deployment,
                self._deployment,
                parameters={**self._parameters, "fold": fold},
                flow_run_name=self._name(fold),
                tags=self._tags,
                timeout=0,
                idempotency_key=f"{self._starter}-{fold}-{self._attempts[fold]}",
            )
        except ObjectNotFound as error:
            raise ConfigError(
                f"workers.deployment is {self._deployment}, which this Prefect server does not know. Deploy it "
                "(prefect deploy --all), or set workers.deployment."
            ) from error
        self._running[fold] = run.id

    def _name(self, fold: int) -> str:
        attempt = self._attempts[fold]
        return f"fold {fold} of {self._audited}" + (f", try {attempt}" if attempt > 1 else "")

    def _ended(self) -> Iterator[tuple[int, FlowRun]]:
        """Folds whose runs are over, with these; those that gave no sign of life are made to be."""
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(self._running.values())))
        found = patiently(self._client.read_flow_runs, flow_run_filter=wanted, limit=_MANY)
        runs = {run.id: run for run in found}
        for fold, run_id in list(self._running.items()):
            run = runs.get(run_id)
            if run is not None and is_silent(self._client, run):
                silent: State[Any] = Crashed(message="Its heartbeats have stopped.")
                patiently(self._client.set_flow_run_state, run.id, silent, force=True)
            elif run is None or (run.state is not None and run.state.is_final()):
                del self._running[fold]
                if run is None:
                    raise WorkerDiedError(f"The run of fold {fold} was deleted from the Prefect server while it ran.")
                yield fold, run

    def _is_to_be_repeated(self, fold: int, run: FlowRun) -> bool:
        """Whether a run that is over has to be followed by another one; notes the problem where it cannot."""
        state = run.state
        assert state is not None
        if state.is_completed():
            return False
        problem = f"{state.name}, {state.message or 'without a message'} (run {run.name})."
        if state.name == REFUSED or state.is_cancelled() or self._attempts[fold] >= ATTEMPTS:
            self._problems[fold] = problem
            return False
        # A fold that was taken over has not been tried by this run yet.
        self._attempts[fold] = max(1, self._attempts[fold])
        get_run_logger().warning("fold %d is started again: %s", fold, problem)
        return True


@contextmanager
def _cancelled_together(client: SyncPrefectClient, audit_run: UUID) -> Iterator[None]:
    """Folds do not outlive an audit that is interrupted; one that fails has waited for its folds."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        cancel_folds(audit_run)
        raise


def _live_runs(client: SyncPrefectClient, tags: list[str]) -> list[FlowRun]:
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=tags),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_LIVE)),
    )
    return patiently(client.read_flow_runs, flow_run_filter=wanted, limit=_MANY)


def _audit_tag(audit_run: UUID) -> str:
    return f"labelaudit-audit-run:{audit_run}"
