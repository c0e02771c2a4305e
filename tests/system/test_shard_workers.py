"""Worker processes that encode shards: progress, reuse for folds, and what happens if one dies."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from labelaudit.audit import DirectCaller
from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.jobs import ShardJob
from labelaudit.config import AuditConfig
from labelaudit.errors import TrainingError, WorkerDiedError
from labelaudit.local import workers as worker_module
from labelaudit.local.workers import LocalWorkers, Slot
from labelaudit.pipeline.encode import missing_shards
from labelaudit.pipeline.version_features import open_features
from support.audits import Quiet, settings, write_reviews
from support.users_encoder import install_encoder, shards_of_texts

ROWS = 120
ONE = [Slot(None, 1)]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditConfig:
    install_encoder(tmp_path, monkeypatch)
    monkeypatch.setattr("labelaudit.audit.RETRY_DELAY_SECONDS", 0.0)
    workers = {"max_parallel": 2}
    return settings(write_reviews(tmp_path / "reviews.jsonl", ROWS), tmp_path / "out", workers=workers)


def test_the_processes_that_encode_then_train(config: AuditConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, encoding = shards_of_texts(config, 3)
    started: list[subprocess.Popen[str]] = []
    start_worker = worker_module.start_worker

    def counted(environment: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
        started.append(start_worker(environment, log))
        return started[-1]

    monkeypatch.setattr(worker_module, "start_worker", counted)
    progress = Quiet()
    caller = DirectCaller(progress)
    try:
        caller.encode(config, reference, encoding, [0, 1, 2])
        [(place, rows, stored)] = progress.encodings
        assert place.endswith("2 at a time, 1 thread each")
        assert (rows, stored) == (ROWS, 0)
        ends = [(shard, done) for shard, done, of in progress.rows if done == of]
        assert sorted(ends) == [(0, 40), (1, 40), (2, 40)]
        assert missing_shards(reference, encoding, [0, 1, 2]) == []
        caller.train_folds(config, reference, [0, 1, 2])
    finally:
        caller.end_workers()
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
    plan = load_plan(reference)
    with open_features(reference, plan) as opened:
        assert opened.values.shape == (ROWS, 3)
        # Every text has nine words.
        assert np.unique(opened.values[:, 1]).tolist() == [9]


def test_a_worker_that_is_killed_in_the_middle_of_a_shard_is_replaced(config: AuditConfig, tmp_path: Path) -> None:
    reference, encoding = shards_of_texts(config, 1, fault="killed", mark=str(tmp_path / "killed"))
    progress = Quiet()
    caller = DirectCaller(progress)
    try:
        caller.encode(config, reference, encoding, [0])
    finally:
        caller.end_workers()
    assert (tmp_path / "killed").exists()
    # Of a batch of 8 rows each; the second process begins again.
    assert [rows for _, rows, _ in progress.rows] == [8, 16, *range(8, 121, 8)]
    assert missing_shards(reference, encoding, [0]) == []


def test_errors_name_the_shard(config: AuditConfig) -> None:
    with LocalWorkers(ONE) as workers:
        reference, encoding = shards_of_texts(config, 1, fault="killed")
        message = r"worker of shard 0 ended without a result \(signal SIGKILL, often a lack of memory: lower workers\."
        with pytest.raises(WorkerDiedError, match=message):
            workers.work_on(ShardJob(reference, 0, encoding))
        reference, encoding = shards_of_texts(config, 1, fault="broken")
        with pytest.raises(TrainingError, match="Shard 0 failed: KeyError: 'missing weight'"):
            workers.work_on(ShardJob(reference, 0, encoding))
    assert missing_shards(reference, encoding, [0]) == [0]
    with pytest.raises(TrainingError, match="Shard 0 is not encoded, because the audit ended before it"):
        workers.work_on(ShardJob(reference, 0, encoding))
