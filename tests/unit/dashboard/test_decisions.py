"""Decisions: stored at once, seen by others, taken back; refused where nothing may be stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard import decisions
from labelaudit.dashboard.decisions import (
    Decisions,
    as_columns,
    is_repeated,
    judged,
    undoing,
    verdict_on,
    why_undecidable,
)
from labelaudit.dashboard.queries import Row
from labelaudit.errors import ReviewError, StorageError
from labelaudit.reviews import verdict_store as verdicts
from labelaudit.reviews.verdict_store import append_verdicts, read_and_compact_verdicts, read_verdicts
from labelaudit.reviews.verdicts import newest
from labelaudit.schemas import Decision
from labelaudit.storage.layout import verdicts_folder
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store
from support.dashboards import publish_small, unreadable
from support.memory_store import clear_memory

ROW = Row(
    "a", "cat", "scored", 0, "dog", 0.1, True, 0.1, 0.9, -0.8, "f", 0, "d1", None, None, 1, "dog", 0.9, False, 0.1
)


@pytest.fixture
def store() -> Store:
    clear_memory()
    return Store("memory://decisions")


@pytest.fixture
def audit(store: Store) -> AuditRecord:
    return publish_small(store, rows=8)


@pytest.fixture(autouse=True)
def _look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "FRESH_SECONDS", -1.0)


def test_a_decision_is_stored_and_seen_by_others(store: Store, audit: AuditRecord) -> None:
    ann, ben = (Decisions(store, "pets", read_only=False) for _ in range(2))
    assert ben.holding() == {}
    verdict = verdict_on(ROW, audit, Decision.WRONG, "dog", "ann")
    ann.add(verdict)
    assert read_verdicts(store, "pets") == [verdict]
    assert (verdict.audit_id, verdict.was_flagged, verdict.content_digest) == (audit.audit_id, True, "d1")
    assert ann.holding() == ben.holding() == {judged(ROW): verdict}
    assert as_columns(ben.holding()) == (["a"], ["d1"], ["cat"], ["wrong"])
    assert as_columns({}) == ([], [], [], [])


def test_decisions_of_others_are_seen_on_demand(
    store: Store, audit: AuditRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "FRESH_SECONDS", float("inf"))
    ann, ben = (Decisions(store, "pets", read_only=False) for _ in range(2))
    assert ben.holding() == {}
    ann.add(verdict_on(ROW, audit, Decision.FINE, None, "ann"))
    assert ben.holding() == {}
    ben.expire()
    assert ben.holding() == ann.holding() != {}


def test_undo_brings_back_what_held_before(store: Store, audit: AuditRecord) -> None:
    desk = Decisions(store, "pets", read_only=False)
    first = verdict_on(ROW, audit, Decision.FINE, None, "ben")
    desk.add(first)
    second = verdict_on(ROW, audit, Decision.WRONG, "dog", "ann")
    desk.add(second)
    desk.add(undoing(second, first, "eve"))
    assert desk.holding()[judged(ROW)].verdict == Decision.FINE
    assert desk.holding()[judged(ROW)].reviewer == "eve"
    third = verdict_on(replace(ROW, example_id="b"), audit, Decision.AMBIGUOUS, None, "ann")
    desk.add(third)
    desk.add(undoing(third, None, "eve"))
    assert list(desk.holding()) == [judged(ROW)]
    assert desk.holding() == newest(read_verdicts(store, "pets"))


def test_read_only_stores_nothing(store: Store, audit: AuditRecord) -> None:
    desk = Decisions(store, "pets", read_only=True)
    with pytest.raises(ReviewError, match="The decision on 'a' was not stored: this dashboard is read-only"):
        desk.add(verdict_on(ROW, audit, Decision.FINE, None, "ann"))
    assert read_verdicts(store, "pets") == []


def test_a_storage_that_cannot_be_written(tmp_path: Path, audit: AuditRecord) -> None:
    (tmp_path / "dataset=pets").mkdir()
    (tmp_path / "dataset=pets" / "_verdicts").write_bytes(b"")
    desk = Decisions(Store(str(tmp_path)), "pets", read_only=False)
    with pytest.raises(StorageError, match=r"The decision on 'a' was not stored: .*_verdicts.* then try again"):
        desk.add(verdict_on(ROW, audit, Decision.FINE, None, "ann"))


def test_rows_that_are_not_judged(audit: AuditRecord) -> None:
    with pytest.raises(ReviewError, match="'a' has no label that could be judged"):
        verdict_on(replace(ROW, given_label=None), audit, Decision.FINE, None, "ann")
    with pytest.raises(ReviewError, match="Another row has the id 'a' too, and a decision could not tell them apart"):
        verdict_on(replace(ROW, status="duplicate_id"), audit, Decision.FINE, None, "ann")
    assert why_undecidable(ROW) is None


def test_who_decides_has_a_name(audit: AuditRecord) -> None:
    with pytest.raises(ReviewError, match="Write your name into the field Reviewer"):
        verdict_on(ROW, audit, Decision.FINE, None, "")
    with pytest.raises(ReviewError, match="Write your name into the field Reviewer"):
        undoing(verdict_on(ROW, audit, Decision.FINE, None, "ann"), None, "")


def test_a_decision_that_is_made_again(audit: AuditRecord) -> None:
    verdict = verdict_on(ROW, audit, Decision.WRONG, "dog", "ann")
    assert not is_repeated(verdict, None)
    assert is_repeated(verdict_on(ROW, audit, Decision.WRONG, "dog", "ann"), verdict)
    for other in ((Decision.WRONG, "owl", "ann"), (Decision.FINE, None, "ann"), (Decision.WRONG, "dog", "ben")):
        assert not is_repeated(verdict_on(ROW, audit, *other), verdict)


BROKEN = [b"no json", b"\xff", b"[]", b"{}", b'{"verdicts": [{"verdict": "maybe"}]}', b'{"verdicts": 3}', b"[" * 99_999]


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_what_holds_no_verdicts_is_named_and_hides_nothing(store: Store, audit: AuditRecord, data: bytes) -> None:
    desk = Decisions(store, "pets", read_only=False)
    desk.add(verdict_on(ROW, audit, Decision.FINE, None, "ann"))
    key = f"{verdicts_folder('pets')}/broken.json"
    store.write(key, data)
    for _ in range(2):
        assert list(desk.holding()) == [judged(ROW)]
        (problem,) = desk.problems()
        assert f"{store.url_of(key)} cannot be read as verdicts: " in str(problem)
    # Mended.
    other = verdict_on(replace(ROW, example_id="b"), audit, Decision.FINE, None, "ann")
    store.write(key, dump_json({"verdicts": [other.to_record()]}))
    assert desk.problems() == []
    assert len(desk.holding()) == 2
    store.remove(key)
    assert list(desk.holding()) == [judged(ROW)]


@pytest.mark.parametrize("decision", [Decision.FINE, None])
def test_a_clock_that_runs_ahead_decides_nothing_for_good(
    store: Store, audit: AuditRecord, decision: Decision | None
) -> None:
    verdict = verdict_on(ROW, audit, decision, None, "bob")
    append_verdicts(store, "pets", [replace(verdict, decided_at="2030-01-01T00:00:00.000000+00:00")])
    desk = Decisions(store, "pets", read_only=False)
    desk.holding()
    early = verdict_on(ROW, audit, Decision.WRONG, "owl", "ann")
    said = desk.later(replace(early, right_label="dog"))
    desk.add(said)
    # What was decided before it, and is stored only now, is not the last word.
    desk.add(early)
    assert desk.holding()[judged(ROW)].right_label == "dog"
    desk.add(desk.later(undoing(said, verdict, "ann")))
    assert newest(read_verdicts(store, "pets")) == desk.holding()
    assert [one.verdict for one in desk.holding().values()] == ([] if decision is None else [decision])


def test_a_dashboard_begins_with_what_is_compacted(
    store: Store, audit: AuditRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "LOOSE_BATCHES", 2)
    said = [verdict_on(replace(ROW, example_id=name), audit, Decision.FINE, None, "ann") for name in "abcd"]
    for one in said[:3]:
        append_verdicts(store, "pets", [one])
    read_and_compact_verdicts(store, "pets")
    desk = Decisions(store, "pets", read_only=False)
    assert list(desk.holding().values()) == said[:3]
    append_verdicts(store, "pets", said[3:])
    assert list(desk.holding().values()) == said
    assert desk.problems() == []


def test_a_read_that_fails_makes_no_verdict_broken(tmp_path: Path, audit: AuditRecord) -> None:
    store = Store(str(tmp_path))
    ann, ben = (Decisions(store, "pets", read_only=False) for _ in range(2))
    verdict = verdict_on(ROW, audit, Decision.FINE, None, "ann")
    ann.add(verdict)
    (path,) = (tmp_path / verdicts_folder("pets")).iterdir()
    with unreadable(path.name):
        with pytest.raises(StorageError, match=path.name):
            ben.holding()
        assert ben.known() == {}
    assert ben.known() == ben.holding() == {judged(ROW): verdict}
    assert ben.problems() == []
