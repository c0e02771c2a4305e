"""What may pass is tried again, within bounds, and nothing else."""

from __future__ import annotations

import hashlib
import io
import logging
import socket

import aiohttp
import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.errors import StorageError, StorageUnavailableError
from labelaudit.storage import filesystems, retries
from labelaudit.storage.lazy_file import LazyFile
from labelaudit.storage.retries import REQUEST_ATTEMPTS, retrying
from labelaudit.storage.store import Store, open_dataset
from support.faulty_proxy import NETWORK_TROUBLES, FaultyProxy, Trouble, at_random, never, once, times


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "READ_TIMEOUT_SECONDS", 0.5)


@pytest.mark.parametrize("trouble", NETWORK_TROUBLES)
def test_each_request_survives_each_trouble(s3: str, proxy: FaultyProxy, trouble: Trouble) -> None:
    store = Store(f"{s3}/x")
    store.write("old", b"old")
    for method, act in {
        "GET": lambda: store.read("old") == b"old",
        "HEAD": lambda: store.exists("old") and not store.exists("none"),
        "PUT": lambda: store.write("new", b"new") or store.read("new") == b"new",
        "DELETE": lambda: store.remove("new") or not store.exists("new"),
    }.items():
        proxy.plan = once(trouble, method)
        assert act()
        assert proxy.met[trouble] == 1, method
        proxy.met.clear()
    proxy.plan = once(trouble, "GET", "list-type=2")
    assert [file.path for file in store.find()] == ["old"]
    assert proxy.met[trouble] == 1


@pytest.mark.parametrize("trouble", NETWORK_TROUBLES)
def test_a_conditional_write_is_answered_rightly(s3: str, proxy: FaultyProxy, trouble: Trouble) -> None:
    store = Store(f"{s3}/x")
    store.require_conditional_writes()
    proxy.plan = once(trouble, "PUT")
    # Stored, or stored although the answer was lost: in both cases it is ours.
    assert store.create("record", b"ours") is True
    assert proxy.met[trouble] == 1
    proxy.plan = once(trouble, "PUT")
    assert store.create("record", b"theirs") is False
    assert store.read("record") == b"ours"


def test_a_lost_race_is_no_success(s3: str, s3_server: str, proxy: FaultyProxy) -> None:
    """The first try fails on its way, and before the second one another writer is there."""
    bucket = boto3.resource("s3", endpoint_url=s3_server).Bucket(s3.removeprefix("s3://"))
    ours = Store(f"{s3}/x")
    ours.require_conditional_writes()

    def plan(method: str, path: str) -> Trouble | None:
        if method != "PUT":
            return None
        proxy.plan = never
        bucket.put_object(Key="x/record", Body=b"theirs")
        return Trouble.RESET_BEFORE

    proxy.plan = plan
    assert ours.create("record", b"ours") is False
    assert ours.read("record") == b"theirs"


def test_a_file_is_read_through_troubles(s3: str, proxy: FaultyProxy) -> None:
    """Every fourth request fails while pyarrow reads a file in pieces, with the same rows in the end."""
    table = pa.table({"number": list(range(50_000)), "text": [f"row {number}" for number in range(50_000)]})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=1000)
    # Blocks of 5 kB, so that reading takes many requests.
    options = {"default_block_size": 5_000}
    Store(f"{s3}/data").write("rows.parquet", sink.getvalue())
    source = open_dataset(f"{s3}/data", options)
    proxy.plan = at_random(0.25, seed=1, troubles=[trouble for trouble in NETWORK_TROUBLES if trouble != Trouble.LATE])
    with source.open("rows.parquet") as file:
        groups = pq.ParquetFile(file)
        found = pa.concat_tables(groups.read_row_group(group) for group in range(groups.num_row_groups))
    assert found.equals(table)
    assert sum(proxy.met.values()) >= 5
    assert len(proxy.met) >= 4


def test_a_short_read_is_not_the_end_of_the_file() -> None:
    class Short(io.BytesIO):
        size = 10

        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(4, size or 4))

    file = LazyFile(Short(b"0123456789"), "s3://b/k", lambda function, *args: function(*args))
    with pytest.raises(StorageUnavailableError, match=r"Reading s3://b/k ended after 4 of 10 bytes\. Run the audit"):
        file.read(10)


def test_a_text_file_is_read_by_lines(s3: str, proxy: FaultyProxy) -> None:
    Store(f"{s3}/data").write("rows.csv", b"a,b\n1,2\n")
    proxy.plan = times(3, Trouble.CUT, "GET", "rows.csv")
    with open_dataset(f"{s3}/data").open("rows.csv") as file:
        assert io.TextIOWrapper(file).readlines() == ["a,b\n", "1,2\n"]
    assert proxy.met[Trouble.CUT] == 3


def test_tries_are_bounded_and_logged_once(s3: str, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(f"{s3}/x")
    proxy.plan = at_random(1.0, seed=0, troubles=[Trouble.SLOW_DOWN])
    with (
        caplog.at_level(logging.WARNING, "labelaudit"),
        pytest.raises(
            StorageUnavailableError,
            match=rf"The storage of s3://.*/x/key failed {REQUEST_ATTEMPTS} times in \d+ s\. The last error was .*"
            r"reduce your request rate.* Check the endpoint",
        ),
    ):
        store.write("key", b"x")
    assert len(proxy.requests) == REQUEST_ATTEMPTS
    assert len(caplog.records) == 1
    assert "x/key: OSError" in caplog.text
    assert f"It is retried at most {REQUEST_ATTEMPTS - 1} times." in caplog.text


def test_nothing_is_told_where_all_goes_well(s3: str, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(f"{s3}/x")
    store.write("key", b"x")
    assert store.create("record", b"x")
    assert store.read("key") == b"x"
    assert not [record for record in caplog.records if record.name.startswith("labelaudit")]


def test_what_is_permanent_is_tried_once(s3: str, proxy: FaultyProxy) -> None:
    with pytest.raises(StorageError, match="Nothing is stored at"):
        Store(f"{s3}/x").size("none")
    assert len(proxy.requests) == 2  # HEAD of the object, then the listing that makes sure


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), aiohttp.ClientPayloadError(), OSError(110, "")]
)
def test_errors_of_any_backend_are_tried_again(error: Exception, short_waits: None) -> None:
    errors = [error, error]

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert retrying("az://c/k")(work) == "done"


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError(), ValueError(), OSError(28, "full")])
def test_errors_that_stay_are_raised_at_once(error: Exception) -> None:
    attempts = retrying("az://c/k")

    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        attempts(work)
    assert attempts.statistics["attempt_number"] == 1


def test_time_is_bounded_but_a_second_try_is_made(monkeypatch: pytest.MonkeyPatch, short_waits: None) -> None:
    monkeypatch.setattr(retries, "TOTAL_SECONDS", 0.0)
    calls = []

    def work() -> None:
        calls.append(1)
        raise TimeoutError

    with pytest.raises(StorageUnavailableError, match="failed 2 times in"):
        retrying("s3://b/k")(work)
    assert len(calls) == 2


def test_an_endpoint_that_does_not_answer(
    s3: str, fresh_connections: None, short_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(StorageUnavailableError, match=r"failed 8 times .*Could not connect to the endpoint URL"):
            Store("s3://bucket/x").read("key")


def test_an_endpoint_of_no_name(
    s3: str, fresh_connections: None, short_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no-such-host.invalid")
    with pytest.raises(StorageUnavailableError, match=r"failed 8 times .*no-such-host\.invalid"):
        Store("s3://bucket/x").read("key")


@pytest.mark.parametrize("trouble", [Trouble.DAMAGED_UPLOAD, Trouble.CUT_UPLOAD])
def test_a_damaged_upload_is_sent_again(s3: str, proxy: FaultyProxy, trouble: Trouble) -> None:
    store = Store(f"{s3}/x")
    store.require_conditional_writes()
    for act in (store.write, store.create):
        proxy.plan = once(trouble, "PUT")
        proxy.met.clear()
        act(act.__name__, b"0123456789")
        assert proxy.met[trouble] == 1
        assert store.read(act.__name__) == b"0123456789"


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (Trouble.DAMAGED_UPLOAD, r"x/key was damaged in transfer: the stored bytes are not those that were written"),
        (Trouble.CUT_UPLOAD, r"x/key is incomplete: 10 bytes were written, 5 are stored\. Run the command again"),
    ],
)
def test_an_upload_that_never_arrives_whole(s3: str, proxy: FaultyProxy, trouble: Trouble, message: str) -> None:
    proxy.plan = at_random(1.0, seed=0, troubles=[trouble])
    with pytest.raises(StorageUnavailableError, match=message):
        Store(f"{s3}/x").write("key", b"0123456789")


def test_an_intact_upload_is_checked_without_reading_it(s3: str, proxy: FaultyProxy) -> None:
    Store(f"{s3}/x").write("key", b"0123456789")
    assert [method for method, _ in proxy.requests] == ["PUT", "HEAD"]


@pytest.mark.slow
def test_an_upload_in_parts_has_the_etag_of_its_parts(s3: str, proxy: FaultyProxy) -> None:
    data = hashlib.shake_256(b"").digest(2**20) * 110
    proxy.plan = once(Trouble.RESET_BEFORE, "PUT", "partNumber=2")
    store = Store(f"{s3}/x", {"config_kwargs": {"read_timeout": 60}})
    store.write("key", data)
    assert proxy.met[Trouble.RESET_BEFORE] == 1
    assert not [path for method, path in proxy.requests if method == "GET" and "key" in path]
    assert store.read("key") == data


def test_another_client_is_seen_at_once(s3: str) -> None:
    """A Store that has listed and looked before keeps nothing of it."""
    reader = Store(f"{s3}/x")
    assert reader.find() == []
    assert not reader.exists("a")
    client = boto3.client("s3")
    client.put_object(Bucket=s3.removeprefix("s3://"), Key="x/a", Body=b"1")
    assert [file.path for file in reader.find()] == ["a"]
    assert reader.exists("a")
    assert reader.size("a") == 1
    client.put_object(Bucket=s3.removeprefix("s3://"), Key="x/a", Body=b"22")
    assert reader.size("a") == 2
    assert reader.read("a") == b"22"
    client.delete_object(Bucket=s3.removeprefix("s3://"), Key="x/a")
    assert reader.find() == []
    assert not reader.exists("a")
