"""Stores that ignore conditional writes are refused; of several writers at once, one wins and each learns it."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from labelaudit.cli.doctor import examine
from labelaudit.errors import StorageError
from labelaudit.pipeline.plan import prepare
from labelaudit.storage import store as store_module
from labelaudit.storage.layout import CONDITIONS_PROBE
from labelaudit.storage.store import Store
from support.audits import settings, write_fruit
from support.faulty_proxy import FaultyProxy, Refusal
from support.memory_store import clear_memory

REFUSED = r"x ignores conditional writes \(If-None-Match\), so two runs could .* Use a server that honours"


@pytest.fixture
def ignoring(proxy: FaultyProxy) -> FaultyProxy:
    proxy.drops_conditions = True
    return proxy


def _probes(proxy: FaultyProxy) -> int:
    return sum(method == "PUT" and path.endswith(CONDITIONS_PROBE) for method, path in proxy.requests)


def test_the_server_of_these_tests_honours_conditions(s3: str, proxy: FaultyProxy) -> None:
    for _ in range(3):
        Store(f"{s3}/x").require_conditional_writes()
    # Asked once: the first write makes the probe, the second is refused.
    assert _probes(proxy) == 2


def test_a_probe_that_is_there_takes_one_request(s3: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(f"{s3}/x").require_conditional_writes()
    monkeypatch.setattr(store_module, "_with_conditions", set())
    proxy.requests.clear()
    assert Store(f"{s3}/x").create("a", b"1")
    assert _probes(proxy) == 1


def test_a_server_that_ignores_conditions_is_refused(s3: str, ignoring: FaultyProxy) -> None:
    store = Store(f"{s3}/x")
    for _ in range(2):
        with pytest.raises(StorageError, match=REFUSED):
            store.create("record", b"1")
    assert _probes(ignoring) == 4
    assert [file.path for file in store.find()] == [CONDITIONS_PROBE]


def test_what_a_server_that_ignores_conditions_stores_can_be_read(s3: str, ignoring: FaultyProxy) -> None:
    store = Store(f"{s3}/x")
    store.write("record", b"1")
    assert store.create("record", b"2") is False
    assert store.read("record") == b"1"


def test_no_audit_begins_on_a_server_that_ignores_conditions(s3: str, ignoring: FaultyProxy, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="out ignores conditional writes"):
        prepare(settings(write_fruit(tmp_path / "fruit.parquet"), f"{s3}/out"))
    assert [file.path for file in Store(f"{s3}/out").find()] == [CONDITIONS_PROBE]


def test_a_server_that_says_it_cannot(s3: str, ignoring: FaultyProxy) -> None:
    ignoring.plan = lambda method, path: Refusal(501, "NotImplemented", "If-None-Match") if method == "PUT" else None
    with pytest.raises(StorageError, match=REFUSED):
        Store(f"{s3}/x").require_conditional_writes()


def test_a_refusal_without_the_name_of_the_condition(s3: str, proxy: FaultyProxy) -> None:
    """Some servers answer 412 without saying which condition failed."""
    proxy.plan = lambda method, path: Refusal(412, "PreconditionFailed") if method == "PUT" else None
    Store(f"{s3}/x").require_conditional_writes()


def test_local_disk_and_memory_are_not_probed(tmp_path: Path, proxy: FaultyProxy) -> None:
    for store in (Store(str(tmp_path)), Store("memory://x")):
        store.require_conditional_writes()
        assert store.find() == []
    clear_memory()
    assert not proxy.requests


def test_reading_and_plain_writing_do_not_probe(s3: str, proxy: FaultyProxy) -> None:
    store = Store(f"{s3}/x")
    store.write("a", b"1")
    assert store.read("a") == b"1"
    assert _probes(proxy) == 0


class Racing(Store):
    """Waits for the other writers between the look at a key and the write."""

    all_looked = threading.Barrier(8)

    def exists(self, key: str) -> bool:
        found = super().exists(key)
        self.all_looked.wait()
        return found


def test_all_writers_agree_on_what_stands(s3: str, proxy: FaultyProxy) -> None:
    """Eight look at once and see nothing, so all eight write; one of them learns that it won."""
    Store(f"{s3}/x").require_conditional_writes()
    won: dict[int, bool] = {}
    seen: dict[int, bytes] = {}

    def create(number: int) -> None:
        store = Racing(f"{s3}/x")
        won[number] = store.create("race", b"%d" % number)
        seen[number] = store.read("race")

    proxy.requests.clear()
    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (number for number, is_winner in won.items() if is_winner)
    assert set(seen.values()) == {b"%d" % winner}
    assert sum(method == "PUT" for method, _ in proxy.requests) == 8


@pytest.mark.parametrize(
    ("ignores", "message"), [(False, "conditional writes are honoured"), (True, "out ignores conditional writes")]
)
def test_doctor_reports_conditional_writes(
    s3: str, proxy: FaultyProxy, tmp_path: Path, ignores: bool, message: str
) -> None:
    proxy.drops_conditions = ignores
    findings = examine(settings(write_fruit(tmp_path / "fruit.parquet"), f"{s3}/out"), None)
    output = next(finding for finding in findings if finding.name == "output")
    assert output.ok != ignores
    assert re.search(message, output.detail)
    assert [file.path for file in Store(f"{s3}/out").find()] == [CONDITIONS_PROBE]


class Overtaken(Store):
    """Another writer is quicker, right after this one saw that nothing is there."""

    def exists(self, key: str) -> bool:
        found = super().exists(key)
        Store(self.url).write(key, b"first")
        return found


def test_create_leaves_what_another_writer_stored_a_moment_before(s3: str) -> None:
    assert Overtaken(f"{s3}/x").create("key", b"second") is False
    assert Store(f"{s3}/x").read("key") == b"first"


class Removed(Overtaken):
    """The other writer is quicker, and removes what it stored before this one looks at it."""

    def read(self, key: str) -> bytes:
        self.remove(key)
        return super().read(key)


def test_create_loses_against_another_writer_who_has_removed_its_object_since(s3: str) -> None:
    assert Removed(f"{s3}/x").create("key", b"second") is False
