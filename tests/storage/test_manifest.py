"""Manifests: written last, never overwritten, and what they name must be there."""

from __future__ import annotations

import json

import pytest

from faulty_proxy import FaultyProxy, Trouble
from labelaudit.errors import StorageError
from labelaudit.storage.manifest import (
    digest_of,
    dump_json,
    publish,
    read_checked,
    read_json,
    read_manifest,
    sha256_hex,
)
from labelaudit.storage.store import Store


@pytest.fixture
def store(tmp_path) -> Store:  # type: ignore[no-untyped-def]
    return Store(str(tmp_path))


def test_a_published_audit_is_read_back(store: Store) -> None:
    publish(store, "audit=1", {"a.txt": b"one", "b/c.txt": b""}, {"dataset": "d"}, "1")
    manifest = read_manifest(store, "audit=1")
    assert manifest is not None
    assert manifest.audit == {"dataset": "d"}
    assert [(entry.path, entry.bytes, entry.sha256) for entry in manifest.files] == [
        ("a.txt", 3, sha256_hex(b"one")),
        ("b/c.txt", 0, sha256_hex(b"")),
    ]


def test_no_manifest_no_audit(store: Store) -> None:
    store.write("audit=1/a.txt", b"one")
    assert read_manifest(store, "audit=1") is None


def test_the_manifest_is_written_last(store: Store) -> None:
    written: list[str] = []

    class Recording(Store):
        def write(self, key: str, data: bytes) -> None:
            written.append(key)
            super().write(key, data)

        def create(self, key: str, data: bytes) -> bool:
            written.append(key)
            return super().create(key, data)

    publish(Recording(store.url), "x", {"b": b"", "a": b""}, {}, "1")
    assert written == ["x/a", "x/b", "x/manifest.json"]


def test_the_first_manifest_stands(store: Store) -> None:
    publish(store, "x", {"a": b"1"}, {"run": "first"}, "1")
    publish(store, "x", {"a": b"1"}, {"run": "second"}, "1")
    manifest = read_manifest(store, "x")
    assert manifest is not None
    assert manifest.audit == {"run": "first"}


def test_a_file_that_is_gone_or_cut_is_noticed(store: Store) -> None:
    publish(store, "x", {"a": b"123"}, {}, "1")
    store.write("x/a", b"12")
    with pytest.raises(StorageError, match="missing or has another size than the manifest"):
        read_manifest(store, "x")
    store.remove("x/a")
    with pytest.raises(StorageError, match=r"x/a is missing .* Remove .*manifest\.json and run the audit again"):
        read_manifest(store, "x")


def test_no_manifest_where_a_file_does_not_arrive_whole(s3: str, proxy: FaultyProxy) -> None:
    store = Store(f"{s3}/audits")
    proxy.plan = lambda method, path: Trouble.CUT_UPLOAD if method == "PUT" and path.endswith("/a") else None
    with pytest.raises(StorageError, match="x/a is incomplete: 3 bytes were written, 1 are stored"):
        publish(store, "x", {"a": b"123"}, {}, "1")
    assert not store.exists("x/manifest.json")


def test_changed_bytes_are_noticed(store: Store) -> None:
    store.write("a", b"changed")
    assert read_checked(store, "a", sha256_hex(b"changed")) == b"changed"
    with pytest.raises(StorageError, match="was changed after it was written"):
        read_checked(store, "a", sha256_hex(b"original"))


def test_json_that_is_none(store: Store) -> None:
    store.write("a", b"<html>")
    with pytest.raises(StorageError, match="a is not JSON"):
        read_json(store, "a")
    store.write("a", b"[1]")
    with pytest.raises(StorageError, match="holds a list where a JSON object belongs"):
        read_json(store, "a")


def test_json_is_deterministic_and_strict() -> None:
    assert dump_json({"b": 1, "a": "é"}) == dump_json({"a": "é", "b": 1})
    assert json.loads(dump_json({"a": "é"})) == {"a": "é"}
    with pytest.raises(ValueError, match="Out of range float values"):
        dump_json({"a": float("nan")})


def test_digests_tell_values_apart() -> None:
    assert digest_of(1, {"a": 2, "b": 3}) == digest_of(1, {"b": 3, "a": 2})
    assert len({digest_of("ab", "c"), digest_of("a", "bc"), digest_of(["ab", "c"]), digest_of("ab", None)}) == 4
