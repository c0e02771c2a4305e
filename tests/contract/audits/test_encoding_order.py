"""When an audit encodes: after it is planned and before its folds, and only what is not stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelaudit.audit import run_audit
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.config import AuditConfig
from labelaudit.pipeline import encode
from support.audits import InProcess, audit, settings, write_fruit, write_reviews
from support.tiny_encoder import TinyEncoder, prepared


class _FoldsReachedError(Exception):
    pass


class UpToFolds(InProcess):
    """Ends an audit before its folds, and records the rows to encode and how often workers are ended."""

    def __init__(self) -> None:
        super().__init__()
        self.shards: list[list[int]] = []
        self.ends = 0

    def encode(self, config, reference, encoding, shards):  # type: ignore[no-untyped-def]
        self.shards.append(shards)
        super().encode(config, reference, encoding, shards)

    def train_folds(self, config: AuditConfig, reference: PlanReference, folds: list[int]) -> list[FoldReference]:
        raise _FoldsReachedError

    def end_workers(self) -> None:
        self.ends += 1


def _up_to_folds(config: AuditConfig) -> UpToFolds:
    caller = UpToFolds()
    with TinyEncoder().installed(), pytest.raises(_FoldsReachedError):
        run_audit(config, caller)
    assert caller.ends == 1
    return caller


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditConfig:
    """An audit whose plan has an encoder, and whose 120 rows are encoded in three shards."""

    def prepare(config: AuditConfig) -> PlanReference:
        return prepared(config)[0]

    monkeypatch.setattr("labelaudit.audit.prepare", prepare)
    monkeypatch.setattr(encode, "_FEWEST_ROWS", 40)
    return settings(write_reviews(tmp_path / "reviews.jsonl", 120), tmp_path / "out")


def test_shards_are_encoded_before_folds(config: AuditConfig) -> None:
    caller = _up_to_folds(config)
    assert caller.steps[1:] == [
        *("prepare", "find_published", "plan_encoding", "missing_shards"),
        *["encode_shard"] * 3,
    ]
    assert caller.shards == [[0, 1, 2]]


def test_stored_features_are_not_encoded_again(config: AuditConfig) -> None:
    _up_to_folds(config)
    assert _up_to_folds(config).shards == []


def test_only_missing_shards_are_encoded(config: AuditConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("support.audits.encode_shard", _interrupted_at_shard_2)
        caller = UpToFolds()
        with TinyEncoder().installed(), pytest.raises(KeyboardInterrupt):
            run_audit(config, caller)
        assert caller.ends == 1
    assert _up_to_folds(config).shards == [[2]]


def _interrupted_at_shard_2(reference, encoding, shard):  # type: ignore[no-untyped-def]
    if shard == 2:
        raise KeyboardInterrupt
    return encode.encode_shard(reference, encoding, shard)


def test_without_an_encoder_nothing_is_planned(tmp_path: Path) -> None:
    caller = InProcess()
    audit(settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out"), caller)
    assert not {"plan_encoding", "encode_shard"} & set(caller.steps)
