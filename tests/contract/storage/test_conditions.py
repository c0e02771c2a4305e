"""Stores that ignore conditional writes are noticed, and of writers at once each still learns what stands."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path

import pytest

from labelaudit.cli.doctor import examine
from labelaudit.storage import store as store_module
from labelaudit.storage.layout import CONDITIONS_PROBE
from labelaudit.storage.store import Store, clear_memory
from support.audits import settings, write_fruit
from support.faulty_proxy import FaultyProxy, Refusal


@pytest.fixture
def ignoring(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> FaultyProxy:
    proxy.drops_conditions = True
    monkeypatch.setattr(store_module, "SETTLE_SECONDS", 0.5)
    return proxy


def _probes(proxy: FaultyProxy) -> int:
    return sum(method == "PUT" and path.endswith(CONDITIONS_PROBE) for method, path in proxy.requests)


def test_the_server_of_these_tests_honours_conditions(s3: str, proxy: FaultyProxy) -> None:
    for _ in range(3):
        assert Store(f"{s3}/x").honours_conditions()
    # Asked once: the first write makes the probe, the second is refused.
    assert _probes(proxy) == 2


def test_a_probe_that_is_there_takes_one_request(s3: str, proxy: FaultyProxy) -> None:
    assert Store(f"{s3}/x").honours_conditions()
    store_module._honours_conditions.clear()
    proxy.requests.clear()
    assert Store(f"{s3}/x").create("a", b"1")
    assert _probes(proxy) == 1


def test_ignored_conditions_are_noticed(s3: str, ignoring: FaultyProxy, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "labelaudit"):
        assert not Store(f"{s3}/x").honours_conditions()
        assert not Store(f"{s3}/x").honours_conditions()
    assert caplog.text.count("ignores conditional writes: each record waits 0.5 s") == 1
    assert _probes(ignoring) == 2


def test_a_server_that_says_it_cannot(s3: str, ignoring: FaultyProxy) -> None:
    ignoring.plan = lambda method, path: Refusal(501, "NotImplemented", "If-None-Match") if method == "PUT" else None
    assert not Store(f"{s3}/x").honours_conditions()


def test_a_refusal_without_the_name_of_the_condition(s3: str, proxy: FaultyProxy) -> None:
    """Some servers answer 412 without saying which condition failed."""
    proxy.plan = lambda method, path: Refusal(412, "PreconditionFailed") if method == "PUT" else None
    assert Store(f"{s3}/x").honours_conditions()


def test_local_disk_and_memory_are_not_probed(tmp_path: Path, proxy: FaultyProxy) -> None:
    for store in (Store(str(tmp_path)), Store("memory://x")):
        assert store.honours_conditions()
        assert store.find() == []
    clear_memory()
    assert not proxy.requests


def test_reading_and_plain_writing_do_not_probe(s3: str, proxy: FaultyProxy) -> None:
    store = Store(f"{s3}/x")
    store.write("a", b"1")
    assert store.read("a") == b"1"
    assert _probes(proxy) == 0


def test_create_without_conditions(s3: str, ignoring: FaultyProxy) -> None:
    store = Store(f"{s3}/x")
    assert store.create("record", b"first") is True
    assert store.create("record", b"second") is False
    assert store.create("record", b"first") is False
    assert store.read("record") == b"first"


@pytest.mark.parametrize("seed", range(3))
def test_all_writers_agree_on_what_stands(s3: str, ignoring: FaultyProxy, seed: int) -> None:
    """Eight look at once and see nothing, so that all eight write; one of them is told that it won."""
    assert not Store(f"{s3}/x").honours_conditions()
    start = threading.Barrier(8)
    told: dict[int, bool] = {}
    seen: dict[int, bytes] = {}

    def create(number: int) -> None:
        store = Store(f"{s3}/x")
        start.wait()
        told[number] = store.create("race", b"%d" % number)
        seen[number] = store.read("race")

    ignoring.requests.clear()
    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(told.values()) == 1
    assert len(set(seen.values())) == 1
    winner = next(number for number, won in told.items() if won)
    assert seen[winner] == b"%d" % winner
    # Else this was no race.
    assert sum(method == "PUT" for method, _ in ignoring.requests) > 1


@pytest.mark.parametrize(
    ("drops", "told"), [(False, "conditional writes are honoured"), (True, r"conditional writes are IGNORED, .* 2 s")]
)
def test_doctor_tells(s3: str, proxy: FaultyProxy, tmp_path: Path, drops: bool, told: str) -> None:
    proxy.drops_conditions = drops
    findings = examine(settings(write_fruit(tmp_path / "fruit.parquet"), f"{s3}/out"), None)
    output = next(finding for finding in findings if finding.name == "output")
    assert output.ok
    assert re.search(told, output.detail)
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
