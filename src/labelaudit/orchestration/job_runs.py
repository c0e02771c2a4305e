"""Doing jobs in runs of a deployment on a work pool: start, watch, retry and cancel them.

The audit uses no GPU while it waits. It shares only storage with its jobs, so that a job can run on any machine, and a
resumed audit can adopt the runs that an earlier run of it started.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
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
from labelaudit.audits.jobs import Job, ShardJob
from labelaudit.config import WorkersConfig
from labelaudit.errors import ConfigError, TrainingError
from labelaudit.orchestration.api_retries import call_with_retries
from labelaudit.orchestration.heartbeats import has_lost_heartbeat, is_stuck_pending
from labelaudit.orchestration.job_flow import REFUSED
from labelaudit.pipeline.job_work import missing_jobs
from labelaudit.storage.manifest import digest_of

JOB_ATTEMPTS = 3
BACKOFF_SECONDS = (5.0, 30.0)
POLL_SECONDS = 2.0
_LIVE = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
# The most runs that a Prefect server returns at once (PREFECT_SERVER_API_DEFAULT_LIMIT).
_PAGE = 200


def run_on_work_pool(jobs: Sequence[Job], plan: Plan, workers: WorkersConfig, audit_run: UUID) -> None:
    """Do each job whose result is not stored yet in a run of its deployment, and wait for all.

    A job is retried, with up to `JOB_ATTEMPTS` runs in total, if its run failed or crashed, lost its heartbeat, never
    started, or stored nothing.

    Args:
        jobs: All have the same kind.
        plan: The plan of their audit.
        workers: Names the deployments.
        audit_run: The run of the audit that waits.

    Raises:
        ConfigError: The server does not have the deployment.
        TrainingError: Some jobs failed. The results of the others are kept.
    """
    with get_client(sync_client=True) as client, _cancel_on_interrupt(audit_run):
        if missing := missing_jobs(jobs):
            _JobRuns(client, missing, plan, workers, audit_run).run()


def cancel_jobs(audit_run: UUID) -> int:
    """Cancel the unfinished runs of jobs that a run of an audit started, and return how many."""
    with get_client(sync_client=True) as client:
        live = _live_runs(client, _audit_tag(audit_run))
        for run in live:
            client.set_flow_run_state(run.id, Cancelling(message="The audit was cancelled."))
        return len(live)


class _JobRuns:
    """The runs of one audit's jobs of one kind."""

    def __init__(
        self, client: SyncPrefectClient, jobs: Sequence[Job], plan: Plan, workers: WorkersConfig, audit_run: UUID
    ) -> None:
        self._client = client
        self._jobs = {job.number: job for job in jobs}
        self._kind = jobs[0]
        self._plan = plan
        self._workers = workers
        self._shared_tag = _shared_tag(self._kind, plan)
        self._audit_tag = _audit_tag(audit_run)
        # For idempotency keys: if the answer to a start is lost, the retry does not start a second run.
        self._starter = uuid4()
        self._running: dict[int, UUID] = {}
        self._attempts: Counter[int] = Counter()
        self._problems: dict[int, str] = {}

    def run(self) -> None:
        self._adopt_live_runs()
        # Jobs that wait for their start, with the earliest time of it.
        waiting = {number: 0.0 for number in self._jobs if number not in self._running}
        max_running = self._workers.max_parallel or len(self._jobs)
        while waiting or self._running:
            for number in [number for number, start in waiting.items() if start <= time.monotonic()]:
                if len(self._running) < max_running:
                    del waiting[number]
                    self._start(number)
            time.sleep(POLL_SECONDS)
            for number, run in self._finished():
                if self._needs_retry(number, run):
                    waiting[number] = time.monotonic() + BACKOFF_SECONDS[self._attempts[number] - 1]
        if self._problems:
            listed = " ".join(
                f"{self._jobs[number].name.capitalize()}: {problem}"
                for number, problem in sorted(self._problems.items())
            )
            counts = f"{len(self._problems)} of {len(self._jobs)} {self._kind.noun}s"
            raise TrainingError(f"{counts} could not be {self._kind.participle}. {listed}")

    def _adopt_live_runs(self) -> None:
        for run in _live_runs(self._client, self._shared_tag):
            number = run.parameters.get(self._kind.noun)
            if number in self._jobs and number not in self._running:
                self._running[number] = run.id
                job = self._jobs[number]
                get_run_logger().info("%s is already %s by run %s", job.name, job.participle, run.name)

    def _start(self, number: int) -> None:
        self._attempts[number] += 1
        setting, deployment = _deployment(self._kind, self._workers)
        try:
            run = call_with_retries(
                run_deployment,
                deployment,
                parameters=_parameters(self._jobs[number], self._workers),
                flow_run_name=self._run_name(number),
                tags=[self._shared_tag, self._audit_tag],
                timeout=0,
                idempotency_key=f"{self._starter}-{number}-{self._attempts[number]}",
            )
        except ObjectNotFound as error:
            raise ConfigError(
                f"{setting} is {deployment}, which this Prefect server does not have. Deploy it "
                f"(prefect deploy --all), or change {setting}."
            ) from error
        # Prefect returns a coroutine only to async callers.
        assert isinstance(run, FlowRun)
        self._running[number] = run.id

    def _run_name(self, number: int) -> str:
        attempt = self._attempts[number]
        name = f"{self._jobs[number].name} of {self._plan.dataset} {self._plan.version}"
        return name + (f", try {attempt}" if attempt > 1 else "")

    def _finished(self) -> Iterator[tuple[int, FlowRun | None]]:
        """Yield jobs with their finished runs, or with None if a run was deleted. Mark lost runs as Crashed."""
        runs = _read_runs(self._client, list(self._running.values()))
        for number, run_id in list(self._running.items()):
            run = runs.get(run_id)
            if run is None or (run.state is not None and run.state.is_final()):
                del self._running[number]
                yield number, run
            elif has_lost_heartbeat(self._client, run):
                self._mark_crashed(run, "Its heartbeats have stopped.")
            elif is_stuck_pending(run):
                self._mark_crashed(run, "A worker took the run but did not start it.")

    def _mark_crashed(self, run: FlowRun, reason: str) -> None:
        crashed: State = Crashed(message=reason)
        call_with_retries(self._client.set_flow_run_state, run.id, crashed, force=True)

    def _needs_retry(self, number: int, run: FlowRun | None) -> bool:
        """Return whether the job of a finished run must be retried. Record the problem if it cannot be."""
        problem = self._problem(number, run)
        if problem is None:
            return False
        if _forbids_retry(run) or self._attempts[number] >= JOB_ATTEMPTS:
            self._problems[number] = problem
            return False
        # The run of an adopted job counts as the first attempt.
        self._attempts[number] = max(1, self._attempts[number])
        get_run_logger().warning("%s is retried: %s", self._jobs[number].name, problem)
        return True

    def _problem(self, number: int, run: FlowRun | None) -> str | None:
        """Return why a finished run did not do its job, or None if it did."""
        if run is None:
            return "its run was deleted from the Prefect server."
        state = run.state
        assert state is not None
        if not state.is_completed():
            return f"{state.name}, {state.message or 'without a message'} (run {run.name})."
        job = self._jobs[number]
        if missing_jobs([job]):
            return f"{state.name}, but nothing is committed at {job.reference.output_url} (run {run.name})."
        return None


def _forbids_retry(run: FlowRun | None) -> bool:
    """Return whether a retry would not help, or a person deleted or cancelled the run."""
    return run is None or run.state is None or run.state.name == REFUSED or run.state.is_cancelled()


@contextmanager
def _cancel_on_interrupt(audit_run: UUID) -> Iterator[None]:
    """Cancel the jobs of an audit that is interrupted.

    An audit that fails has waited for its jobs, unless the server or storage did not answer. The jobs then continue,
    and the next run of the audit adopts them.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        cancel_jobs(audit_run)
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


def _deployment(job: Job, workers: WorkersConfig) -> tuple[str, str]:
    """Return the setting that names the deployment of a job, and the deployment."""
    if isinstance(job, ShardJob):
        return "workers.encode_deployment", workers.encode_deployment
    return "workers.deployment", workers.deployment


def _parameters(job: Job, workers: WorkersConfig) -> dict[str, object]:
    """Return the parameters of the flow that does a job."""
    parameters = {**asdict(job), "workers": workers.model_dump(mode="json")}
    parameters[job.noun] = parameters.pop("number")
    return parameters


def _shared_tag(job: Job, plan: Plan) -> str:
    """Return a tag of all runs that store the same results in the same place as this job and those next to it."""
    place = (job.reference.output_url, job.reference.storage_options, plan.dataset)
    if isinstance(job, ShardJob):
        return f"labelaudit-encoding:{digest_of(*place, job.encoding.key, job.encoding.sha256)[:32]}"
    return f"labelaudit-training:{digest_of(*place, plan.training_key)[:32]}"


def _audit_tag(audit_run: UUID) -> str:
    return f"labelaudit-audit-run:{audit_run}"
