"""Manifests: written last, never overwritten, and what they name must be there."""

from __future__ import annotations

import json

import pytest

from labelaudit.errors import StorageError
from labelaudit.storage.manifest import (
    digest_of,
    dump_json,
    load_manifest,
    publish_files,
    read_checked,
    read_json,
    read_manifest,
    sha256_hex,
)
from labelaudit.storage.store import Store
from support.faulty_proxy import FaultyProxy, Trouble


@pytest.fixture
def store(tmp_path) -> Store:  # type: ignore[no-untyped-def]
    return Store(str(tmp_path))


def test_a_published_audit_is_read_back(store: Store) -> None:
    publish_files(store, "audit=1", {"a.txt": b"one", "b/c.txt": b""}, {"dataset": "d"}, "1")
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

    publish_files(Recording(store.url), "x", {"b": b"", "a": b""}, {}, "1")
    assert written == ["x/a", "x/b", "x/manifest.json"]


def test_a_published_audit_stands(store: Store) -> None:
    first = publish_files(store, "x", {"a": b"1", "b": b"2"}, {"run": "first"}, "1")
    assert publish_files(store, "x", {"a": b"other", "c": b""}, {"run": "second"}, "1") == first
    assert read_manifest(store, "x") == first
    assert (store.read("x/a"), store.exists("x/c")) == (b"1", False)


class Overtaken(Store):
    """Just before one of its objects is written, another run publishes its files."""

    before: str
    files: dict[str, bytes]

    def write(self, key: str, data: bytes) -> None:
        self._let_pass(key)
        super().write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._let_pass(key)
        return super().create(key, data)

    def _let_pass(self, key: str) -> None:
        if key == self.before:
            publish_files(Store(self.url), "x", self.files, {"run": "other"}, "1")


@pytest.mark.parametrize("before", ["x/a", "x/b", "x/manifest.json"])
def test_two_runs_at_once_with_the_same_files(store: Store, before: str) -> None:
    ours = Overtaken(store.url)
    ours.before, ours.files = before, {"a": b"1", "b": b"2"}
    manifest = publish_files(ours, "x", {"a": b"1", "b": b"2"}, {"run": "ours"}, "1")
    assert manifest == read_manifest(store, "x")
    assert manifest.audit == {"run": "other"}
    assert all(sha256_hex(store.read(f"x/{entry.path}")) == entry.sha256 for entry in manifest.files)


@pytest.mark.parametrize("before", ["x/a", "x/b", "x/manifest.json"])
def test_two_runs_at_once_with_other_files(store: Store, before: str) -> None:
    ours = Overtaken(store.url)
    ours.before, ours.files = before, {"a": b"1", "b": b"2", "d": b""}
    message = r"published .*/x at the same time, with other bytes in b, c, d\..* Remove its manifest\.json and run"
    with pytest.raises(StorageError, match=message):
        publish_files(ours, "x", {"a": b"1", "b": b"3", "c": b""}, {"run": "ours"}, "1")
    # As it says: then the audit is whole again.
    store.remove("x/manifest.json")
    again = publish_files(store, "x", {"a": b"1", "b": b"3", "c": b""}, {"run": "ours"}, "1")
    assert all(sha256_hex(store.read(f"x/{entry.path}")) == entry.sha256 for entry in again.files)


def test_many_other_files_are_not_all_named(store: Store) -> None:
    ours = Overtaken(store.url)
    ours.before, ours.files = "x/manifest.json", {f"{number}": b"1" for number in range(9)}
    with pytest.raises(StorageError, match="other bytes in 0, 1, 2, 3, 4 and 4 more"):
        publish_files(ours, "x", {}, {}, "1")


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        ({"files": []}, "schema_version"),
        ({"schema_version": "1", "dataset": "d"}, "files"),
        ({"schema_version": "1", "files": [], "dataset": "d"}, "version"),
        ({"schema_version": "1", "files": ["a.csv"]}, r"files\.0 is 'a\.csv'"),
        ({"schema_version": "1", "files": [{"path": "a.csv"}]}, r"files\.0\.bytes is missing"),
        ({"schema_version": "1", "files": 5}, "files is 5"),
        ({"schema_version": "1", "files": [{"path": "a", "bytes": 1, "sha256": "../b"}]}, "the sha256 '../b'"),
        ({"schema_version": "1", "files": [{"path": "a", "bytes": -1, "sha256": "0" * 64}]}, "'a' has -1 bytes"),
        ({"schema_version": "1", "files": [{"path": "a", "bytes": 1, "sha256": 5}]}, r"files\.0\.sha256 is 5"),
    ],
    ids=str,
)
def test_the_manifest_of_somebody_else(store: Store, manifest: object, problem: str) -> None:
    store.write("manifest.json", dump_json(manifest))
    with pytest.raises(StorageError, match=rf"manifest\.json is not a manifest of labelaudit \(.*{problem}"):
        load_manifest(store, "manifest.json", required=("dataset", "version"))


def test_a_file_that_is_gone_or_cut_is_noticed(store: Store) -> None:
    publish_files(store, "x", {"a": b"123"}, {}, "1")
    store.write("x/a", b"12")
    with pytest.raises(StorageError, match="missing or has another size than in the manifest"):
        read_manifest(store, "x")
    store.remove("x/a")
    with pytest.raises(StorageError, match=r"x/a is missing .* Remove .*manifest\.json and run the audit again"):
        read_manifest(store, "x")


def test_no_manifest_where_a_file_does_not_arrive_whole(s3: str, proxy: FaultyProxy) -> None:
    store = Store(f"{s3}/audits")
    proxy.plan = lambda method, path: Trouble.CUT_UPLOAD if method == "PUT" and path.endswith("/a") else None
    with pytest.raises(StorageError, match="x/a is incomplete: 3 bytes were written, 1 are stored"):
        publish_files(store, "x", {"a": b"123"}, {}, "1")
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
    store.write("a", b"[" * 100_000)
    with pytest.raises(StorageError, match=r"a is not JSON \(maximum recursion depth"):
        read_json(store, "a")
    store.write("a", b"[1]")
    with pytest.raises(StorageError, match="a is a list, not a JSON object"):
        read_json(store, "a")


def test_json_is_deterministic_and_strict() -> None:
    assert dump_json({"b": 1, "a": "é"}) == dump_json({"a": "é", "b": 1})
    assert json.loads(dump_json({"a": "é"})) == {"a": "é"}
    with pytest.raises(ValueError, match="Out of range float values"):
        dump_json({"a": float("nan")})


def test_digests_tell_values_apart() -> None:
    assert digest_of(1, {"a": 2, "b": 3}) == digest_of(1, {"b": 3, "a": 2})
    assert len({digest_of("ab", "c"), digest_of("a", "bc"), digest_of(["ab", "c"]), digest_of("ab", None)}) == 4
