"""The order of work of an audit, written once: prepare, folds, gather, detect, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from labelaudit.audits.audit_plan import Plan, commit_record, load_plan
from labelaudit.audits.finished import existing_audit, find_published
from labelaudit.audits.references import AuditReference, FoldReference, PlanReference
from labelaudit.audits.work_files import parquet_bytes
from labelaudit.config import AuditConfig, WorkersConfig
from labelaudit.errors import ConfigError, LabelauditError
from labelaudit.local.budget import fitting_slots
from labelaudit.local.workers import LocalWorkers, Slot, describe_slots, fair_threads, plan_slots
from labelaudit.pipeline.plan import plan_probabilities, prepare
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.snapshot_store import store_snapshot, take_snapshot
from labelaudit.schemas import Status
from labelaudit.storage.layout import published_fold_key
from labelaudit.storage.store import Store
from labelaudit.text import plain
from labelaudit.versions.discover import choose_version
from labelaudit.versions.named import audited_name

if TYPE_CHECKING:
    from labelaudit.pipeline.external_probabilities import ExternalProbabilities

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Storage that does not answer, and a worker that died: the second try may find another state of the world.
_ATTEMPTS = 3
RETRY_DELAY_SECONDS = 2.0


class AuditProgress(Protocol):
    """Is told how an audit goes on; methods are called from several threads while folds train."""

    def prepared(self, plan: Plan) -> None:
        """The dataset is read and checked."""
        ...

    def training(self, place: str) -> None:
        """Folds are about to be trained; where, in words."""
        ...

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        """A fold has finished an epoch, counted from 1."""
        ...


class StepCaller(Protocol):
    """The way in which steps are called: directly, or as tasks of a flow."""

    @property
    def progress(self) -> AuditProgress:
        """Who is told how the audit goes on."""
        ...

    def call(self, step: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run one step and wait for it."""
        ...

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        """Train folds side by side where `config.workers` says, and wait for all."""
        ...


def run_audit(config: AuditConfig, caller: StepCaller) -> AuditReference:
    """Audit one dataset version; returns at once when the same audit is published already.

    Raises the errors of the steps; nothing is visible to readers unless everything succeeded.
    """
    config = caller.call(choose_version, config)
    reference = caller.call(prepare, config)
    published = caller.call(find_published, reference)
    if published is not None:
        return published
    # Imported late: cleanlab takes seconds, and a rerun of a published audit does not need it.
    from labelaudit.pipeline.detect import detect
    from labelaudit.pipeline.gather import gather
    from labelaudit.pipeline.publish import publish

    caller.progress.prepared(load_plan(reference))
    trained = caller.train_folds(config, reference, list(range(total_folds(config))))
    gathered = caller.call(gather, reference, trained)
    detected = caller.call(detect, reference, gathered)
    return caller.call(publish, reference, trained, detected)


def audit_probabilities(config: AuditConfig, source: ExternalProbabilities) -> AuditReference:
    """Audit probabilities that were made elsewhere; returns at once when the same audit is published already.

    Raises:
        DatasetError: the files cannot be used.
        IntegrityError: the probabilities cannot be out-of-fold probabilities of these rows.
    """
    from labelaudit.audits.comparison import open_predecessor
    from labelaudit.audits.probabilities import Probabilities, pred_probs_table
    from labelaudit.pipeline.detect import detect_issues
    from labelaudit.pipeline.external_probabilities import read_probabilities
    from labelaudit.pipeline.publish import publish_audit

    loaded = read_probabilities(source, config.storage.options)
    rows, examples = loaded.rows, loaded.rows.examples
    store = Store(config.output.url, config.storage.options)
    # Row numbers mean other rows in another version, so that verdicts on them do not apply.
    dataset = audited_name(config).name
    snapshot = ReviewSnapshot({}) if loaded.has_made_up_ids else take_snapshot(store, dataset, examples.fingerprint)
    plan = plan_probabilities(store, config, rows, snapshot, has_made_up_ids=loaded.has_made_up_ids)
    published = existing_audit(store, plan)
    if published is not None:
        return published
    store_snapshot(store, plan, snapshot)
    # Of two runs at once, both write the files of the one whose record was stored first.
    plan = Plan.from_json(commit_record(store, plan))
    detected = detect_issues(
        plan, rows, Probabilities(loaded.pred_probs, (), loaded.notes), snapshot, open_predecessor(store, plan)
    )
    table = pred_probs_table(examples.example_id[rows.scored], loaded.pred_probs, plan.class_names)
    return publish_audit(store, plan, detected, {published_fold_key(0): parquet_bytes(table)}, gallery=())


def describe(plan: Plan) -> list[str]:
    """What is about to be audited, in a few lines."""
    lines = [f"guessed: {guess}" for guess in plan.guesses]
    for status, rows in plan.statuses.items():
        if rows and status != Status.SCORED:
            lines.append(f"set aside: {rows:,} rows, {status}")
    lines.append(
        f"{plan.dataset}, version {plan.version}: {plan.scored:,} of {plan.examples:,} "
        f"examples in {len(plan.class_names):,} classes"
    )
    # Also for logs, which are read in terminals.
    return [plain(line) for line in lines]


def total_folds(config: AuditConfig) -> int:
    """Folds of all repeats."""
    return config.cross_validation.folds * config.cross_validation.repeats


def local_slots(config: AuditConfig) -> list[Slot]:
    """Where the folds of an audit train on this machine."""
    workers = config.workers
    return plan_slots(
        folds=total_folds(config),
        device=config.training.device,
        max_parallel=workers.max_parallel,
        gpus_per_fold=workers.gpus_per_fold,
        threads=workers.threads,
    )


def remote_threads(workers: WorkersConfig, folds: int) -> int:
    """CPU threads of a fold that trains on another machine: as many as it would have here, side by side with
    all others, so that the same audit has the same bytes wherever its folds train."""
    return workers.threads or fair_threads(folds, workers.max_parallel)


def slots_within_memory(config: AuditConfig, reference: PlanReference) -> list[Slot]:
    """As many of the local slots as fit into `limits.memory`. Raises `ConfigError` where not one does."""
    slots = fitting_slots(local_slots(config), reference, config.limits.memory)
    threads = config.workers.threads
    return slots if threads is None else [replace(slot, threads=threads) for slot in slots]


class DirectCaller:
    """Calls steps in this process, folds in worker processes of this machine; what may pass is tried again."""

    def __init__(self, progress: AuditProgress) -> None:
        self.progress = progress

    def call(self, step: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        for attempt in range(1, _ATTEMPTS):
            try:
                return step(*args, **kwargs)
            except LabelauditError as error:
                if not error.transient:
                    raise
                time.sleep(RETRY_DELAY_SECONDS * attempt)
        return step(*args, **kwargs)

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        if config.workers.kind != "local":
            raise ConfigError(
                f"workers.kind is {config.workers.kind}, whose folds are runs of Prefect, but no Prefect API is "
                "configured. Set PREFECT_API_URL, or workers.kind to local."
            )
        slots = slots_within_memory(config, reference)
        self.progress.training(describe_slots(slots))
        workers = LocalWorkers(slots, self.progress.epoch)
        with ThreadPoolExecutor(len(slots)) as pool, workers:
            futures = [pool.submit(self.call, workers.train, reference, fold) for fold in folds]
            try:
                return [future.result() for future in futures]
            finally:
                # After an error or Ctrl-C, folds that wait are not begun; leaving `workers` ends the others.
                pool.shutdown(wait=False, cancel_futures=True)
