"""The order of work of an audit, written once: prepare, folds, gather, detect, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from labelaudit.audits.audit_plan import Plan, commit_record, load_plan
from labelaudit.audits.finished import existing_audit, find_published
from labelaudit.audits.references import AuditReference, FoldReference, PlanReference
from labelaudit.config import AuditConfig, WorkersConfig
from labelaudit.errors import ConfigError, LabelauditError
from labelaudit.local.budget import fitting_slots
from labelaudit.local.workers import LocalWorkers, Slot, describe_slots, fair_threads, plan_slots
from labelaudit.memory import release_if_grown
from labelaudit.pipeline.plan import plan_probabilities, prepare
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.snapshot_store import store_snapshot, take_snapshot
from labelaudit.storage.layout import published_fold_key
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.text import plain
from labelaudit.versions.discover import choose_version
from labelaudit.versions.named import audited_name

if TYPE_CHECKING:
    from labelaudit.pipeline.external_probabilities import ExternalProbabilities

_P = ParamSpec("_P")
_T = TypeVar("_T")

# For transient errors, such as storage that does not answer or a worker that died.
_ATTEMPTS = 3
RETRY_DELAY_SECONDS = 2.0


class AuditProgress(Protocol):
    """Receives the progress of an audit. Several threads call its methods while folds train."""

    def prepared(self, plan: Plan) -> None:
        """Report that the dataset was read and checked."""
        ...

    def training(self, place: str) -> None:
        """Report that folds are about to be trained; `place` describes the devices."""
        ...

    def epoch(self, fold: int, epoch: int, epochs: int, loss: float) -> None:
        """Report that a fold finished an epoch, counted from 1."""
        ...


class StepCaller(Protocol):
    """How steps are called: directly, or as tasks of a flow."""

    @property
    def progress(self) -> AuditProgress:
        """The receiver of progress reports."""
        ...

    def call(self, step: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run one step and wait for it."""
        ...

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        """Train folds in parallel on the workers of `config.workers`, and wait for all."""
        ...


def run_audit(config: AuditConfig, caller: StepCaller) -> AuditReference:
    """Audit one dataset version; return at once if the same audit is already published.

    Readers see nothing of the audit until all steps have succeeded.

    Raises:
        LabelauditError: a step failed.
    """
    config = caller.call(choose_version, config)
    reference = caller.call(prepare, config)
    published = caller.call(find_published, reference)
    if published is not None:
        return published
    # Imported late: detection needs scipy, which takes long, and a rerun of a published audit does not need it.
    from labelaudit.pipeline.detect import detect
    from labelaudit.pipeline.gather import gather
    from labelaudit.pipeline.publish import publish

    caller.progress.prepared(load_plan(reference))
    trained = caller.train_folds(config, reference, list(range(total_folds(config))))
    gathered = caller.call(gather, reference, trained)
    detected = caller.call(detect, reference, gathered)
    return caller.call(publish, reference, gathered, detected)


def audit_probabilities(config: AuditConfig, source: ExternalProbabilities) -> AuditReference:
    """Audit external probabilities; return at once if the same audit is already published.

    Raises:
        DatasetError: the files cannot be used.
        IntegrityError: the probabilities cannot be out-of-fold probabilities of these rows.
    """
    from labelaudit.audits.comparison import open_predecessor
    from labelaudit.audits.fold_files import write_probabilities
    from labelaudit.audits.probabilities import Probabilities
    from labelaudit.pipeline.detect import detect_issues
    from labelaudit.pipeline.external_probabilities import read_probabilities
    from labelaudit.pipeline.publish import publish_audit

    loaded = read_probabilities(source, config.storage.options)
    rows, examples = loaded.rows, loaded.rows.examples
    store = Store(config.output.url, config.storage.options)
    # Row numbers mean other rows in another version, so verdicts on them do not apply.
    dataset = audited_name(config).name
    snapshot = ReviewSnapshot({}) if loaded.has_made_up_ids else take_snapshot(store, dataset, examples.fingerprint)
    plan = plan_probabilities(
        store, config, rows, snapshot, has_made_up_ids=loaded.has_made_up_ids, left_out=loaded.left_out
    )
    published = existing_audit(store, plan)
    if published is not None:
        return published
    store_snapshot(store, plan, snapshot)
    # Simultaneous runs all publish the plan that was stored first.
    plan = Plan.from_json(commit_record(store, plan))
    found = Probabilities(loaded.probabilities, (), loaded.notes)
    release_if_grown()
    files = TemporaryFiles()
    # Writing is more work than detection, and needs nothing from it.
    with ThreadPoolExecutor(1) as pool:
        example_ids = rows.of_scored(examples.example_id)
        written = pool.submit(write_probabilities, example_ids, loaded.probabilities, plan.class_names, files)
        detected = detect_issues(plan, rows, found, snapshot, open_predecessor(store, plan))
    # The tables contain what readers see of the rows.
    del loaded, rows, examples, example_ids, found
    release_if_grown()
    return publish_audit(store, plan, detected, {published_fold_key(0): written.result()}, gallery=())


def describe(plan: Plan) -> list[str]:
    """Describe in a few lines what is about to be audited."""
    lines = [f"guessed: {guess}" for guess in plan.guesses]
    lines += [f"warning: {warning}" for warning in plan.warnings]
    lines += [f"left out: {left.sentence}" for left in plan.left_out]
    lines.append(
        f"{plan.dataset}, version {plan.version}: {plan.scored:,} of {plan.examples:,} "
        f"examples in {len(plan.class_names):,} classes"
    )
    # Logs are read in terminals, which would interpret control characters.
    return [plain(line) for line in lines]


def total_folds(config: AuditConfig) -> int:
    """Return the number of folds of all repeats."""
    return config.cross_validation.folds * config.cross_validation.repeats


def local_slots(config: AuditConfig) -> list[Slot]:
    """Return the slots of this machine in which the folds of an audit train."""
    workers = config.workers
    return plan_slots(
        folds=total_folds(config),
        device=config.training.device,
        max_parallel=workers.max_parallel,
        gpus_per_fold=workers.gpus_per_fold,
        threads=workers.threads,
    )


def remote_threads(workers: WorkersConfig, folds: int) -> int:
    """Return the CPU threads of a fold that trains on another machine.

    These are as many as if all folds trained here in parallel, so the audit has the same bytes on every machine.
    """
    return workers.threads or fair_threads(folds, workers.max_parallel)


def slots_within_memory(config: AuditConfig, reference: PlanReference) -> list[Slot]:
    """Return as many of the local slots as fit into `limits.memory`.

    Raises:
        ConfigError: not even one fits.
    """
    slots = fitting_slots(local_slots(config), reference, config.limits.memory)
    threads = config.workers.threads
    return slots if threads is None else [replace(slot, threads=threads) for slot in slots]


class DirectCaller:
    """Runs steps in this process and folds in worker processes of this machine; retries transient errors."""

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
                f"workers.kind is {config.workers.kind}, which needs Prefect, but no Prefect API is configured. "
                "Set PREFECT_API_URL, or set workers.kind to local."
            )
        slots = slots_within_memory(config, reference)
        self.progress.training(describe_slots(slots))
        workers = LocalWorkers(slots, self.progress.epoch)
        with ThreadPoolExecutor(len(slots)) as pool, workers:
            # In a task of a user's flow, progress is logged in the run of that task, which the context names.
            contexts = [copy_context() for _ in folds]

            def train(context: Context, fold: int) -> FoldReference:
                return context.run(self.call, workers.train, reference, fold)

            futures = [pool.submit(train, *pair) for pair in zip(contexts, folds, strict=True)]
            try:
                return [future.result() for future in futures]
            finally:
                # After an error or Ctrl-C, no waiting fold starts. Leaving `workers` stops the others.
                pool.shutdown(wait=False, cancel_futures=True)
