"""One contract for every store: memory, local disk and S3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelaudit.errors import DatasetError, StorageError
from labelaudit.storage.store import Store, open_dataset
from support.memory_store import clear_memory
from support.waiting import wait_for


@pytest.fixture(params=["memory", "local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield Store("memory://audits/here")
        clear_memory()
    elif request.param == "local":
        yield Store(str(tmp_path / "audits"))
    else:
        yield Store(f"{request.getfixturevalue('s3')}/some/prefix")


def test_what_is_written_is_read(store: Store) -> None:
    store.write("a/b=c d/é.bin", b"\0one")
    assert store.read("a/b=c d/é.bin") == b"\0one"
    assert store.size("a/b=c d/é.bin") == 4
    with store.open("a/b=c d/é.bin") as file:
        file.seek(1)
        assert file.read(2) == b"on"


def test_write_replaces(store: Store) -> None:
    store.write("key", b"a longer first value")
    store.write("key", b"second")
    assert store.read("key") == b"second"
    assert [file.path for file in store.find()] == ["key"]


def test_create_leaves_what_exists(store: Store) -> None:
    assert store.create("manifest.json", b"first") is True
    assert store.create("manifest.json", b"second") is False
    assert store.read("manifest.json") == b"first"


def test_of_many_creators_one_wins(store: Store) -> None:
    start = threading.Barrier(8)
    won: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if store.create("race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("race") == str(won[0]).encode()


def test_missing_objects(store: Store) -> None:
    assert not store.exists("nothing")
    assert store.find("nothing") == []
    store.remove("nothing")
    with pytest.raises(StorageError, match=r"Nothing is stored at .*nothing.*Check the URL"):
        store.read("nothing")
    with pytest.raises(StorageError, match="Nothing is stored at"):
        store.size("nothing")


def test_find_lists_what_another_writer_added(store: Store) -> None:
    store.write("x/1", b"1")
    assert [file.path for file in store.find("x")] == ["x/1"]
    Store(store.url).write("x/0/deep", b"22")
    assert [(file.path, file.size) for file in store.find("x")] == [("x/0/deep", 2), ("x/1", 1)]


def test_tokens_change_with_the_content(store: Store) -> None:
    store.write("data", b"one")
    before = store.find()[0].token
    time.sleep(0.01)
    store.write("data", b"two")
    assert before is not None
    assert store.find()[0].token != before


def test_remove(store: Store) -> None:
    store.write("gone", b"x")
    store.remove("gone")
    assert not store.exists("gone")


def test_url_is_what_other_tools_understand(store: Store) -> None:
    store.write("key", b"x")
    assert Store(store.url).read("key") == b"x"
    assert store.url_of("key") == f"{store.url}/key"


def test_a_dataset_is_a_folder_without_what_is_not_data(store: Store) -> None:
    for key in ("b/2.parquet", "a.parquet", "_SUCCESS", ".hidden", "b/_tmp/x.parquet", "b/.git/x"):
        store.write(key, b"x")
    files = open_dataset(store.url).files()
    assert [file.path for file in files] == [".hidden", "a.parquet", "b/.git/x", "b/2.parquet", "b/_tmp/x.parquet"]
    with open_dataset(store.url).open("a.parquet") as file:
        assert file.read() == b"x"


def test_a_dataset_is_a_single_file(store: Store) -> None:
    store.write("folder/data.csv", b"a,b\n")
    store.write("folder/other.csv", b"x")
    source = open_dataset(store.url_of("folder/data.csv"))
    assert [file.path for file in source.files()] == ["data.csv"]
    with source.open("data.csv") as file:
        assert file.read() == b"a,b\n"


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", ""])
def test_paths_stay_inside_the_dataset(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "data").mkdir()
    with pytest.raises(StorageError, match="leaves the dataset at"):
        open_dataset(str(tmp_path / "data")).open(path)


def test_a_missing_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Nothing is stored at .*none\. Check dataset\.url"):
        open_dataset(str(tmp_path / "none"))


def test_a_missing_bucket(s3: str) -> None:
    with pytest.raises(DatasetError, match=r"The bucket of s3://no-such-bucket\S* does not exist \(NoSuchBucket\)"):
        open_dataset("s3://no-such-bucket/data.parquet")


def test_access_refused(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"Access to .* was refused .*Check the credentials"):
        Store(str(tmp_path)).write("key", b"x")


def test_a_protocol_without_its_package() -> None:
    with pytest.raises(StorageError, match="needs a package that is not installed"):
        Store("gs://bucket/x")


def test_an_unknown_protocol() -> None:
    with pytest.raises(StorageError, match="nosuch"):
        Store("nosuch://bucket/x")


def test_a_killed_writer_leaves_the_old_bytes(tmp_path: Path) -> None:
    """A process that rewrites one object without pause is killed; a reader only ever sees whole values."""
    script = (
        "import sys; from labelaudit.storage.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "while True:\n"
        "    for value in (b'a', b'b'): store.write('key', value * 3_000_000)\n"
    )
    store = Store(str(tmp_path))
    for round_ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        wait_for(lambda: store.exists("key"))
        time.sleep(0.05 * (round_ + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        value = store.read("key")
        assert len(value) == 3_000_000
        assert len(set(value)) == 1
