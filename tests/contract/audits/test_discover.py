"""Which versions are there, which are complete, and which have no audit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from labelaudit.audit import run_audit
from labelaudit.config import AuditConfig, with_version
from labelaudit.errors import ConfigError, DatasetError, StorageError
from labelaudit.storage.store import DatasetFiles, Store, StoredFile
from labelaudit.versions.discover import (
    FoundVersion,
    announcement_of,
    choose_version,
    find_versions,
    note_announcement,
    unaudited,
)
from support.audits import InProcess, audit, settings, write_fruit


def _config(folder: Path, url: str = "fruit/{version}", **sections: object) -> AuditConfig:
    return settings(f"{folder}/{url}", folder / "audits", **sections)


def _version(folder: Path, version: str, *, marker: str | None = "_SUCCESS", age_minutes: float = 0) -> Path:
    path = write_fruit(folder / "fruit" / version / "fruit.parquet")
    if marker:
        (path.parent / marker).touch()
    then = time.time() - 60 * age_minutes
    for file in path.parent.iterdir():
        os.utime(file, (then, then))
    return path


def _seen(versions: list[FoundVersion]) -> list[tuple[str | None, str | None]]:
    return [(found.version, found.incomplete) for found in versions]


def test_versions_in_natural_order(tmp_path: Path) -> None:
    for version in ("v10", "v2", "v1.9", "v1.10"):
        _version(tmp_path, version)
    _version(tmp_path, "v11", marker=None)
    (tmp_path / "fruit" / "_tmp").mkdir()
    (tmp_path / "fruit" / "empty").mkdir()
    found = find_versions(_config(tmp_path))
    assert _seen(found) == [
        ("v1.9", None),
        ("v1.10", None),
        ("v2", None),
        ("v10", None),
        ("v11", "has no _SUCCESS"),
    ]
    assert choose_version(_config(tmp_path, dataset={"version": "latest"})).dataset.version == "v10"


def test_a_chosen_marker_is_not_data(tmp_path: Path) -> None:
    _version(tmp_path, "v1", marker="manifest.json")
    _version(tmp_path, "v2")
    config = _config(tmp_path, versions={"marker": "manifest.json"}, dataset={"version": "latest"})
    assert _seen(find_versions(config)) == [("v1", None), ("v2", "has no manifest.json")]
    assert run_audit(config, InProcess()).version == "v1"


def test_quiet_for_some_minutes(tmp_path: Path) -> None:
    _version(tmp_path, "v1", marker=None, age_minutes=31)
    _version(tmp_path, "v2", marker=None, age_minutes=29)
    config = _config(tmp_path, versions={"quiet_minutes": 30})
    assert _seen(find_versions(config)) == [("v1", None), ("v2", "changed less than 30 minutes ago")]


def test_one_file_per_version(tmp_path: Path) -> None:
    for version in ("a", "b"):
        write_fruit(tmp_path / f"fruit-{version}.parquet")
    (tmp_path / "other.parquet").touch()
    config = _config(tmp_path, "fruit-{version}.parquet", versions={"quiet_minutes": 0})
    assert _seen(find_versions(config)) == [("a", None), ("b", None)]
    with pytest.raises(ConfigError, match=r"versions\.marker is 'DONE', but .* is a single file, which cannot have a"):
        find_versions(_config(tmp_path, "fruit-{version}.parquet", versions={"marker": "DONE"}))


def test_a_folder_of_a_template_below_the_version(tmp_path: Path) -> None:
    write_fruit(tmp_path / "data" / "v=1" / "train" / "fruit.parquet")
    (tmp_path / "data" / "v=1" / "train" / "_SUCCESS").touch()
    (tmp_path / "data" / "v=2").mkdir()
    config = _config(tmp_path, "{name}/v={version}/train", dataset={"name": "data"})
    assert _seen(find_versions(config)) == [("1", None)]
    with pytest.raises(ConfigError, match=r"contains \{name\}, but dataset.name is not set"):
        find_versions(_config(tmp_path, "{name}/{version}"))


def test_a_whole_prefix_is_a_version_by_its_content(tmp_path: Path) -> None:
    path = _version(tmp_path, "now", marker=None, age_minutes=11)
    config = _config(tmp_path, "fruit/now")
    (first,) = find_versions(config)
    assert (first.version, first.incomplete) == (None, None)
    os.utime(path)
    (second,) = find_versions(config)
    assert second.state != first.state
    assert second.incomplete == "changed less than 10 minutes ago"
    marked = _config(tmp_path, "fruit/now", versions={"marker": "DONE"})
    (path.parent / "DONE").touch()
    assert _seen(find_versions(marked)) == [(None, None)]
    later = time.time() + 5
    os.utime(path, (later, later))
    assert _seen(find_versions(marked)) == [(None, "changed after its DONE was written")]
    (path.parent / "DONE").unlink()
    os.utime(path, (earlier := time.time() - 700, earlier))
    assert choose_version(_config(tmp_path, "fruit/now", dataset={"version": "latest"})).dataset.version is None


def test_nothing_is_there(tmp_path: Path) -> None:
    assert find_versions(_config(tmp_path)) == []
    assert find_versions(_config(tmp_path, "none")) == []
    with pytest.raises(DatasetError, match=r"No version below .* is complete\. A version .* it contains _SUCCESS"):
        choose_version(_config(tmp_path, dataset={"version": "latest"}))
    with pytest.raises(DatasetError, match="none of its files changed for 3 minutes"):
        choose_version(_config(tmp_path, dataset={"version": "latest"}, versions={"quiet_minutes": 3}))


def test_an_audited_version_is_not_found_again(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        _version(tmp_path, version)
    _version(tmp_path, "v3", marker=None)
    config = _config(tmp_path)
    assert [found.version for found in unaudited(config, find_versions(config))] == ["v1", "v2"]
    reference = audit(_config(tmp_path, dataset={"version": "v1"}))
    assert [found.version for found in unaudited(config, find_versions(config))] == ["v2"]
    # The same version with other files, and an audit that was removed, are not audited.
    write_fruit(tmp_path / "fruit" / "v1" / "more.parquet")
    assert [found.version for found in unaudited(config, find_versions(config))] == ["v1", "v2"]
    (tmp_path / "fruit" / "v1" / "more.parquet").unlink()
    (Path(reference.audit_url) / "manifest.json").unlink()
    assert [found.version for found in unaudited(config, find_versions(config))] == ["v1", "v2"]
    # An audit that is found again, with the record of it lost, is noted again.
    again = audit(_config(tmp_path, dataset={"version": "v1"}))
    for record in (tmp_path / "audits").rglob("_audited/*.json"):
        record.unlink()
    assert audit(_config(tmp_path, dataset={"version": "v1"})).status == "already_published"
    assert again.audit_id == reference.audit_id
    assert [found.version for found in unaudited(config, find_versions(config))] == ["v2"]


def test_announcements_are_remembered(tmp_path: Path) -> None:
    _version(tmp_path, "v1")
    config = _config(tmp_path)
    (found,) = find_versions(config)
    assert announcement_of(config, found) is None
    note_announcement(config, found, "an-id", 2)
    noted = announcement_of(config, found)
    assert noted is not None
    assert (noted.event_id, noted.number) == ("an-id", 2)
    assert 0 <= noted.age_seconds() < 60


@pytest.mark.parametrize(
    ("token", "modified", "versions", "message"),
    [
        (None, None, {"quiet_minutes": 1}, "reports neither ETags nor modification times"),
        ("etag", None, {"quiet_minutes": 1}, r"reports no modification times, .* Set versions\.marker"),
    ],
)
def test_storage_without_times(tmp_path: Path, monkeypatch, token, modified, versions, message) -> None:  # type: ignore[no-untyped-def]
    _version(tmp_path, "v1")
    # No such storage is available, so the test imitates its answer.
    monkeypatch.setattr(DatasetFiles, "files", lambda self: [StoredFile("a.parquet", 1, token, modified)])
    with pytest.raises(StorageError, match=message):
        find_versions(_config(tmp_path, versions=versions))


def test_a_version_that_is_not_complete_is_refused(tmp_path: Path) -> None:
    _version(tmp_path, "v1", marker=None)
    named = {"dataset": {"version": "v1"}}
    marked = _config(tmp_path, versions={"marker": "DONE"}, **named)
    with pytest.raises(DatasetError, match=r"fruit/v1 is not complete: it has no DONE\. .* if it contains DONE"):
        run_audit(marked, InProcess())
    quiet = _config(tmp_path, versions={"quiet_minutes": 3}, **named)
    with pytest.raises(DatasetError, match=r"it changed less than 3 minutes ago\. .* none of its files changed for 3"):
        run_audit(quiet, InProcess())
    # The content at the URL: by default it must be unchanged for ten minutes.
    with pytest.raises(DatasetError, match="it changed less than 10 minutes ago"):
        choose_version(_config(tmp_path, "fruit/v1", dataset={"version": "latest"}))
    assert not (tmp_path / "audits").exists()
    (tmp_path / "fruit" / "v1" / "DONE").touch()
    assert choose_version(marked) == marked
    # Without such a setting, a version that is named is audited as it is.
    for config in (_config(tmp_path, **named), _config(tmp_path, "fruit/v1")):
        assert choose_version(config) == config


def test_a_file_next_to_the_versions_is_not_a_version(tmp_path: Path) -> None:
    _version(tmp_path, "v1", age_minutes=60)
    (tmp_path / "fruit" / "versions.md").write_text("v1: the first")
    (tmp_path / "fruit" / "v\x01").mkdir()
    os.utime(tmp_path / "fruit" / "versions.md", (0, 0))
    latest = {"version": "latest"}
    for url, rule in (
        ("fruit/{version}", {"marker": "_SUCCESS"}),
        ("fruit/{version}/", {}),
        ("fruit/{version}/", {"quiet_minutes": 5}),
    ):
        config = _config(tmp_path, url, versions=rule, dataset=latest)
        assert _seen(find_versions(config)) == [("v1", None)]
        assert choose_version(config).dataset.version == "v1"


def test_folders_in_s3(s3: str) -> None:
    store = Store(s3)
    for key in ("fruit/versions.md", "fruit/v1/a.csv", "fruit/v1/_SUCCESS"):
        store.write(key, b"a,label\n1,2\n")
    config = settings(f"{s3}/fruit/{{version}}", f"{s3}/audits", versions={"marker": "_SUCCESS"})
    assert _seen(find_versions(config)) == [("v1", None)]


@pytest.mark.parametrize("version", ["", "..", "a\nb"])
def test_a_version_needs_a_name(tmp_path: Path, version: str) -> None:
    with pytest.raises(ConfigError, match=r"The version .* cannot be used:\n  version: Must be printable"):
        with_version(_config(tmp_path), version)
