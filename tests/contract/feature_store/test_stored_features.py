"""The feature store: round trips, writers at once, writes that fail, damage, and storage in S3."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import StorageError, StorageUnavailableError
from labelaudit.feature_store.stored_features import FeatureStore
from labelaudit.storage import store as store_module
from labelaudit.storage.store import Store
from labelaudit.storage.uploads import complete_file
from labelaudit.strings import Strings
from support.memory_store import clear_memory
from support.tiny_encoder import DIM, tiny_spec

SPEC = tiny_spec()


def digests(*numbers: int) -> Strings:
    return Strings(hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest() for number in numbers)


def features(*numbers: int) -> np.ndarray:
    """Return the right features of each number, (n, 4) float16."""
    return np.array(numbers, np.float16).reshape(-1, 1) + np.arange(DIM, dtype=np.float16) / 8


def opened(url: object, dim: int = DIM) -> FeatureStore:
    return FeatureStore(Store(str(url)), "fruit", tiny_spec(dim=dim))


def add(store: FeatureStore, *numbers: int) -> None:
    store.add(digests(*numbers), features(*numbers))


def check_never_wrong(store: FeatureStore, *numbers: int) -> list[int]:
    """Check that what is found is right and the rest untouched, and return the numbers that are found."""
    out = np.full((len(numbers), DIM), -1, np.float16)
    found = store.read_into(digests(*numbers), out)
    np.testing.assert_array_equal(out[found], features(*numbers)[found])
    assert (out[~found] == -1).all()
    assert store.are_stored(digests(*numbers)).tolist() == found.tolist(), "what cannot be read is not stored"
    return [number for number, is_found in zip(numbers, found, strict=True) if is_found]


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.rglob(f"dataset=fruit/_features/{SPEC.key}/*{suffix}"))


@given(st.lists(st.sets(st.integers(0, 30), max_size=12), max_size=5), st.lists(st.integers(0, 40), max_size=20))
def test_any_sets_of_contents_round_trip(shards: list[set[int]], wanted: list[int]) -> None:
    clear_memory()
    for shard in shards:
        add(opened("memory://out"), *sorted(shard, key=str))
    stored = set().union(*shards)
    assert check_never_wrong(opened("memory://out"), *wanted) == [number for number in wanted if number in stored]


@given(st.lists(st.sets(st.integers(0, 20), min_size=1, max_size=9), max_size=5), st.sets(st.integers(0, 30)))
def test_shards_that_are_added_later_change_nothing_for_a_choice(shards: list[set[int]], wanted: set[int]) -> None:
    def add_with_values(value: int, shard: set[int]) -> None:
        opened("memory://out").add(digests(*shard), np.full((len(shard), DIM), value, np.float16))

    def read(store: FeatureStore) -> np.ndarray:
        out = np.full((len(wanted), DIM), -1, np.float16)
        store.read_into(digests(*wanted), out)
        return out

    clear_memory()
    for value, shard in enumerate(shards):
        add_with_values(value, shard)
    before, chosen = read(opened("memory://out")), opened("memory://out").shards_of(digests(*wanted))
    assert list(chosen) == sorted(chosen)
    for value in range(3):
        add_with_values(10 + value, {*range(40)})
    later = FeatureStore(Store("memory://out"), "fruit", SPEC, only=chosen)
    np.testing.assert_array_equal(read(later), before)


def test_rows_go_where_the_caller_wants(tmp_path: Path) -> None:
    add(opened(tmp_path), 1, 2)
    add(opened(tmp_path), 3)
    out = np.zeros((6, DIM), np.float16)
    found = opened(tmp_path).read_into(digests(3, 1, 9, 1), out, np.array([5, 0, 3, 2]))
    assert found.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(out[[5, 0, 2]], features(3, 1, 1))
    assert not out[[1, 3, 4]].any()


def test_the_order_of_rows_does_not_change_the_files(tmp_path: Path) -> None:
    add(opened(tmp_path / "a"), 1, 2, 3)
    add(opened(tmp_path / "b"), 3, 1, 2)
    names = [[path.name for path in (tmp_path / folder).rglob("*.*")] for folder in "ab"]
    assert sorted(names[0]) == sorted(names[1])
    assert files(tmp_path / "a", ".parquet")[0].read_bytes() == files(tmp_path / "b", ".parquet")[0].read_bytes()


def test_a_shard_that_is_stored_is_not_written_again(tmp_path: Path) -> None:
    add(opened(tmp_path), 1, 2)
    before = files(tmp_path, "")[0].stat().st_mtime_ns
    add(opened(tmp_path), 2, 1)
    assert files(tmp_path, "")[0].stat().st_mtime_ns == before
    assert len(files(tmp_path, "")) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (features(1), r"2 contents need features of shape \(2, 4\) and type float16, not \(1, 4\)"),
        (features(1, 2).astype(np.float32), r"not \(2, 4\) and float32"),
    ],
)
def test_features_of_another_shape_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(tmp_path).add(digests(1, 2), values)


def test_contents_that_repeat_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="A content digest repeats"):
        opened(tmp_path).add(digests(1, 1), features(1, 1))


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    shards = [range(start, start + 7) for start in range(0, 60, 3)] * 2  # they overlap, and each is written twice
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda shard: add(opened(tmp_path), *shard), shards))
    assert check_never_wrong(opened(tmp_path), *range(70)) == list(range(64))
    assert len(files(tmp_path, ".parquet")) == len(files(tmp_path, ".json")) == len(shards) / 2


class Interleaved:
    """Writes of several stores, made one by one in any order."""

    def __init__(self, shards: list[set[int]]) -> None:
        self.queues: list[list[tuple[str, bytes]]] = []
        for shard in shards:
            writes: list[tuple[str, bytes]] = []
            store = Store("memory://out")
            store.write = lambda key, data, writes=writes: writes.append((key, data))  # type: ignore[method-assign]
            FeatureStore(store, "fruit", SPEC).add(digests(*shard), features(*shard))
            self.queues.append(writes)

    def step(self, writer: int) -> None:
        if self.queues[writer]:
            Store("memory://out").write(*self.queues[writer].pop(0))


@given(
    st.lists(st.sets(st.integers(0, 9), min_size=1, max_size=4), min_size=2, max_size=4),
    st.lists(st.integers(0, 3), max_size=12),
)
def test_any_order_of_writes_is_right_at_each_moment(shards: list[set[int]], steps: list[int]) -> None:
    clear_memory()
    writers = Interleaved(shards)
    for step in steps:
        if step < len(shards):
            writers.step(step)
        complete = set().union(*(shard for shard, left in zip(shards, writers.queues, strict=True) if not left))
        store = opened("memory://out")
        assert set(check_never_wrong(store, *range(10))) == complete
        assert store.notes == ()


def test_each_write_fails_once_or_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for fails_at in (1, 2):
        writes: list[str] = []
        folder = tmp_path / str(fails_at)

        @contextmanager
        def failing(path: str, data: bytes, writes: list[str] = writes, fails_at: int = fails_at) -> Iterator[str]:
            writes.append(path)
            if len(writes) == fails_at:
                raise OSError(errno.ENOSPC, "No space left on device", path)
            with complete_file(path, data) as complete:
                yield complete

        monkeypatch.setattr(store_module, "complete_file", failing)
        with pytest.raises(StorageError, match="No space left on device"):
            add(opened(folder), 1, 2)
        store = opened(folder)
        assert check_never_wrong(store, 1, 2) == []
        assert store.notes == (), "a writer that was killed is no damage"
        add(opened(folder), 1, 2)
        assert check_never_wrong(opened(folder), 1, 2) == [1, 2]
        assert [Path(path).suffix for path in writes][-2:] == [".parquet", ".json"], "the data is first"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_index(folder: Path, **changes: object) -> None:
    (path,) = files(folder, ".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES = {
    "flipped data": (lambda folder: flip(files(folder, ".parquet")[0]), r"\.parquet are not used: its sha256 is "),
    "cut data": (
        lambda folder: files(folder, ".parquet")[0].write_bytes(b"PAR1"),
        r"\.parquet are not used: it has 4 bytes, not [\d,]+ as recorded\.",
    ),
    "no data": (lambda folder: files(folder, ".parquet")[0].unlink(), r"\.parquet are not used: it is missing\."),
    "cut index": (lambda folder: files(folder, ".json")[0].write_text("{"), r"\.json are not used: it is not JSON\."),
    "list": (lambda folder: files(folder, ".json")[0].write_text("[]"), r"not used: it is not a JSON object\."),
    "no rows": (lambda folder: change_index(folder, rows="x"), r"not used: rows is 'x'"),
    "release": (lambda folder: change_index(folder, schema_version="9"), r"its schema version is 9, not 1\."),
    "encoder": (lambda folder: change_index(folder, encoder="other"), r"it belongs to the encoder other\."),
    "dimension": (lambda folder: change_index(folder, dim=3), r"its features have 3 values, not 4\."),
    "name": (lambda folder: change_index(folder, sha256="0" * 64), r"its name or its number of rows does not fit"),
    "digests": (
        lambda folder: change_index(folder, digests=sorted(digests(1, 8))),
        r"its digests are not those of its index\.",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_stored_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(opened(tmp_path), 1, 2)
    apply, message = DAMAGES[damage]
    apply(tmp_path)
    store = opened(tmp_path)
    out = np.full((2, DIM), -1, np.float16)
    assert not store.read_into(digests(1, 2), out).any()
    assert (out == -1).all()
    (note,) = store.notes
    assert note.startswith(f"The features in {files(tmp_path, '')[0].parent}")
    assert re.search(message, note)
    assert f"{note} Their rows are encoded again." in caplog.text
    assert check_never_wrong(store, 1, 2) == []
    add(store, 1, 2)
    assert check_never_wrong(store, 1, 2) == [1, 2]
    assert check_never_wrong(opened(tmp_path), 1, 2) == [1, 2], "the same bytes repair the shard"


def test_a_file_that_is_not_of_features_is_named(tmp_path: Path) -> None:
    add(opened(tmp_path), 1, 2)
    data = b"not Parquet"
    sha256 = hashlib.sha256(data).hexdigest()
    folder = files(tmp_path, "")[0].parent
    index = {**json.loads(files(tmp_path, ".json")[0].read_text()), "sha256": sha256, "size": len(data)}
    (folder / f"{sha256[:32]}.parquet").write_bytes(data)
    (folder / f"{sha256[:32]}.json").write_text(json.dumps(index))
    store = opened(tmp_path)
    assert check_never_wrong_after_reading(store) == [1, 2]
    assert all("it is not a file of features" in note for note in store.notes)


def check_never_wrong_after_reading(store: FeatureStore) -> list[int]:
    store.read_into(digests(1, 2), np.zeros((2, DIM), np.float16))
    return check_never_wrong(store, 1, 2)


def test_another_dimension_under_the_same_name_is_not_used(tmp_path: Path) -> None:
    add(opened(tmp_path), 1, 2)
    store = FeatureStore(Store(str(tmp_path)), "fruit", SPEC)
    object.__setattr__(store, "_dim", 5)  # a key stands for a dimension, so no spec has the same key and another one
    assert not store.are_stored(digests(1, 2)).any()
    assert "its features have 4 values, not 5" in store.notes[0]


def test_a_damaged_shard_does_not_hide_a_good_one(tmp_path: Path) -> None:
    add(opened(tmp_path), 1, 2, 3)
    add(opened(tmp_path), 2, 4)
    flip(files(tmp_path, ".parquet")[0])
    out = np.zeros((4, DIM), np.float16)
    found = opened(tmp_path).read_into(digests(1, 2, 3, 4), out)
    assert found[1], "the other shard has it"
    np.testing.assert_array_equal(out[found], features(*np.arange(1, 5)[found]))
    assert found.sum() in (2, 3)


def test_a_store_that_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(opened(tmp_path), 1)

    def fails(self: Store, key: str) -> bytes:
        raise StorageUnavailableError(f"{key} did not answer. Try again.")

    monkeypatch.setattr(Store, "read", fails)
    with pytest.raises(StorageUnavailableError, match="did not answer"):
        opened(tmp_path).are_stored(digests(1))


def test_an_object_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(opened(tmp_path), 1)

    def refused(self: Store, key: str) -> bytes:
        raise StorageError("access denied")

    monkeypatch.setattr(Store, "read", refused)
    store = opened(tmp_path)
    assert not store.are_stored(digests(1)).any()
    assert store.notes[0].endswith(".json are not used: it cannot be read (access denied).")


def test_an_index_that_is_removed_after_the_listing_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(opened(tmp_path), 1)
    find = Store.find

    def find_then_prune(self: Store, prefix: str = "") -> object:
        found = find(self, prefix)
        for file in files(tmp_path, ""):
            file.unlink()
        return found

    monkeypatch.setattr(Store, "find", find_then_prune)
    store = opened(tmp_path)
    assert not store.are_stored(digests(1)).any()
    assert store.notes == ()


def test_a_process_reads_each_index_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(opened(tmp_path), 1)
    add(opened(tmp_path), 2)
    read = Store.read
    keys: list[str] = []

    def recorded(self: Store, key: str) -> bytes:
        keys.append(key)
        return read(self, key)

    monkeypatch.setattr(Store, "read", recorded)
    for number in (3, 4):
        assert opened(tmp_path).are_stored(digests(1, 2)).all()
        add(opened(tmp_path), number)
    assert opened(tmp_path).are_stored(digests(1, 2, 3, 4)).all()
    assert len(keys) == len(set(keys)) == 3, "the writer of the second shard has read the index of the first one"


def test_a_store_in_s3(s3: str) -> None:
    add(opened(s3), 1, 2)
    add(opened(s3), 2, 3)
    assert check_never_wrong(opened(s3), 1, 2, 3, 4) == [1, 2, 3]
