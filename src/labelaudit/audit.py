"""The order of work of an audit, written once: prepare, encode, folds, gather, detect, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from labelaudit.audits.audit_plan import Plan, commit_record, load_plan
from labelaudit.audits.finished import existing_audit, find_published
from labelaudit.audits.jobs import FoldJob, Job, JobProgress, RowsEncoded, ShardJob
from labelaudit.audits.references import AuditReference, EncodingReference, FoldReference, PlanReference
from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, LabelauditError
from labelaudit.local.machine import JobSlots, MachineWorkers, total_folds
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
    """Receives the progress of an audit. Several threads call its methods while shards are encoded and folds train."""

    def prepared(self, plan: Plan) -> None:
        """Report that the dataset was read and checked."""
        ...

    def encoding(self, place: str, rows: int, stored: int) -> None:
        """Report that `rows` rows are about to be encoded; the features of `stored` others are stored already."""
        ...

    def encoded(self, shard: int, rows: int, of: int) -> None:
        """Report how many rows of a shard are encoded. A shard that is retried starts again at 0."""
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

    def encode(
        self, config: AuditConfig, reference: PlanReference, encoding: EncodingReference, shards: list[int]
    ) -> None:
        """Encode shards in parallel on the workers of `config.workers`, and wait for all."""
        ...

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        """Train folds in parallel on the workers of `config.workers`, and wait for all."""
        ...

    def end_workers(self) -> None:
        """End the worker processes that shards and folds have shared."""
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

    plan = load_plan(reference)
    caller.progress.prepared(plan)
    encoding = None
    try:
        if plan.encoder is not None:
            encoding = encode_missing_rows(config, caller, reference)
        trained = caller.train_folds(config, reference, list(range(total_folds(config))))
    finally:
        caller.end_workers()
    gathered = caller.call(gather, reference, trained)
    detected = caller.call(detect, reference, gathered)
    return caller.call(publish, reference, gathered, detected, encoding)


def encode_missing_rows(config: AuditConfig, caller: StepCaller, reference: PlanReference) -> EncodingReference | None:
    """Encode the rows whose features are not stored yet; return what was encoded, or None if the plan needs nothing."""
    # Imported late, like the steps above.
    from labelaudit.pipeline.encode import missing_shards, plan_encoding

    encoding = caller.call(plan_encoding, reference)
    if encoding is None:
        return None
    # An earlier run of the audit may have encoded some of them.
    missing = caller.call(missing_shards, reference, encoding, list(range(encoding.shards)))
    if missing:
        caller.encode(config, reference, encoding, missing)
    return encoding


def report_encoding(receiver: AuditProgress, place: str, encoding: EncodingReference, shards: list[int]) -> None:
    """Report that shards are about to be encoded. If only some are missing, their rows are an estimate."""
    rows = round(encoding.rows * len(shards) / encoding.shards)
    receiver.encoding(place, rows, encoding.stored + encoding.rows - rows)


def shard_jobs(reference: PlanReference, encoding: EncodingReference, shards: Sequence[int]) -> list[ShardJob]:
    """Return one job per shard."""
    return [ShardJob(reference, shard, encoding) for shard in shards]


def fold_jobs(reference: PlanReference, folds: Sequence[int]) -> list[FoldJob]:
    """Return one job per fold."""
    return [FoldJob(reference, fold) for fold in folds]


def fold_references(reference: PlanReference, folds: Sequence[int]) -> list[FoldReference]:
    """Return the references of folds that workers have committed."""
    plan = load_plan(reference)
    return [plan.fold_reference(fold) for fold in folds]


def report_progress(receiver: AuditProgress, job: Job, progress: JobProgress) -> None:
    """Report how far a job is."""
    if isinstance(progress, RowsEncoded):
        receiver.encoded(job.number, progress.rows, progress.of)
    else:
        receiver.epoch(job.number, progress.epoch, progress.epochs, progress.loss)


def audit_probabilities(config: AuditConfig, source: ExternalProbabilities) -> AuditReference:
    """Audit external probabilities; return at once if the same audit is already published.

    Raises:
        DatasetError: the files cannot be used.
        IntegrityError: the probabilities cannot be out-of-fold probabilities of these rows.
    """
    from labelaudit.audits.comparison import open_predecessor
    from labelaudit.audits.fold_files import write_probabilities
    from labelaudit.audits.probabilities import Probabilities
    from labelaudit.pipeline.answers_of_rows import find_answers, with_answers
    from labelaudit.pipeline.detect import detect_issues
    from labelaudit.pipeline.external_probabilities import read_probabilities
    from labelaudit.pipeline.known_rows import KnownRows
    from labelaudit.pipeline.publish import publish_audit

    loaded = read_probabilities(source, config.storage.options, find_answers(config, None))
    rows, examples, answers = loaded.rows, loaded.rows.examples, loaded.answers
    store = Store(config.output.url, config.storage.options)
    # Row numbers mean other rows in another version, so verdicts on them do not apply.
    dataset = audited_name(config).name
    snapshot = ReviewSnapshot({}) if loaded.has_made_up_ids else take_snapshot(store, dataset, examples.fingerprint)
    plan = plan_probabilities(
        store, config, rows, snapshot, has_made_up_ids=loaded.has_made_up_ids, left_out=loaded.left_out
    )
    if answers is not None:
        plan = with_answers(plan, rows, answers, sha256="")
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
        detected = detect_issues(plan, KnownRows(rows, snapshot, answers), found, open_predecessor(store, plan))
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


class DirectCaller:
    """Runs steps in this process and jobs in worker processes of this machine; retries transient errors."""

    def __init__(self, progress: AuditProgress) -> None:
        self.progress = progress
        self._machine = MachineWorkers(partial(report_progress, progress))

    def call(self, step: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        for attempt in range(1, _ATTEMPTS):
            try:
                return step(*args, **kwargs)
            except LabelauditError as error:
                if not error.transient:
                    raise
                time.sleep(RETRY_DELAY_SECONDS * attempt)
        return step(*args, **kwargs)

    def encode(
        self, config: AuditConfig, reference: PlanReference, encoding: EncodingReference, shards: list[int]
    ) -> None:
        _check_local(config)
        slots = self._machine.for_encoding(config, len(shards))
        report_encoding(self.progress, slots.description, encoding, shards)
        self._do_all(slots, shard_jobs(reference, encoding, shards))

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        _check_local(config)
        slots = self._machine.for_training(config, reference)
        self.progress.training(slots.description)
        self._do_all(slots, fold_jobs(reference, folds))
        return fold_references(reference, folds)

    def end_workers(self) -> None:
        self._machine.end()

    def _do_all(self, slots: JobSlots, jobs: Sequence[Job]) -> None:
        with ThreadPoolExecutor(slots.parallel) as pool:
            # In a task of a user's flow, progress is logged in the run of that task, which the context names.
            contexts = [copy_context() for _ in jobs]

            def work_on(context: Context, job: Job) -> None:
                context.run(self.call, slots.work_on, job)

            futures = [pool.submit(work_on, *pair) for pair in zip(contexts, jobs, strict=True)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # After an error or Ctrl-C, no waiting job starts, and the others are stopped.
                pool.shutdown(wait=False, cancel_futures=True)
                self.end_workers()
                raise


def _check_local(config: AuditConfig) -> None:
    if config.workers.kind != "local":
        raise ConfigError(
            f"workers.kind is {config.workers.kind}, which needs Prefect, but no Prefect API is configured. "
            "Set PREFECT_API_URL, or set workers.kind to local."
        )
