"""Training folds in runs of the deployment `train-fold` on a work pool: start, watch, retry and cancel them.

The audit uses no GPU while it waits. It shares only storage with its folds, so that a fold can run on any machine, and
a resumed audit can adopt the folds that an earlier run started.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling, Crashed

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.config import WorkersConfig
from labelaudit.errors import ConfigError, TrainingError
from labelaudit.orchestration.api_retries import call_with_retries
from labelaudit.orchestration.heartbeats import has_lost_heartbeat, is_stuck_pending
from labelaudit.orchestration.train_fold import REFUSED
from labelaudit.pipeline.train import missing_folds
from labelaudit.storage.layout import fold_record_key
from labelaudit.storage.manifest import digest_of

FOLD_ATTEMPTS = 3
BACKOFF_SECONDS = (5.0, 30.0)
POLL_SECONDS = 2.0
_LIVE = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
# The most runs that a Prefect server returns at once (PREFECT_SERVER_API_DEFAULT_LIMIT).
_PAGE = 200


def train_on_work_pool(
    reference: PlanReference, plan: Plan, folds: list[int], workers: WorkersConfig, audit_run: UUID
) -> list[FoldReference]:
    """Train each fold that is not committed yet in a run of `workers.deployment`, and wait for all.

    A fold is retried, with up to `FOLD_ATTEMPTS` runs in total, if its run failed or crashed, lost its heartbeat, never
    started, or committed nothing.

    Raises:
        ConfigError: The server does not have the deployment.
        TrainingError: Some folds could not be trained. The others are kept.
    """
    with get_client(sync_client=True) as client:
        runs = _FoldRuns(client, reference, plan, workers, audit_run)
        with _cancel_on_interrupt(audit_run):
            runs.train(missing_folds(reference, plan, folds))
    return [FoldReference(fold, fold_record_key(plan.dataset, plan.training_key, fold)) for fold in folds]


def cancel_folds(audit_run: UUID) -> int:
    """Cancel the unfinished fold runs that a run of an audit started, and return how many."""
    with get_client(sync_client=True) as client:
        live = _live_runs(client, _audit_tag(audit_run))
        for run in live:
            client.set_flow_run_state(run.id, Cancelling(message="The audit was cancelled."))
        return len(live)


class _FoldRuns:
    """The runs of one audit's folds."""

    def __init__(
        self,
        client: SyncPrefectClient,
        reference: PlanReference,
        plan: Plan,
        workers: WorkersConfig,
        audit_run: UUID,
    ) -> None:
        self._client = client
        self._reference = reference
        self._plan = plan
        self._parameters = {"reference": asdict(reference), "workers": workers.model_dump(mode="json")}
        self._deployment = workers.deployment
        self._max_running = workers.max_parallel
        self._training_tag = _training_tag(reference, plan)
        self._audit_tag = _audit_tag(audit_run)
        # For idempotency keys: if the answer to a start is lost, the retry does not start a second run.
        self._starter = uuid4()
        self._running: dict[int, UUID] = {}
        self._attempts: Counter[int] = Counter()
        self._problems: dict[int, str] = {}

    def train(self, folds: list[int]) -> None:
        self._adopt_live_runs(folds)
        # Folds that wait for their start, with the earliest time of it.
        waiting = {fold: 0.0 for fold in folds if fold not in self._running}
        while waiting or self._running:
            for fold in [fold for fold, start in waiting.items() if start <= time.monotonic()]:
                if self._max_running is None or len(self._running) < self._max_running:
                    del waiting[fold]
                    self._start(fold)
            time.sleep(POLL_SECONDS)
            for fold, run in self._finished():
                if self._needs_retry(fold, run):
                    waiting[fold] = time.monotonic() + BACKOFF_SECONDS[self._attempts[fold] - 1]
        if self._problems:
            listed = " ".join(f"Fold {fold}: {problem}" for fold, problem in sorted(self._problems.items()))
            raise TrainingError(f"{len(self._problems)} of {len(folds)} folds could not be trained. {listed}")

    def _adopt_live_runs(self, folds: list[int]) -> None:
        for run in _live_runs(self._client, self._training_tag):
            fold = run.parameters.get("fold")
            if fold in folds and fold not in self._running:
                self._running[fold] = run.id
                get_run_logger().info("fold %d is already trained by run %s", fold, run.name)

    def _start(self, fold: int) -> None:
        self._attempts[fold] += 1
        try:
            run = call_with_retries(
                run_deployment,
                self._deployment,
                parameters={**self._parameters, "fold": fold},
                flow_run_name=self._name(fold),
                tags=[self._training_tag, self._audit_tag],
                timeout=0,
                idempotency_key=f"{self._starter}-{fold}-{self._attempts[fold]}",
            )
        except ObjectNotFound as error:
            raise ConfigError(
                f"workers.deployment is {self._deployment}, which this Prefect server does not have. Deploy it "
                "(prefect deploy --all), or change workers.deployment."
            ) from error
        # Prefect returns a coroutine only to async callers.
        assert isinstance(run, FlowRun)
        self._running[fold] = run.id

    def _name(self, fold: int) -> str:
        attempt = self._attempts[fold]
        audited = f"{self._plan.dataset} {self._plan.version}"
        return f"fold {fold} of {audited}" + (f", try {attempt}" if attempt > 1 else "")

    def _finished(self) -> Iterator[tuple[int, FlowRun | None]]:
        """Yield folds with their finished runs, or with None if a run was deleted. Mark lost runs as Crashed."""
        runs = _read_runs(self._client, list(self._running.values()))
        for fold, run_id in list(self._running.items()):
            run = runs.get(run_id)
            if run is None or (run.state is not None and run.state.is_final()):
                del self._running[fold]
                yield fold, run
            elif has_lost_heartbeat(self._client, run):
                self._mark_crashed(run, "Its heartbeats have stopped.")
            elif is_stuck_pending(run):
                self._mark_crashed(run, "A worker took the run but did not start it.")

    def _mark_crashed(self, run: FlowRun, reason: str) -> None:
        crashed: State = Crashed(message=reason)
        call_with_retries(self._client.set_flow_run_state, run.id, crashed, force=True)

    def _needs_retry(self, fold: int, run: FlowRun | None) -> bool:
        """Return whether the fold of a finished run must be retried. Record the problem if it cannot be."""
        problem = self._problem(fold, run)
        if problem is None:
            return False
        if _forbids_retry(run) or self._attempts[fold] >= FOLD_ATTEMPTS:
            self._problems[fold] = problem
            return False
        # The run of an adopted fold counts as the first attempt.
        self._attempts[fold] = max(1, self._attempts[fold])
        get_run_logger().warning("fold %d is retried: %s", fold, problem)
        return True

    def _problem(self, fold: int, run: FlowRun | None) -> str | None:
        """Return why a finished run did not train its fold, or None if it did."""
        if run is None:
            return "its run was deleted from the Prefect server."
        state = run.state
        assert state is not None
        if not state.is_completed():
            return f"{state.name}, {state.message or 'without a message'} (run {run.name})."
        if missing_folds(self._reference, self._plan, [fold]):
            return f"{state.name}, but nothing is committed at {self._reference.output_url} (run {run.name})."
        return None


def _forbids_retry(run: FlowRun | None) -> bool:
    """Return whether a retry would not help, or a person deleted or cancelled the run."""
    return run is None or run.state is None or run.state.name == REFUSED or run.state.is_cancelled()


@contextmanager
def _cancel_on_interrupt(audit_run: UUID) -> Iterator[None]:
    """Cancel the folds of an audit that is interrupted.

    An audit that fails has waited for its folds, unless the server or storage did not answer. The folds then continue,
    and the next run of the audit adopts them.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        cancel_folds(audit_run)
        raise


def _read_runs(client: SyncPrefectClient, ids: list[UUID]) -> dict[UUID, FlowRun]:
    """Return the runs that exist, by id."""
    found: dict[UUID, FlowRun] = {}
    for start in range(0, len(ids), _PAGE):
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + _PAGE]))
        page = call_with_retries(client.read_flow_runs, flow_run_filter=wanted, limit=_PAGE)
        found.update((run.id, run) for run in page)
    return found


def _live_runs(client: SyncPrefectClient, tag: str) -> list[FlowRun]:
    """Return the unfinished runs with a tag."""
    # Not filtered by state on the server: if a run ended between two pages, the next page would skip another run.
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    found: dict[UUID, FlowRun] = {}
    for start in itertools.count(0, _PAGE):
        page = call_with_retries(
            client.read_flow_runs, flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=start
        )
        found.update((run.id, run) for run in page)
        if len(page) < _PAGE:
            break
    return [run for run in found.values() if run.state is not None and run.state.type in _LIVE]


def _training_tag(reference: PlanReference, plan: Plan) -> str:
    """Return a tag that all runs of this audit share, and no other audit: it identifies the training and its output."""
    place = (reference.output_url, reference.storage_options, plan.dataset)
    return f"labelaudit-training:{digest_of(*place, plan.training_key)[:32]}"


def _audit_tag(audit_run: UUID) -> str:
    return f"labelaudit-audit-run:{audit_run}"
