"""A new version appears whole, once, and never changes."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.storage.store import Store
from labelaudit.versions import upload
from labelaudit.versions.discover import CLAIM, find_versions
from labelaudit.versions.upload import upload_version
from support.audits import settings, write_fruit, write_squares


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


def test_uploads_are_idempotent_and_other_content_is_refused(base: str, tmp_path: Path) -> None:
    source = write_fruit(tmp_path / "fruit.parquet")
    first = upload_version(_config(base), str(source))
    again = upload_version(_config(base), str(source))
    assert (first.is_new, again.is_new) == (True, False)
    assert again.version == first.version
    source.write_bytes(source.read_bytes() + b"more")
    with pytest.raises(DatasetError, match=r"is complete already, and its _SUCCESS does not list .*Choose another"):
        upload_version(_config(base), str(source))


def _folder(path: Path, **files: str) -> str:
    path.mkdir()
    for name, text in files.items():
        (path / f"{name}.csv").write_text(text)
    return str(path)


def _contents(base: object, url: str) -> dict[str, str]:
    """The content of a version, without its marker."""
    return {name: data.decode() for name, data in _bytes(base, url).items() if name != "_SUCCESS"}


RULES = pytest.mark.parametrize("rule", [{}, {"quiet_minutes": 5}], ids=["marker", "quiet"])


@RULES
def test_a_killed_upload_resumes(base: str, tmp_path: Path, rule: dict[str, object]) -> None:
    source = _folder(tmp_path / "source", a="1", b="2")
    upload_version(_config(base, version="v0"), source)
    store = Store(f"{base}/fruit")
    # What a killed upload of these files leaves.
    store.write("v1/_uploading.json", store.read("v0/_SUCCESS"))
    store.write("v1/a.csv", b"1")
    config = _config(base, versions=rule)
    (found,) = [found for found in find_versions(config) if found.version == "v1"]
    assert found.incomplete == ("is being uploaded, or its upload was killed" if rule else "has no _SUCCESS")
    with pytest.raises(DatasetError, match=r"Another upload of .*fruit/v1, with other files than .* or was killed"):
        upload_version(config, _folder(tmp_path / "other", a="1", c="3"))
    assert _contents(base, "fruit/v1").keys() == {"_uploading.json", "a.csv"}
    assert upload_version(config, source).is_new
    assert _contents(base, "fruit/v1") == {"a.csv": "1", "b.csv": "2"}
    assert not upload_version(config, source).is_new
    # Killed after the last file, or after the marker: nothing is missing but the end.
    store.write("v1/_uploading.json", store.read("v0/_SUCCESS"))
    if not rule:
        with pytest.raises(DatasetError, match="is complete already"):
            upload_version(config, str(tmp_path / "other"))
    assert not upload_version(config, source).is_new
    assert _contents(base, "fruit/v1") == {"a.csv": "1", "b.csv": "2"}


@RULES
@pytest.mark.parametrize(
    "files", [{"b": "other"}, {"a": "1", "b": "!"}, {"a": "1"}, {"a": "1", "b": "2", "c": "3"}, {"c": "3"}]
)
def test_a_version_never_changes(tmp_path: Path, rule: dict[str, object], files: dict[str, str]) -> None:
    config = _config(tmp_path, versions=rule)
    source = _folder(tmp_path / "source", a="1", b="2")
    assert upload_version(config, source).is_new
    before = _bytes(tmp_path, "fruit/v1")
    message = "already contains other files than" if rule else "is complete already"
    with pytest.raises(DatasetError, match=message):
        upload_version(config, _folder(tmp_path / "other", **files))
    assert _bytes(tmp_path, "fruit/v1") == before
    assert not upload_version(config, source).is_new


def test_files_of_other_publishers_are_kept(base: str, tmp_path: Path) -> None:
    """A publisher without a claim, such as Spark: its files and its empty marker must not be replaced."""
    source = _folder(tmp_path / "source", a="1", b="2")
    store = Store(f"{base}/fruit/v1")
    store.write("b.csv", b"?")
    with pytest.raises(DatasetError, match=r"v1 already contains other files than .* \(first difference: b\.csv\)"):
        upload_version(_config(base), source)
    assert _contents(base, "fruit/v1") == {"b.csv": "?"}
    store.write("_SUCCESS", b"")
    with pytest.raises(DatasetError, match="is complete already, and its _SUCCESS does not list"):
        upload_version(_config(base), source)
    assert _bytes(base, "fruit/v1") == {"b.csv": b"?", "_SUCCESS": b""}


@RULES
def test_of_two_publishers_at_once_one_wins(base: str, tmp_path: Path, rule: dict[str, object]) -> None:
    config = _config(base, versions=rule)
    contents = [{f"{part}-{number}": text for part in "abcd"} for number, text in enumerate("xyz")]
    sources = [_folder(tmp_path / str(number), **files) for number, files in enumerate(contents)]
    start = threading.Barrier(len(sources))

    def publish(source: str) -> bool:
        start.wait()
        try:
            return upload_version(config, source).is_new
        except DatasetError:
            return False

    with ThreadPoolExecutor(len(sources)) as pool:
        won = list(pool.map(publish, sources))
    assert won.count(True) == 1
    files = contents[won.index(True)]
    assert _contents(base, "fruit/v1") == {f"{name}.csv": text for name, text in files.items()}


class Ending(Store):
    """A store in which another upload ends just when its claim is read."""

    def read(self, key: str) -> bytes:
        self.remove(key)
        return super().read(key)


def test_an_upload_that_ends_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(str(tmp_path / "fruit")).write(f"v1/{CLAIM}", b"{}")
    monkeypatch.setattr(upload, "Store", Ending)
    assert upload_version(_config(tmp_path), _folder(tmp_path / "source", a="1")).is_new
    assert _contents(tmp_path, "fruit/v1") == {"a.csv": "1"}


def test_a_source_that_changes_while_it_is_uploaded(tmp_path: Path) -> None:
    source = Path(_folder(tmp_path / "source", a="1"))
    # Other text whenever it is read.
    (source / "b.csv").symlink_to("/proc/sys/kernel/random/uuid")
    with pytest.raises(DatasetError, match=r"b\.csv changed while it was uploaded\. Publish again when"):
        upload_version(_config(tmp_path), str(source))
    (source / "b.csv").unlink()
    (source / "b.csv").write_text("2")
    assert upload_version(_config(tmp_path), str(source)).is_new
    assert _contents(tmp_path, "fruit/v1") == {"a.csv": "1", "b.csv": "2"}


def test_a_source_with_a_file_named_like_the_marker(tmp_path: Path) -> None:
    source = _folder(tmp_path / "source", a="1", manifest="2")
    config = _config(tmp_path, versions={"marker": "manifest.csv"})
    with pytest.raises(ConfigError, match=r"source/manifest\.csv has the name of the file that completes .* Rename it"):
        upload_version(config, source)
    assert not (tmp_path / "fruit").exists()
    assert upload_version(_config(tmp_path), source).is_new


def test_one_file_per_version(base: str, tmp_path: Path) -> None:
    source = write_fruit(tmp_path / "fruit.parquet")
    config = _config(base, "fruit-{version}.parquet", versions={"quiet_minutes": 0})
    assert upload_version(config, str(source)).is_new
    assert not upload_version(config, str(source)).is_new
    assert Store(base).read("fruit-v1.parquet") == source.read_bytes()
    source.write_bytes(b"other")
    with pytest.raises(DatasetError, match=r"fruit-v1\.parquet exists already, with other content"):
        upload_version(config, str(source))
    with pytest.raises(DatasetError, match=r"is one file per version .*, but .* is not a file"):
        upload_version(config, str(tmp_path))


def test_without_a_marker(tmp_path: Path) -> None:
    config = _config(tmp_path, versions={"quiet_minutes": 5})
    uploaded = upload_version(config, str(write_fruit(tmp_path / "fruit.parquet")))
    assert uploaded.version.incomplete == "changed less than 5 minutes ago"
    assert set(_bytes(tmp_path, "fruit/v1")) == {"fruit.parquet"}


def test_what_cannot_be_uploaded(tmp_path: Path) -> None:
    source = str(write_fruit(tmp_path / "data" / "fruit.parquet"))
    with pytest.raises(ConfigError, match=r"contains no \{version\}, so there is no place for a new one"):
        upload_version(_config(tmp_path, "fruit"), source)
    for version in (None, "latest"):
        with pytest.raises(ConfigError, match="A new version needs a name"):
            upload_version(_config(tmp_path, version=version), source)
    with pytest.raises(ConfigError, match=r"dataset\.version 'a/b' is a path"):
        upload_version(_config(tmp_path, version="a/b"), source)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").touch()
    with pytest.raises(DatasetError, match="contains no files to upload"):
        upload_version(_config(tmp_path), str(tmp_path / "empty"))
    assert not (tmp_path / "fruit").exists()
