"""Large files are stored in pieces, with the checks of `Store.write`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labelaudit.errors import StorageError
from labelaudit.storage.file_on_disk import FileOnDisk, sha256_of_file
from labelaudit.storage.manifest import publish_files, read_manifest, sha256_hex
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles
from support.memory_store import clear_memory

DATA = bytes(range(256)) * 20_000


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield Store(str(tmp_path / "audits"))
        return
    yield Store("memory://audits/here")
    clear_memory()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


@pytest.mark.parametrize("is_temporary", [False, True])
def test_the_content_is_stored(store: Store, path: Path, is_temporary: bool) -> None:
    store.write("a/b", b"before")
    file = FileOnDisk.of(path, sha256_hex(DATA), is_temporary=is_temporary)
    store.write_file("a/b", file)
    assert store.read("a/b") == DATA
    assert path.exists() or is_temporary
    assert [found.path for found in store.find()] == ["a/b"]


def test_a_file_with_another_checksum_is_refused(store: Store, path: Path) -> None:
    file = FileOnDisk.of(path, sha256_hex(b"before"), is_temporary=False)
    with pytest.raises(
        StorageError, match=r"file was changed after it was written: its sha256 is .{12}…, not .{12}… as"
    ):
        store.write_file("a/b", file)
    assert not store.exists("a/b")


def test_the_manifest_names_it(store: Store, path: Path) -> None:
    file = FileOnDisk.of(path, sha256_of_file(path), is_temporary=True)
    publish_files(store, "audit=1", {"large": file, "small": b"1"}, {"dataset": "d"}, "1")
    manifest = read_manifest(store, "audit=1")
    assert manifest is not None
    assert [(entry.path, entry.bytes, entry.sha256) for entry in manifest.files] == [
        ("large", len(DATA), sha256_hex(DATA)),
        ("small", 1, sha256_hex(b"1")),
    ]


def test_temporary_files_are_removed_with_their_value(path: Path) -> None:
    files = TemporaryFiles()
    with path.open("rb") as source:
        copy = files.fetch(source)
    assert copy.read_bytes() == DATA
    assert files.new() != copy
    del files
    assert not copy.exists()
