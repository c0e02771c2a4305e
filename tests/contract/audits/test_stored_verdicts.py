"""Many verdicts are compacted: fewer requests, and the same verdicts even if copies are lost or damaged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3fs import S3FileSystem

from labelaudit.errors import ReviewError
from labelaudit.reviews import verdict_store as verdicts
from labelaudit.reviews.audit_review import audit_to_review
from labelaudit.reviews.files import ExportKind, export
from labelaudit.reviews.snapshot_store import take_snapshot
from labelaudit.reviews.verdict_store import (
    append_verdicts,
    read_and_compact_verdicts,
    read_verdict_batches,
    read_verdicts,
)
from labelaudit.reviews.verdicts import Verdict
from labelaudit.storage.store import Store
from support.faulty_proxy import FaultyProxy, Refusal
from support.memory_store import clear_memory
from support.reviewed import audit_insects, make_verdict

FOLDER = "dataset=insects/_verdicts"


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "LOOSE_BATCHES", 3)


@pytest.fixture
def store() -> Store:
    clear_memory()
    return Store("memory://stored-verdicts")


def decide(store: Store, *names: str) -> list[Verdict]:
    """Each an object of its own."""
    said = [make_verdict(name) for name in names]
    for one in said:
        append_verdicts(store, "insects", [one])
    return said


def compacted(store: Store) -> list[str]:
    return [file.path for file in store.find(f"{FOLDER}/compacted")]


def test_only_an_audit_compacts_verdicts(store: Store) -> None:
    said = decide(store, "i1", "i2", "i3")
    assert read_and_compact_verdicts(store, "insects") == said
    assert compacted(store) == []
    said += decide(store, "i4")
    assert read_verdicts(store, "insects") == said
    assert compacted(store) == []
    assert len(take_snapshot(store, "insects", "f").answers) == 4
    (copy,) = compacted(store)
    assert read_verdict_batches(store, "insects").loose == []
    said += decide(store, "i5", "i6", "i7")
    assert read_and_compact_verdicts(store, "insects") == said
    assert compacted(store) == [copy]
    said += decide(store, "i8")
    assert read_and_compact_verdicts(store, "insects") == said
    assert len(compacted(store)) == 2
    assert len(store.find(FOLDER)) == 8 + 2


# What happens to a folder of decisions, one after the other; the number chooses an object.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["decide", "read", "remove", "remove copy", "break copy", "cut copy"]), st.integers(0, 99)
    ),
    max_size=25,
)


@given(EVENTS, st.integers(0, 3))
def test_any_mixture_gives_the_same_verdicts(events: list[tuple[str, int]], many: int) -> None:
    clear_memory()
    store = Store("memory://mixtures")
    held: dict[str, Verdict] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "LOOSE_BATCHES", many)
        for number, (event, which) in enumerate(events):
            if event == "decide":
                verdict = make_verdict(f"i{number}")
                held[append_verdicts(store, "insects", [verdict])] = verdict
            elif event == "read":
                assert read_and_compact_verdicts(store, "insects") == [held[key] for key in sorted(held)]
            elif event == "remove" and held:
                gone = sorted(held)[which % len(held)]
                store.remove(gone)
                del held[gone]
            elif event.endswith("copy") and (copies := compacted(store)):
                _spoil(store, event, copies[which % len(copies)])
    assert read_verdicts(store, "insects") == [held[key] for key in sorted(held)]


def _spoil(store: Store, event: str, copy: str) -> None:
    if event == "remove copy":
        store.remove(copy)
    else:
        store.write(copy, b"{}" if event == "break copy" else store.read(copy)[:-5])


def test_copies_that_overlap_are_one(store: Store) -> None:
    said = decide(store, "i1", "i2", "i3", "i4")
    read_and_compact_verdicts(store, "insects")
    (first,) = compacted(store)
    data = store.read(first)
    store.remove(first)
    said += decide(store, "i5")
    read_and_compact_verdicts(store, "insects")
    # As of one who began to read before the fifth, and wrote after it.
    store.write(first, data)
    assert len(compacted(store)) == 2
    assert read_verdicts(store, "insects") == said
    assert read_verdict_batches(store, "insects").loose == []


def test_a_broken_object_is_never_compacted(store: Store) -> None:
    decide(store, "i1", "i2", "i3", "i4")
    store.write(f"{FOLDER}/broken.json", b"{")
    with pytest.raises(ReviewError, match=r"broken\.json cannot be read as verdicts"):
        read_and_compact_verdicts(store, "insects")
    assert compacted(store) == []


@pytest.fixture
def proxy(s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Between this process and the S3 server; s3fs keeps connections even if the environment changes."""
    S3FileSystem.clear_instance_cache()
    with FaultyProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
    S3FileSystem.clear_instance_cache()


def read_objects(proxy: FaultyProxy) -> list[str]:
    """Keys below the folder of verdicts that were read since the last call."""
    read = [path for method, path in proxy.requests if method == "GET" and "_verdicts/" in path.partition("?")[0]]
    proxy.requests.clear()
    return read


def test_compacted_verdicts_cost_one_request(s3: str, proxy: FaultyProxy, tmp_path: Path) -> None:
    audit = audit_to_review(audit_insects(tmp_path, s3).audit_url)
    said = decide(audit.store, "i1", "i2", "i3", "i4", "i5")
    proxy.requests.clear()
    export(audit, ExportKind.VERDICTS, "v.csv")
    assert len(read_objects(proxy)) == 5
    assert read_and_compact_verdicts(audit.store, "insects") == said
    assert len(read_objects(proxy)) == 5
    said += decide(audit.store, "i6")
    proxy.requests.clear()
    assert read_verdicts(audit.store, "insects") == said
    assert len(read_objects(proxy)) == 2
    known = read_verdict_batches(audit.store, "insects").by_key
    proxy.requests.clear()
    assert read_verdict_batches(audit.store, "insects", known).verdicts() == said
    assert read_objects(proxy) == []


def test_an_audit_continues_if_the_copy_cannot_be_stored(
    s3: str, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(s3)
    said = decide(store, "i1", "i2", "i3", "i4")
    refusal = Refusal(403, "AccessDenied", "no")
    proxy.plan = lambda method, path: refusal if method == "PUT" and "compacted" in path else None
    with caplog.at_level(logging.WARNING, logger="labelaudit.reviews.verdict_store"):
        assert read_and_compact_verdicts(store, "insects") == said
    assert "Verdicts are read one by one, because their copy was not stored: Access to" in caplog.text
