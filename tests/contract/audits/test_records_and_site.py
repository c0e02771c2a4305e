"""The records of all audits, and the page and table made from them: repaired, complete, the same for all."""

from __future__ import annotations

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.history import AuditRecord, read_history, write_audit_record
from labelaudit.audits.site import rebuild_site
from labelaudit.audits.work_files import parquet_bytes
from labelaudit.codec import to_record
from labelaudit.errors import StorageError
from labelaudit.report.trend import CLASS_FIGURES
from labelaudit.schemas import TREND
from labelaudit.storage.layout import audit_classes_key, dataset_page_key, latest_key, trend_key
from labelaudit.storage.manifest import read_json
from labelaudit.storage.store import Store
from support.probabilities import audit_insects, insects


@pytest.fixture
def record(tmp_path: Path) -> AuditRecord:
    """Return the record of an audit, to derive others from it."""
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
    return read_history(Store(str(tmp_path / "out")), "insects")[0]


def test_each_audit_leaves_its_record(tmp_path: Path) -> None:
    reference = audit_insects(tmp_path, "v/1", insects(wrong=(0, 10, 20)))
    (record,) = read_history(Store(str(tmp_path / "out")), "insects")
    assert (record.version, record.audit_id) == ("v/1", reference.audit_id)
    assert str(tmp_path / "out" / record.folder) == reference.audit_url
    assert to_record(record.summary) == json.loads((Path(reference.audit_url) / "summary.json").read_text())
    assert record.gate is None
    classes = pq.read_table(
        tmp_path / "out" / audit_classes_key("insects", "v/1", reference.audit_id), partitioning=None
    )
    assert classes.schema.equals(CLASS_FIGURES)
    assert sum(classes["examples"].to_pylist()) == 90
    page = (tmp_path / "out" / "dataset=insects" / "index.html").read_text()
    assert f'href="./version=v%252F1/audit={reference.audit_id}/report.html"' in page
    assert 'href="../../index.html"' in Path(reference.report_url).read_text()


def test_trend_of_all_versions(tmp_path: Path) -> None:
    first = audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
    audit_insects(tmp_path, "v2", insects(wrong=(0,)))
    again = audit_insects(tmp_path, "v2", insects(wrong=(0,)), filter_by="predicted_neq_given")
    trend = pq.read_table(tmp_path / "out" / "dataset=insects" / "trend.parquet", partitioning=None)
    assert trend.schema.equals(TREND)
    rows = trend.to_pylist()
    assert [(row["position"], row["version"], row["class_name"]) for row in rows] == [
        (position, f"v{position}", name) for position in (1, 2) for name in (None, "ant", "bee", "fly")
    ]
    assert rows[0]["audit_id"] == first.audit_id
    assert [row["label_issues"] for row in rows[:4]] == [3, *(rows[k]["label_issues"] for k in (1, 2, 3))]
    assert sum(row["label_issues"] for row in rows[1:4]) == 3
    newest = {record.audit_id for record in read_history(Store(str(tmp_path / "out")), "insects")}
    assert rows[4]["audit_id"] in newest
    assert again.audit_id in newest


def test_what_a_killed_run_left_out_is_completed(tmp_path: Path) -> None:
    """The run was killed between manifest and record, or between record and page."""
    reference = audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
    folder = tmp_path / "out" / "dataset=insects"
    complete = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for lost in (["_audits", "index.html", "trend.parquet", "latest.json"], ["index.html"], ["trend.parquet"]):
        for name in lost:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        again = audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
        assert (again.status, again.audit_url) == ("already_published", reference.audit_url)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == complete


def test_an_old_audit_that_is_found_again_is_not_the_latest(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
    audit_insects(tmp_path, "v2", insects(wrong=(0, 10)))
    latest = tmp_path / "out" / "dataset=insects" / "latest.json"
    latest.unlink()
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
    assert json.loads(latest.read_text())["version"] == "v2"


def test_nothing_is_written_if_nothing_changed(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
    folder = tmp_path / "out" / "dataset=insects"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def _record_another(store: Store, record: AuditRecord, version: str, **changes: str) -> None:
    """Write the record of another version with the classes of this one."""
    classes = store.read(audit_classes_key(record.dataset, record.version, record.audit_id))
    other = replace(record, version=version, folder=f"dataset=insects/version={version}/audit=a", **changes)
    store.write(audit_classes_key(other.dataset, other.version, other.audit_id), classes)
    write_audit_record(store, other)


class Reading(Store):
    """A store that records the keys that are read."""

    keys: list[str]

    def read(self, key: str) -> bytes:
        self.keys.append(key)
        return super().read(key)


def test_records_are_read_once_and_only_if_one_is_new(tmp_path: Path, record: AuditRecord) -> None:
    store = Reading(str(tmp_path / "out"))
    _record_another(Store(store.url), record, "v2")
    for expected in (2, 0):
        store.keys = []
        rebuild_site(store, "insects")
        for suffix in (".json", ".parquet"):
            assert sum("/_audits/" in key and key.endswith(suffix) for key in store.keys) == expected


def test_many_publishers_at_once_are_all_on_the_page(tmp_path: Path, record: AuditRecord) -> None:
    def publish(number: int) -> None:
        store = Store(str(tmp_path / "out"))
        _record_another(store, record, f"w{number:02d}", created_at=f"2100-01-01T00:00:{number:02d}+00:00")
        rebuild_site(store, "insects")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(10)))
    store = Store(str(tmp_path / "out"))
    page = store.read(dataset_page_key("insects")).decode()
    assert all(f"./version=w{number:02d}/" in page for number in range(10))
    trend = pq.read_table(io.BytesIO(store.read(trend_key("insects"))))
    assert len(set(trend["version"].to_pylist())) == 11
    assert read_json(store, latest_key("insects"))["version"] == "w09"


class Overtaken(Store):
    """A store in which another process publishes an audit just before an object is written."""

    before: str  # end of its key
    others: list[str]  # versions, one each time

    def write(self, key: str, data: bytes) -> None:
        if key.endswith(self.before) and self.others:
            other = Store(self.url)
            record = read_history(other, "insects")[0]
            number = len(self.others)
            _record_another(other, record, self.others.pop(), created_at=f"2100-01-01T00:00:{60 - number}+00:00")
            rebuild_site(other, "insects")
        super().write(key, data)


@pytest.mark.parametrize("before", ["index.html", "trend.parquet", "latest.json"])
def test_an_overtaken_publisher_leaves_nothing_older(tmp_path: Path, record: AuditRecord, before: str) -> None:
    store = Overtaken(str(tmp_path / "out"))
    store.before, store.others = before, ["w2", "w1", "w0"]
    store.remove(dataset_page_key("insects"))
    rebuild_site(store, "insects")
    page = store.read(dataset_page_key("insects")).decode()
    assert all(f"<bdi>w{number}</bdi>" in page for number in range(3))
    trend = pq.read_table(io.BytesIO(store.read(trend_key("insects"))))
    assert {"w0", "w1", "w2"} < set(trend["version"].to_pylist())
    assert read_json(store, latest_key("insects"))["version"] == "w2"


def test_the_site_in_s3(s3: str, tmp_path: Path) -> None:
    reference = audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20)), output=s3)
    second = audit_insects(tmp_path, "v2", insects(wrong=(0, 10)), output=s3)
    store = Store(s3)
    page = store.read(dataset_page_key("insects")).decode()
    for audit in (reference, second):
        assert f"{audit.audit_id}/report.html" in page
    assert json.loads(store.read(f"{second.audit_url.removeprefix(store.url + '/')}/summary.json"))["changes"]


def test_a_damaged_record_is_named(tmp_path: Path, record: AuditRecord) -> None:
    (path,) = (tmp_path / "out" / "dataset=insects" / "_audits").rglob("*.json")
    path.write_text("{")
    with pytest.raises(StorageError, match="is not JSON"):
        rebuild_site(Store(str(tmp_path / "out")), "insects")


@pytest.mark.parametrize("kind", ["not Parquet", "another table"])
def test_damaged_figures_of_classes_are_named(tmp_path: Path, record: AuditRecord, kind: str) -> None:
    store = Store(str(tmp_path / "out"))
    other = parquet_bytes(pa.table({"class_name": ["ant"]}))
    store.write(audit_classes_key("insects", "v1", record.audit_id), b"{" if kind == "not Parquet" else other)
    store.remove(dataset_page_key("insects"))
    with pytest.raises(
        StorageError, match=rf"{record.audit_id}\.parquet is not a table of figures by class \(.* Remove it and "
    ):
        rebuild_site(store, "insects")
