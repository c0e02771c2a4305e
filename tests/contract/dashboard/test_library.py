"""The audits below a URL, and their files in the cache: checked, limited in size, and from nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labelaudit.audits.history import AuditRecord, write_audit_record
from labelaudit.dashboard.library import Library, open_library
from labelaudit.errors import LabelauditError, StorageError
from labelaudit.schemas import CHANGES, ISSUES
from labelaudit.storage.cache import Cache
from labelaudit.storage.layout import audit_record_key, latest_key
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store
from support.dashboards import publish_small


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "audits"


@pytest.fixture
def record(output: Path) -> AuditRecord:
    return publish_small(Store(str(output)), rows=20)


def change_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_the_same_audits_from_an_output_a_dataset_and_an_audit(output: Path, record: AuditRecord) -> None:
    for url in (output, output / "dataset=pets", output / record.folder):
        library = open_library(str(url))
        assert library.datasets() == ["pets"]
        assert [audit.audit_id for audit in library.audits("pets")] == [record.audit_id]
    assert Library(str(output / "dataset=pets")).contains_verdicts
    assert not Library(str(output / record.folder)).contains_verdicts


def test_audits_are_sorted_by_time(output: Path, record: AuditRecord) -> None:
    store = Store(str(output))
    publish_small(store, version="v3", day=3, rows=8)
    publish_small(store, version="v2", day=2, rows=8)
    assert [audit.version for audit in Library(str(output)).audits("pets")] == ["v1", "v2", "v3"]


def test_an_audit_without_a_record(output: Path, record: AuditRecord) -> None:
    store = Store(str(output))
    store.remove(audit_record_key("pets", "v1", record.audit_id))
    assert Library(str(output)).audits("pets") == []
    store.write(latest_key("pets"), dump_json({"audit": record.folder}))
    found = Library(str(output)).audits("pets")
    assert [(audit.audit_id, audit.summary) for audit in found] == [(record.audit_id, record.summary)]


def test_a_url_without_audits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelauditError, match=r"There is no audit below .*dataset=friut\. Give the URL"):
        open_library(f"{tmp_path}/dataset=friut")
    with pytest.raises(LabelauditError, match=r"There is no audit below .* Give the URL that audits are published to"):
        open_library(str(tmp_path))


def test_a_damaged_record(output: Path, record: AuditRecord) -> None:
    change_json(output / audit_record_key("pets", "v1", record.audit_id), lambda value: value.pop("folder"))
    with pytest.raises(StorageError, match="is not the record of an audit: folder is missing"):
        Library(str(output)).audits("pets")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"summary": None}, r"summary is None \(Input should be .*\)"),
        ({"summary": {}}, "summary.audit_url is missing"),
        ({"deciding": []}, r"deciding is \[\] \(Input should be .*\)"),
        ({"created_at": 5}, r"created_at is 5 \(Input should be a valid string\)"),
        ({"gate": {}}, r"gate is \{\} \(Input should be a valid string\)"),
        ({"dataset": "ants"}, f"it is the record of v1/{1:012x} of 'ants'"),
    ],
)
def test_a_record_of_other_types(output: Path, record: AuditRecord, change: dict[str, Any], why: str) -> None:
    change_json(output / audit_record_key("pets", "v1", record.audit_id), lambda value: value.update(change))
    with pytest.raises(StorageError, match=rf"is not the record of an audit: {why}\. Remove it"):
        Library(str(output)).audits("pets")


@pytest.mark.parametrize(("name", "value"), [("issues", "many"), ("verdict", 5), ("notes", "one")])
def test_a_record_with_a_figure_of_another_type(output: Path, record: AuditRecord, name: str, value: Any) -> None:
    key = output / audit_record_key("pets", "v1", record.audit_id)
    change_json(key, lambda stored: stored["summary"].update({name: value}))
    with pytest.raises(StorageError, match=rf"record of an audit: summary\.{name} is {value!r} \(Input should be "):
        Library(str(output)).audits("pets")


def test_records_are_read_once(output: Path, record: AuditRecord) -> None:
    store = Store(str(output))
    library = Library(str(output))
    before = library.audits("pets")
    second = publish_small(store, version="v2", day=2, rows=8)
    after = library.audits("pets")
    assert after == [record, second]
    assert after[0] is before[0]
    write_audit_record(store, replace(record, gate="failed"))
    assert [audit.gate for audit in library.audits("pets")] == ["failed", "passed"]
    store.remove(audit_record_key("pets", "v1", record.audit_id))
    assert library.audits("pets") == [second]


def test_the_audit_of_a_url_knows_its_settings(output: Path, record: AuditRecord) -> None:
    assert Library(str(output / record.folder)).audits("pets")[0].deciding == record.deciding


def test_an_audit_without_its_manifest(output: Path, record: AuditRecord) -> None:
    change_json(output / record.folder / "manifest.json", lambda value: value.update(columns=None))
    with pytest.raises(StorageError, match="does not contain a readable audit"):
        Library(str(output / record.folder)).audits("pets")
    change_json(output / record.folder / "manifest.json", lambda value: value.pop("audit_id"))
    with pytest.raises(StorageError, match=r"is not a manifest of labelaudit \(audit_id is missing"):
        Library(str(output / record.folder)).audits("pets")


@pytest.mark.parametrize("folder", ["../outside", "/etc", "dataset=pets/../../outside"])
def test_a_record_with_a_key_outside_the_url_is_refused(output: Path, record: AuditRecord, folder: str) -> None:
    outside = output.parent / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_bytes((output / record.folder / "manifest.json").read_bytes())
    change_json(output / audit_record_key("pets", "v1", record.audit_id), lambda value: value.update(folder=folder))
    library = Library(str(output))
    with pytest.raises(StorageError, match="may lead out of"):
        library.manifest(library.audits("pets")[0])


def test_a_pointer_outside_the_url_is_refused(output: Path, record: AuditRecord) -> None:
    Store(str(output)).write(latest_key("pets"), dump_json({"audit": "../outside"}))
    with pytest.raises(StorageError, match="may lead out of"):
        Library(str(output)).audits("pets")


def test_a_manifest_with_a_key_outside_the_url_is_refused(output: Path, record: AuditRecord) -> None:
    (output.parent / "secret").write_text("secret")

    def point_out(value: dict[str, Any]) -> None:
        value["files"][0]["path"] = "../../../../secret"

    change_json(output / record.folder / "manifest.json", point_out)
    with (
        closing(Library(str(output)).open(record)) as files,
        pytest.raises(StorageError, match="may lead out of"),
    ):
        files.path("../../../../secret")


@pytest.mark.parametrize("sha256", ["../../escape", "A" * 64, "", "0" * 63])
def test_a_checksum_that_is_not_valid_is_refused(output: Path, record: AuditRecord, sha256: str) -> None:
    change_json(output / record.folder / "manifest.json", lambda value: value["files"][0].update(sha256=sha256))
    with pytest.raises(StorageError, match=r"manifest\.json is not a manifest of labelaudit"):
        Library(str(output)).manifest(record)


def test_a_published_audit_is_read_from_the_cache(output: Path, record: AuditRecord, tmp_path: Path) -> None:
    library = Library(str(output), cache=Cache(tmp_path / "cache"))
    with closing(library.open(record)) as files:
        audit = library.published(record, files)
        assert (audit.version, audit.audit_id) == ("v1", record.audit_id)
        first = audit.table("issues.parquet", ISSUES)
        (output / record.folder / "issues.parquet").unlink()
        assert audit.table("issues.parquet", ISSUES) == first
        with pytest.raises(StorageError, match=r"does not list changes\.parquet"):
            audit.table("changes.parquet", CHANGES)


def test_a_file_is_fetched_once_and_checked(output: Path, record: AuditRecord, tmp_path: Path) -> None:
    library = Library(str(output), cache=Cache(tmp_path / "cache"))
    with closing(library.open(record)) as files:
        path = files.path("issues.parquet")
        assert path is not None
        assert path.read_bytes() == (output / record.folder / "issues.parquet").read_bytes()
        assert path.is_relative_to(tmp_path / "cache")
        assert files.path("missing.parquet") is None
        assert (files.has("issues.parquet"), files.has("missing.parquet")) == (True, False)
    (output / record.folder / "issues.parquet").unlink()
    with closing(library.open(record)) as files:
        assert files.path("issues.parquet") == path


@pytest.mark.parametrize("change", [b"", b"x", b"longer"])
def test_a_file_that_was_changed_is_refused(output: Path, record: AuditRecord, change: bytes) -> None:
    path = output / record.folder / "issues.parquet"
    path.write_bytes(path.read_bytes()[: -1 if change != b"longer" else None] + change)
    with (
        closing(Library(str(output)).open(record)) as files,
        pytest.raises(StorageError, match="is not the file in its manifest"),
    ):
        files.path("issues.parquet")


def test_the_size_of_the_cache_is_limited(output: Path, record: AuditRecord, tmp_path: Path) -> None:
    library = Library(str(output), cache=Cache(tmp_path / "cache", max_bytes=2**10))
    with (
        closing(library.open(record)) as files,
        pytest.raises(StorageError, match="more than the 1,024 of the cache"),
    ):
        files.path("examples.parquet")


def test_audits_in_s3(s3: str) -> None:
    record = publish_small(Store(s3), rows=20)
    library = open_library(f"{s3}/dataset=pets")
    assert library.audits("pets") == [record]
    with closing(library.open(record)) as files:
        path = files.path("examples.parquet")
        assert path is not None
        assert path.stat().st_size > 0
