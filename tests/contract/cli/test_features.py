"""`labelaudit features` for users: what is stored, and what may be removed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from labelaudit.audits.references import AuditReference
from labelaudit.feature_store.stored_features import FeatureStore
from labelaudit.storage.store import Store
from labelaudit.strings import Strings
from support.audits import audit as publish
from support.audits import fruit, settings, table, write_fruit
from support.commands import labelaudit
from support.probabilities import audit_insects, insects
from support.tiny_encoder import DIM, tiny_spec

SPEC = tiny_spec()
DAY = 24 * 3600


@pytest.fixture
def audit(tmp_path: Path) -> AuditReference:
    return audit_insects(tmp_path, "v1", insects(wrong=(0, 10)))


def add(folder: Path, dataset: str, digests: list[str], *, days_ago: float = 0) -> list[Path]:
    """Store features of contents, and return the files of their shard."""
    before = set(folder.rglob("_features/*/*"))
    store = FeatureStore(Store(str(folder)), dataset, SPEC)
    store.add(Strings(digests), np.ones((len(digests), DIM), np.float16))
    new = sorted(set(folder.rglob("_features/*/*")) - before)
    for path in new:
        os.utime(path, (time.time() - days_ago * DAY,) * 2)
    return new


def published_with(encoder: str, audit: AuditReference) -> None:
    """Make a published audit one that used an encoder."""
    (path,) = Path(audit.audit_url).parents[1].rglob(f"_audits/*/{audit.audit_id}.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "features": encoder}))


def digest(number: int) -> str:
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def test_status(audit: AuditReference, tmp_path: Path) -> None:
    out = tmp_path / "out"
    empty = labelaudit("features", "status", "out", folder=tmp_path)
    assert (empty.code, empty.out) == (0, f"No features are stored in {out}.\n")
    first = add(out, audit.dataset, [digest(1), digest(2)], days_ago=3)
    add(out, audit.dataset, [digest(2), digest(3)])
    unfinished = first[0].parent / "half.parquet"
    unfinished.write_bytes(b"half")
    text = labelaudit("features", "status", "out", folder=tmp_path).out
    assert f"{audit.dataset}  {SPEC.key}\n  3 rows of 4 features in 2 shards, " in text
    assert "  1 shards without an index: their writer is at work, or was killed\n" in text
    (entry,) = json.loads(labelaudit("features", "status", "out", "--json", folder=tmp_path).out)["encoders"]
    assert (entry["dataset"], entry["encoder"], entry["dim"]) == (audit.dataset, SPEC.key, 4)
    assert (entry["rows"], entry["shards"], entry["unfinished"], entry["damaged"]) == (3, 2, 1, [])
    assert entry["bytes"] == sum(path.stat().st_size for path in first[0].parent.iterdir())
    assert entry["last_written"].endswith("+00:00")


def test_damage_is_shown(audit: AuditReference, tmp_path: Path) -> None:
    index, data = add(tmp_path / "out", audit.dataset, [digest(1), digest(2)])
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    command = ("features", "status", "out", "--dataset", audit.dataset)
    assert "damaged" not in labelaudit(*command, folder=tmp_path).out
    assert (
        f"damaged: The features in {data} are not used: its sha256"
        in labelaudit(*command, "--verify", folder=tmp_path).out
    )
    index.write_text("{")
    assert (
        f"damaged: The features in {index} are not used: it is not JSON." in labelaudit(*command, folder=tmp_path).out
    )


def test_prune_removes_only_what_no_audit_needs(
    audit: AuditReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    used = digest(0)
    monkeypatch.setattr("labelaudit.cli.features._used_digests", lambda *_: {SPEC.key: Strings([used])})
    needed = add(out, audit.dataset, [used, digest(1)], days_ago=90)
    recent = add(out, audit.dataset, [digest(2)], days_ago=10)
    old = add(out, audit.dataset, [digest(3)], days_ago=90)
    half = old[0].parent / "half.parquet"
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    damaged = add(out, audit.dataset, [digest(4)], days_ago=90)
    damaged[1].unlink()

    dry = labelaudit("features", "prune", "out", "--dry-run", folder=tmp_path)
    assert dry.out.startswith("Would remove 3 shards, ")
    assert all(path.exists() for path in (*old, half, damaged[0]))
    removed: list[str] = []
    remove = Store.remove
    monkeypatch.setattr(Store, "remove", lambda self, key: (removed.append(key), remove(self, key)))
    done = json.loads(labelaudit("features", "prune", "out", "--json", folder=tmp_path).out)
    assert {(shard["shard"], shard["reason"], shard["rows"]) for shard in done["shards"]} == {
        (old[0].stem, "unused", 1),
        ("half", "unfinished", 0),
        (damaged[0].stem, "damaged", 0),
    }
    assert not done["dry_run"]
    assert not any(path.exists() for path in (*old, half, damaged[0]))
    assert all(path.exists() for path in (*needed, *recent))
    places = [removed.index(str(path.relative_to(out))) for path in old]
    assert [path.suffix for path in old] == [".json", ".parquet"]
    assert places == sorted(places), "no reader finds an index without data"
    assert "Removed 1 shards" in labelaudit("features", "prune", "out", "--older-than", "5", folder=tmp_path).out


def test_prune_keeps_what_a_published_audit_has(tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet", fruit(rows=60))
    fruit_audit = publish(settings(data, tmp_path / "out", training={"epochs": 1}))
    digests = table(fruit_audit, "examples")["content_digest"].to_pylist()
    kept = add(tmp_path / "out", "fruit", [digests[0], digest(1)], days_ago=90)
    removed = add(tmp_path / "out", "fruit", [digest(1)], days_ago=90)
    published_with(SPEC.key, fruit_audit)
    assert "  used by 1 published audit\n" in labelaudit("features", "status", "out", folder=tmp_path).out
    assert labelaudit("features", "prune", "out", folder=tmp_path).code == 0
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in removed)


def test_an_encoder_that_no_audit_used_is_removed_once_all_its_shards_are_old(tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet", fruit(rows=60))
    fruit_audit = publish(settings(data, tmp_path / "out", training={"epochs": 1}))
    published_with("another-encoder", fruit_audit)
    digests = table(fruit_audit, "examples")["content_digest"].to_pylist()
    old = add(tmp_path / "out", "fruit", [digests[0]], days_ago=90)
    add(tmp_path / "out", "fruit", [digests[1]], days_ago=40)
    status = labelaudit("features", "status", "out", folder=tmp_path).out
    assert "  no published audit used it, so `labelaudit features prune` removes it 30 days after the last" in status
    kept = labelaudit("features", "prune", "out", "--older-than", "60", folder=tmp_path)
    assert kept.out == "Removed 0 shards, 0.0 MB.\n"
    dry = json.loads(labelaudit("features", "prune", "out", "--dry-run", "--json", folder=tmp_path).out)
    assert [shard["reason"] for shard in dry["shards"]] == ["unused encoder"] * 2
    assert all(path.exists() for path in old)
    assert labelaudit("features", "prune", "out", folder=tmp_path).out.startswith("Removed 2 shards, ")
    assert not list(tmp_path.rglob("_features/*/*"))


def test_a_dataset_that_does_not_exist(audit: AuditReference, tmp_path: Path) -> None:
    close = audit.dataset + "s"
    done = labelaudit("features", "status", "out", "--dataset", close, folder=tmp_path)
    assert done.code == 2
    assert f"dataset={close} does not exist. Name one of the datasets {audit.dataset!r}." in done.err
    assert f"Did you mean {audit.dataset!r}?" in done.err
    (tmp_path / "empty").mkdir()
    done = labelaudit("features", "prune", "empty", folder=tmp_path)
    assert done.code == 2
    assert f"{tmp_path / 'empty'} contains no dataset. Name the folder output.url of your audits." in done.err
