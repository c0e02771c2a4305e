"""Jobs as runs on a work pool with a simulated worker: ownership, lost folds, many at once, and shards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import get_current_settings
from prefect.states import Completed, Pending, Running

from labelaudit.audit import fold_jobs, shard_jobs
from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.errors import ConfigError, TrainingError
from labelaudit.orchestration import heartbeats, job_runs
from labelaudit.orchestration.encode_shard import encode_one_shard
from labelaudit.orchestration.job_runs import cancel_jobs, run_on_work_pool
from labelaudit.orchestration.train_fold import train_fold
from labelaudit.pipeline.encode import missing_shards, plan_encoding
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import missing_folds
from labelaudit.pipeline.train import train_and_commit as train_here
from support.audits import settings, write_fruit, write_reviews
from support.tiny_encoder import TinyEncoder, prepared
from support.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.slow

ADOPTED = "is already trained by run"


@dataclass(frozen=True)
class Audit:
    """The run of an audit that waits for its folds."""

    client: SyncPrefectClient
    reference: PlanReference
    config: Any
    run: UUID

    def train(self, *folds: int) -> None:
        run_on_work_pool(fold_jobs(self.reference, folds), load_plan(self.reference), self.config.workers, self.run)

    def encode(self, encoding: EncodingReference) -> None:
        jobs = shard_jobs(self.reference, encoding, range(encoding.shards))
        run_on_work_pool(jobs, load_plan(self.reference), self.config.workers, self.run)

    def missing(self, *folds: int) -> list[int]:
        return missing_folds(self.reference, load_plan(self.reference), list(folds))

    def runs(self) -> list[FlowRun]:
        """Return the runs of jobs that this audit started, in order."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"labelaudit-audit-run:{self.run}"]))
        return sorted(self.client.read_flow_runs(flow_run_filter=wanted), key=lambda run: (run.created, run.name))

    def states(self) -> list[StateType]:
        return [run.state.type for run in self.runs() if run.state is not None]


@flow(name="waits-for-jobs", validate_parameters=False)
def wait_for_jobs(wait: Callable[[], None]) -> None:
    wait()


@pytest.fixture
def audit(client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Audit]:
    """Create audits of one dataset version. Their folds wait for a worker that does not exist."""
    data = write_fruit(tmp_path / "fruit.parquet")
    monkeypatch.setattr(job_runs, "BACKOFF_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(job_runs, "POLL_SECONDS", 0.2)
    for job_flow in (train_fold, encode_one_shard):
        flow_id = client.create_flow(job_flow)
        client.create_deployment(flow_id=flow_id, name="unserved", enforce_parameter_schema=False)

    def make(output: str = "out", **values: Any) -> Audit:
        unserved = {"deployment": "train-fold/unserved", "encode_deployment": "encode-shard/unserved"}
        workers = {"kind": "work-pool", **unserved}
        config = settings(data, tmp_path / output, workers=workers, **values)
        return Audit(client, prepare(config), config, uuid4())

    return make


def _waiting(audit: Audit, *folds: int) -> AbstractContextManager[list[BaseException]]:
    """Let the audit wait for its folds in a thread, and return its error."""
    return _waiting_in_thread(audit, partial(audit.train, *folds))


@contextmanager
def _waiting_in_thread(audit: Audit, wait: Callable[[], None]) -> Iterator[list[BaseException]]:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            wait_for_jobs(wait)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield raised
        thread.join(PATIENCE_SECONDS)
    finally:
        # Has no effect if all jobs have ended, which is so unless the test failed.
        cancel_jobs(audit.run)


def _take(client: SyncPrefectClient, run: FlowRun) -> None:
    client.set_flow_run_state(run.id, Pending())


def _serve(audit: Audit, run: FlowRun, *, is_trained: bool) -> None:
    """Act as the worker of a run. Its fold is trained only if `is_trained`."""
    _take(audit.client, run)
    audit.client.set_flow_run_state(run.id, Running())
    if is_trained:
        train_here(audit.reference, run.parameters["fold"])
    audit.client.set_flow_run_state(run.id, Completed())


@pytest.mark.parametrize("other", [{"output": "elsewhere"}, {"dataset": {"name": "another"}}])
def test_folds_of_an_audit_that_writes_elsewhere_are_not_taken_over(
    audit: Callable[..., Audit], other: dict[str, Any]
) -> None:
    one, another = audit(), audit(**other)
    keys = {load_plan(each.reference).training_key for each in (one, another)}
    assert len(keys) == 1
    with _waiting(one, 0):
        wait_for(one.runs)
        with _waiting(another, 0):
            wait_for(another.runs)
            assert [cancel_jobs(each.run) for each in (one, another)] == [1, 1]


def test_folds_of_another_run_of_the_audit_are_taken_over(
    audit: Callable[..., Audit], caplog: pytest.LogCaptureFixture
) -> None:
    one, again = audit(), audit()
    with _waiting(one, 0) as raised:
        (run,) = wait_for(one.runs)
        with _waiting(again, 0) as raised_again:
            wait_for(lambda: ADOPTED in caplog.text)
            _serve(one, run, is_trained=True)
    assert raised == raised_again == []
    assert again.runs() == []


def test_a_fold_that_is_completed_and_not_committed_is_started_again(audit: Callable[..., Audit]) -> None:
    one = audit()
    with _waiting(one, 0) as raised:
        (first,) = wait_for(one.runs)
        _serve(one, first, is_trained=False)
        _, second = wait_for(lambda: runs if len(runs := one.runs()) == 2 else None)
        assert second.name.endswith(", try 2")
        _serve(one, second, is_trained=True)
    assert raised == []
    assert one.missing(0) == []


def test_a_fold_that_never_commits_ends(audit: Callable[..., Audit], tmp_path: Path) -> None:
    one = audit()
    with _waiting(one, 0) as raised:
        for tries in range(1, job_runs.JOB_ATTEMPTS + 1):
            wait_for(lambda tries=tries: len(one.runs()) == tries)  # type: ignore[misc]
            _serve(one, one.runs()[-1], is_trained=False)
    (error,) = raised
    assert isinstance(error, TrainingError)
    assert f"Fold 0: Completed, but nothing is committed at {tmp_path / 'out'} (run fold 0 of fruit" in str(error)
    assert one.states() == [StateType.COMPLETED] * job_runs.JOB_ATTEMPTS


def test_a_fold_whose_worker_took_it_and_was_lost_is_started_again(
    audit: Callable[..., Audit], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = audit()
    with _waiting(one, 0) as raised:
        (first,) = wait_for(one.runs)
        _take(one.client, first)
        # Nothing happens while Kubernetes may still be pulling the image.
        assert heartbeats.PENDING_SECONDS > 15 * 60
        monkeypatch.setattr(heartbeats, "PENDING_SECONDS", 0.0)
        _, second = wait_for(lambda: runs if len(runs := one.runs()) == 2 else None)
        monkeypatch.undo()
        _serve(one, second, is_trained=True)
    assert raised == []
    assert one.states() == [StateType.CRASHED, StateType.COMPLETED]
    assert one.runs()[0].state.message == "A worker took the run but did not start it."  # type: ignore[union-attr]


def test_more_folds_than_the_server_returns_at_once(
    audit: Callable[..., Audit], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert get_current_settings().server.api.default_limit >= job_runs._PAGE
    monkeypatch.setattr(job_runs, "_PAGE", 2)
    one, again = audit(), audit()
    with _waiting(one, *range(5)) as raised:
        wait_for(lambda: len(one.runs()) == 5)
        with _waiting(again, *range(5)) as raised_again:
            wait_for(lambda: caplog.text.count(ADOPTED) == 5)
            assert cancel_jobs(one.run) == 5
    for (error,) in (raised, raised_again):
        assert "5 of 5 folds could not be trained. Fold 0: Cancelled" in str(error)


def test_the_other_folds_of_a_run_that_somebody_deletes_go_on(audit: Callable[..., Audit]) -> None:
    one = audit()
    with _waiting(one, 0, 1) as raised:
        deleted, kept = wait_for(lambda: runs if len(runs := one.runs()) == 2 else None)
        one.client.delete_flow_run(deleted.id)
        _serve(one, kept, is_trained=True)
    (error,) = raised
    fold = deleted.parameters["fold"]
    assert str(error) == (
        f"1 of 2 folds could not be trained. Fold {fold}: its run was deleted from the Prefect server."
    )
    assert one.missing(0, 1) == [fold]


def test_shards_are_runs_like_folds(
    audit: Callable[..., Audit], tmp_path: Path, caplog: pytest.LogCaptureFixture, client: SyncPrefectClient
) -> None:
    """A shard whose run stores nothing is retried, and another run of the audit adopts the second attempt."""
    reviews = write_reviews(tmp_path / "reviews.jsonl")
    reference, _ = prepared(settings(reviews, tmp_path / "out"))
    encoding = plan_encoding(reference)
    assert encoding is not None
    one, again = (replace(audit(), reference=reference) for _ in range(2))
    with _waiting_in_thread(one, partial(one.encode, encoding)) as raised:
        (first,) = wait_for(one.runs)
        assert first.name == "shard 0 of reviews " + load_plan(reference).version
        _serve(one, first, is_trained=False)
        _, second = wait_for(lambda: runs if len(runs := one.runs()) == 2 else None)
        with _waiting_in_thread(again, partial(again.encode, encoding)) as raised_again:
            wait_for(lambda: "shard 0 is already encoded by run" in caplog.text)
            _take(client, second)
            client.set_flow_run_state(second.id, Running())
            with TinyEncoder().installed():
                # What the deployment of the flow does with the parameters of the run.
                state = encode_one_shard(**second.parameters, return_state=True)
            client.set_flow_run_state(second.id, Completed())
    assert raised == raised_again == []
    assert again.runs() == []
    assert missing_shards(reference, encoding, [0]) == []
    # Other tests use the same server.
    found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["shard-0"])))
    [artifact] = [each for each in found if each.flow_run_id == state.state_details.flow_run_id]
    assert (artifact.data, artifact.description) == (100.0, "120 of 120 rows")
    # Without a missing shard, nothing is started.
    one.encode(encoding)
    assert len(one.runs()) == 2


def test_an_unknown_deployment_of_shards(audit: Callable[..., Audit], tmp_path: Path) -> None:
    reference, _ = prepared(settings(write_reviews(tmp_path / "reviews.jsonl"), tmp_path / "out"))
    encoding = plan_encoding(reference)
    assert encoding is not None
    one = audit()
    workers = one.config.workers.model_copy(update={"encode_deployment": "encode-shard/nowhere"})
    one = replace(one, reference=reference, config=one.config.model_copy(update={"workers": workers}))
    with pytest.raises(ConfigError, match=r"workers\.encode_deployment is encode-shard/nowhere, which this Prefect"):
        one.encode(encoding)
