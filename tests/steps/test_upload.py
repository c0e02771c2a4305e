"""A new version appears whole, once, and never changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audits import settings, write_fruit, write_squares
from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.steps.discover import find_versions
from labelaudit.steps.upload import upload_version
from labelaudit.storage.store import Store


def _config(base: object, url: str = "fruit/{version}", version: str | None = "v1", **sections: object) -> AuditConfig:
    return settings(f"{base}/{url}", f"{base}/audits", dataset={"version": version}, **sections)


def _bytes(base: object, url: str) -> dict[str, bytes]:
    store = Store(f"{base}/{url}")
    return {file.path: store.read(file.path) for file in store.find()}


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "local" else str(request.getfixturevalue("s3"))


def test_a_folder_becomes_a_version(base: str, tmp_path: Path) -> None:
    source = write_squares(tmp_path / "squares", per_class=3)
    (source / ".DS_Store").touch()
    uploaded = upload_version(_config(base), str(source))
    assert (uploaded.files, uploaded.is_new) == (6, True)
    assert (uploaded.version.version, uploaded.version.incomplete) == ("v1", None)
    stored = _bytes(base, "fruit/v1")
    marker = json.loads(stored.pop("_SUCCESS"))
    assert stored == {path.relative_to(source).as_posix(): path.read_bytes() for path in source.glob("*/*.png")}
    assert [entry["path"] for entry in marker["files"]] == sorted(stored)
    assert [found.version for found in find_versions(_config(base))] == ["v1"]


def test_twice_is_once_and_other_content_is_refused(base: str, tmp_path: Path) -> None:
    source = write_fruit(tmp_path / "fruit.parquet")
    first = upload_version(_config(base), str(source))
    again = upload_version(_config(base), str(source))
    assert (first.is_new, again.is_new) == (True, False)
    assert again.version == first.version
    source.write_bytes(source.read_bytes() + b"more")
    with pytest.raises(DatasetError, match=r"fruit/v1 is complete already, with other files than .*choose another"):
        upload_version(_config(base), str(source))


def test_a_killed_upload_is_gone_on_with(base: str, tmp_path: Path) -> None:
    store = Store(f"{base}/fruit/v1")
    store.write("fruit.parquet", b"half")
    store.write("left-over.parquet", b"of another try")
    assert [found.incomplete for found in find_versions(_config(base))] == ["has no _SUCCESS"]
    source = write_fruit(tmp_path / "fruit.parquet")
    assert upload_version(_config(base), str(source)).is_new
    assert set(_bytes(base, "fruit/v1")) == {"fruit.parquet", "_SUCCESS"}


def test_one_file_per_version(base: str, tmp_path: Path) -> None:
    source = write_fruit(tmp_path / "fruit.parquet")
    config = _config(base, "fruit-{version}.parquet", versions={"quiet_minutes": 0})
    assert upload_version(config, str(source)).is_new
    assert not upload_version(config, str(source)).is_new
    assert Store(base).read("fruit-v1.parquet") == source.read_bytes()
    source.write_bytes(b"other")
    with pytest.raises(DatasetError, match=r"fruit-v1\.parquet is there already, with other content"):
        upload_version(config, str(source))
    with pytest.raises(DatasetError, match=r"names one file per version .*, but .* is not a file"):
        upload_version(config, str(tmp_path))


def test_without_a_marker(tmp_path: Path) -> None:
    config = _config(tmp_path, versions={"quiet_minutes": 5})
    uploaded = upload_version(config, str(write_fruit(tmp_path / "fruit.parquet")))
    assert uploaded.version.incomplete == "changed less than 5 minutes ago"
    assert set(_bytes(tmp_path, "fruit/v1")) == {"fruit.parquet"}


def test_what_cannot_be_uploaded(tmp_path: Path) -> None:
    source = str(write_fruit(tmp_path / "data" / "fruit.parquet"))
    with pytest.raises(ConfigError, match=r"holds no \{version\}, so there is no place for a new one"):
        upload_version(_config(tmp_path, "fruit"), source)
    for version in (None, "latest"):
        with pytest.raises(ConfigError, match="A new version needs a name"):
            upload_version(_config(tmp_path, version=version), source)
    with pytest.raises(ConfigError, match=r"dataset\.version 'a/b' is a path"):
        upload_version(_config(tmp_path, version="a/b"), source)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_hidden").touch()
    with pytest.raises(DatasetError, match="holds no files to upload"):
        upload_version(_config(tmp_path), str(tmp_path / "empty"))
    assert not (tmp_path / "fruit").exists()
