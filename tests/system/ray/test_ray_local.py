"""Ray on this machine, without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient

from labelaudit.audits.references import AuditReference
from labelaudit.errors import ConfigError
from labelaudit.orchestration.audit_dataset import audit_dataset
from support.audits import audit, fold_bytes, settings, write_fruit, write_reviews
from support.users_encoder import NAME as ENCODER
from support.users_encoder import install_encoder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    # Ray closes sockets and files only at the end of the process.
    pytest.mark.filterwarnings("ignore"),
]


def test_without_the_gpus_it_is_refused(client: SyncPrefectClient, tmp_path: Path) -> None:
    config = settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out", workers={"kind": "ray"})
    with pytest.raises(ConfigError, match=r"workers\.gpus_per_fold is 1, but Ray on this machine has 0 GPUs"):
        audit_dataset(config)


def test_shards_and_folds_are_tasks_on_cpus(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_encoder(tmp_path, monkeypatch)
    monkeypatch.setattr("labelaudit.pipeline.encode._FEWEST_ROWS", 60)
    data = write_reviews(tmp_path / "reviews.jsonl", 120)
    values = {"model": {"encoder": ENCODER, "views": ["network", "probe"]}, "cross_validation": {"folds": 2}}
    workers = {"kind": "ray", "gpus_per_fold": 0}
    reference = AuditReference(**audit_dataset(settings(data, tmp_path / "ray", workers=workers, **values)))
    names = {task.name for task in client.read_task_runs()}
    assert names >= {"encode-shard-0", "encode-shard-1", "train-fold-0", "train-fold-1"}
    assert fold_bytes(reference) == fold_bytes(audit(settings(data, tmp_path / "here", **values)))
