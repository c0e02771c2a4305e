"""The record of a fold marks it as trained. It is written after the fold's file and is not valid without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelaudit.audits.audit_plan import output_store
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import train_and_commit
from labelaudit.storage.store import Store
from support.audits import audit, fold_bytes, settings, write_fruit


def test_the_record_is_committed_after_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed: list[str] = []
    create = Store.create

    def checked(self: Store, key: str, data: bytes) -> bool:
        if "/_work/folds/" in key:
            record = json.loads(data)
            assert all(self.exists(record[name]) for name in ("key", "dynamics_key")), key
            committed.append(key)
        return create(self, key, data)

    monkeypatch.setattr(Store, "create", checked)
    train_and_commit(prepare(settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out")), 0)
    assert len(committed) == 1


@pytest.mark.parametrize("file", ["key", "dynamics_key"])
def test_a_fold_whose_file_is_gone_is_trained_again(tmp_path: Path, file: str) -> None:
    config = settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out")
    expected = fold_bytes(audit(settings(tmp_path / "fruit.parquet", tmp_path / "undisturbed")))
    reference = prepare(config)
    store = output_store(reference)
    store.remove(json.loads(store.read(train_and_commit(reference, 1).keys[0]))[file])
    assert fold_bytes(audit(config)) == expected
