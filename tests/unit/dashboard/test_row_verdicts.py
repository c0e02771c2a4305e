"""Verdicts from the dashboard: stored at once, visible to others, undone; refused if read-only."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard.queries import Row, VerdictColumns
from labelaudit.dashboard.row_verdicts import as_columns, labeled_example, undo_verdict, verdict_on, why_undecidable
from labelaudit.errors import ReviewError, StorageError
from labelaudit.reviews import verdict_store as verdicts
from labelaudit.reviews.dataset_reviews import Reviews
from labelaudit.reviews.verdict_store import append_verdicts, read_and_compact_verdicts, read_verdicts
from labelaudit.reviews.verdicts import Answer, current
from labelaudit.schemas import Decision
from labelaudit.storage.layout import verdicts_folder
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store
from support.dashboards import publish_small, unreadable
from support.memory_store import clear_memory

ROW = Row(
    example_id="a",
    given_label="cat",
    status="scored",
    fold=0,
    predicted_label="dog",
    label_score=0.1,
    p_wrong=0.9,
    is_label_issue=True,
    p_given=0.1,
    p_predicted=0.9,
    margin=-0.8,
    file="f",
    row=0,
    content_digest="d1",
    verdict=None,
    right_label=None,
    rank=1,
    suggested_label="dog",
    was_dismissed=False,
    views_agree=None,
    input_issues=None,
    remove_reason=None,
    outlier_score=None,
    position=0.1,
)


@pytest.fixture
def store() -> Store:
    clear_memory()
    return Store("memory://decisions")


@pytest.fixture
def audit(store: Store) -> AuditRecord:
    return publish_small(store, rows=8)


def open_reviews(store: Store, *, read_only: bool = False) -> Reviews:
    reviews = Reviews(store, "pets", read_only=read_only)
    reviews.refresh()
    return reviews


def test_a_verdict_is_stored_and_visible_to_others(store: Store, audit: AuditRecord) -> None:
    ann, ben = (open_reviews(store) for _ in range(2))
    assert ben.current == {}
    verdict = verdict_on(ROW, audit, Answer(Decision.WRONG, "dog"), "ann")
    ann.add([verdict])
    assert read_verdicts(store, "pets") == [verdict]
    assert (verdict.audit_id, verdict.was_flagged, verdict.content_digest) == (audit.audit_id, True, "d1")
    ben.refresh()
    assert ann.current == ben.current == {labeled_example(ROW): verdict}
    assert as_columns(ben.current) == (["a"], ["d1"], ["cat"], ["wrong"])
    assert as_columns({}) == VerdictColumns([], [], [], [])


def test_verdicts_of_others_are_read_when_they_are_old(store: Store, audit: AuditRecord) -> None:
    ann, ben = (open_reviews(store) for _ in range(2))
    assert ben.current == {}
    ann.add([verdict_on(ROW, audit, Answer(Decision.FINE, None), "ann")])
    ben.refresh(max_age_seconds=1e9)
    assert ben.current == {}
    ben.refresh()
    assert ben.current == ann.current != {}


def test_undo_restores_the_verdict_before(store: Store, audit: AuditRecord) -> None:
    reviews = open_reviews(store)
    first = verdict_on(ROW, audit, Answer(Decision.FINE, None), "ben")
    reviews.add([first])
    second = verdict_on(ROW, audit, Answer(Decision.WRONG, "dog"), "ann")
    reviews.add([second])
    reviews.add([undo_verdict(second, first, "eve")])
    assert reviews.current[labeled_example(ROW)].verdict == Decision.FINE
    assert reviews.current[labeled_example(ROW)].reviewer == "eve"
    third = verdict_on(replace(ROW, example_id="b"), audit, Answer(Decision.AMBIGUOUS, None), "ann")
    reviews.add([third])
    reviews.add([undo_verdict(third, None, "eve")])
    assert list(reviews.current) == [labeled_example(ROW)]
    assert reviews.current == current(read_verdicts(store, "pets"))


def test_read_only_stores_nothing(store: Store, audit: AuditRecord) -> None:
    reviews = open_reviews(store, read_only=True)
    with pytest.raises(ReviewError, match="The verdict on 'a' was not stored: this dashboard is read-only"):
        reviews.add([verdict_on(ROW, audit, Answer(Decision.FINE, None), "ann")])
    assert read_verdicts(store, "pets") == []


def test_a_storage_that_cannot_be_written(tmp_path: Path, audit: AuditRecord) -> None:
    (tmp_path / "dataset=pets").mkdir()
    (tmp_path / "dataset=pets" / "_verdicts").write_bytes(b"")
    reviews = Reviews(Store(str(tmp_path)), "pets")
    with pytest.raises(StorageError, match=r"The verdict on 'a' was not stored: .*_verdicts.* then try again"):
        reviews.add([verdict_on(ROW, audit, Answer(Decision.FINE, None), "ann")])


def test_rows_that_cannot_be_decided(audit: AuditRecord) -> None:
    with pytest.raises(ReviewError, match=r"'a' does not have a label\. Label it"):
        verdict_on(replace(ROW, given_label=None), audit, Answer(Decision.FINE, None), "ann")
    with pytest.raises(ReviewError, match="Another row also has the id 'a', so a verdict could not distinguish them"):
        verdict_on(replace(ROW, status="duplicate_id"), audit, Answer(Decision.FINE, None), "ann")
    assert why_undecidable(ROW) is None


def test_a_verdict_needs_a_reviewer(audit: AuditRecord) -> None:
    with pytest.raises(ReviewError, match="Enter yours in the field Reviewer"):
        verdict_on(ROW, audit, Answer(Decision.FINE, None), "")
    with pytest.raises(ReviewError, match="Enter yours in the field Reviewer"):
        undo_verdict(verdict_on(ROW, audit, Answer(Decision.FINE, None), "ann"), None, "")


def test_an_answer_that_is_given_again(store: Store, audit: AuditRecord) -> None:
    reviews = open_reviews(store)
    assert len(reviews.add([verdict_on(ROW, audit, Answer(Decision.WRONG, "dog"), "ann")]).new) == 1
    assert reviews.add([verdict_on(ROW, audit, Answer(Decision.WRONG, "dog"), "ann")]).repeated == 1
    for answer, name in ((("wrong", "owl"), "ann"), (("fine", None), "ann"), (("wrong", "dog"), "ben")):
        given = Answer(Decision(answer[0]), answer[1])
        assert len(reviews.add([verdict_on(ROW, audit, given, name)]).new) == 1


BROKEN = [b"no json", b"\xff", b"[]", b"{}", b'{"verdicts": [{"verdict": "maybe"}]}', b'{"verdicts": 3}', b"[" * 99_999]


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_an_object_without_verdicts_is_named_and_hides_nothing(store: Store, audit: AuditRecord, data: bytes) -> None:
    reviews = open_reviews(store)
    reviews.add([verdict_on(ROW, audit, Answer(Decision.FINE, None), "ann")])
    key = f"{verdicts_folder('pets')}/broken.json"
    store.write(key, data)
    for _ in range(2):
        reviews.refresh()
        assert list(reviews.current) == [labeled_example(ROW)]
        (problem,) = reviews.problems
        assert f"{store.url_of(key)} cannot be read as verdicts: " in str(problem)
    # Repaired.
    other = verdict_on(replace(ROW, example_id="b"), audit, Answer(Decision.FINE, None), "ann")
    store.write(key, dump_json({"verdicts": [asdict(other)]}))
    reviews.refresh()
    assert reviews.problems == []
    assert len(reviews.current) == 2
    store.remove(key)
    reviews.refresh()
    assert list(reviews.current) == [labeled_example(ROW)]


@pytest.mark.parametrize("decision", [Decision.FINE, None])
def test_a_verdict_with_a_clock_ahead_can_be_replaced(
    store: Store, audit: AuditRecord, decision: Decision | None
) -> None:
    verdict = verdict_on(ROW, audit, Answer(decision, None), "bob")
    append_verdicts(store, "pets", [replace(verdict, decided_at="2030-01-01T00:00:00.000000+00:00")])
    reviews = open_reviews(store)
    early = verdict_on(ROW, audit, Answer(Decision.WRONG, "owl"), "ann")
    said = reviews.dated_now(replace(early, right_label="dog"))
    reviews.add([said])
    # What was decided before it, and is stored only now, is not the last word.
    reviews.add([early])
    assert reviews.current[labeled_example(ROW)].right_label == "dog"
    reviews.add([reviews.dated_now(undo_verdict(said, verdict, "ann"))])
    assert current(read_verdicts(store, "pets")) == reviews.current
    assert [one.verdict for one in reviews.current.values()] == ([] if decision is None else [decision])


def test_a_dashboard_reads_compacted_verdicts(
    store: Store, audit: AuditRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "LOOSE_BATCHES", 2)
    said = [verdict_on(replace(ROW, example_id=name), audit, Answer(Decision.FINE, None), "ann") for name in "abcd"]
    for one in said[:3]:
        append_verdicts(store, "pets", [one])
    read_and_compact_verdicts(store, "pets")
    reviews = open_reviews(store)
    assert list(reviews.current.values()) == said[:3]
    append_verdicts(store, "pets", said[3:])
    reviews.refresh()
    assert list(reviews.current.values()) == said
    assert reviews.problems == []


def test_a_failed_read_is_not_a_damaged_verdict(tmp_path: Path, audit: AuditRecord) -> None:
    store = Store(str(tmp_path))
    ann, ben = (open_reviews(store) for _ in range(2))
    verdict = verdict_on(ROW, audit, Answer(Decision.FINE, None), "ann")
    ann.add([verdict])
    (path,) = (tmp_path / verdicts_folder("pets")).iterdir()
    with unreadable(path.name):
        with pytest.raises(StorageError, match=path.name):
            ben.refresh()
        assert ben.current == {}
    ben.refresh()
    assert ben.current == {labeled_example(ROW): verdict}
    assert ben.problems == []
