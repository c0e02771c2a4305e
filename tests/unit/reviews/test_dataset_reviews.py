"""One rule decides which verdicts are stored, for files and for the dashboard."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ReviewError
from labelaudit.reviews.dataset_reviews import Added, Reviews, sort_new
from labelaudit.reviews.verdict_store import append_verdicts, read_verdicts
from labelaudit.reviews.verdicts import NO_ANSWER, Verdict, current, current_by_reviewer, disagreements
from labelaudit.schemas import Decision
from labelaudit.storage.layout import verdicts_folder
from labelaudit.storage.store import Store
from support.memory_store import clear_memory
from support.reviewed import make_verdict


def at(day: int) -> str:
    return f"2026-01-{day:02d}T00:00:00.000000+00:00"


@pytest.fixture
def store() -> Store:
    clear_memory()
    return Store("memory://reviews")


def reviews_of(store: Store) -> Reviews:
    reviews = Reviews(store, "insects")
    reviews.refresh()
    return reviews


def import_again(store: Store, *verdicts: Verdict) -> Added:
    reviews = reviews_of(store)
    return reviews.add(reviews.dated_as_imported(verdicts))


def decide(store: Store, verdict: Verdict) -> Added:
    reviews = reviews_of(store)
    return reviews.add([reviews.dated_now(verdict)])


def test_an_answer_that_is_current_is_not_stored_again() -> None:
    mine = make_verdict("i1", Decision.WRONG, decided_at=at(1))
    again = make_verdict("i1", Decision.WRONG, decided_at=at(3))
    assert sort_new([again], []) == Added([again])
    assert sort_new([again], [mine]) == Added([], repeated=1)
    # Another right label, another reviewer, another given label, a verdict that was taken back: all of these are new.
    for stored in (
        [make_verdict("i1", Decision.WRONG, right_label="fly")],
        [make_verdict("i1", Decision.WRONG, reviewer="bob")],
        [make_verdict("i1", Decision.WRONG, given_label="fly")],
        [make_verdict("i1", Decision.WRONG, decided_at=at(1)), make_verdict("i1", None, decided_at=at(2))],
    ):
        assert sort_new([again], stored[::-1]) == Added([again])


@pytest.mark.parametrize("theirs", [Decision.FINE, None])
def test_an_imported_answer_never_overrules_a_later_one(store: Store, theirs: Decision | None) -> None:
    mine = make_verdict("i1", Decision.WRONG, decided_at=at(1))
    stored = [mine, make_verdict("i1", theirs, reviewer="bob", decided_at=at(2))]
    append_verdicts(store, "insects", stored)
    again = make_verdict("i1", Decision.WRONG, decided_at=at(3))
    for _ in range(2):
        assert import_again(store, again) == Added([], overruled=1)
    assert read_verdicts(store, "insects") == stored


@pytest.mark.parametrize("theirs", [Decision.FINE, None])
def test_a_reviewer_who_decides_again_overrules_a_later_answer(store: Store, theirs: Decision | None) -> None:
    mine = make_verdict("i1", Decision.WRONG, decided_at=at(1))
    append_verdicts(store, "insects", [mine, make_verdict("i1", theirs, reviewer="bob", decided_at=at(2))])
    again = make_verdict("i1", Decision.WRONG, decided_at=at(3))
    assert decide(store, again) == Added([again])
    # The same click, or a retry, stores nothing more.
    assert reviews_of(store).add([again]) == Added([], repeated=1)
    assert list(reviews_of(store).current.values()) == [again]


def test_an_answer_with_which_others_agreed_is_current(store: Store) -> None:
    agreeing = make_verdict("i1", Decision.WRONG, reviewer="bob", decided_at=at(2))
    append_verdicts(store, "insects", [make_verdict("i1", Decision.WRONG, decided_at=at(1)), agreeing])
    again = make_verdict("i1", Decision.WRONG, decided_at=at(3))
    assert import_again(store, again) == decide(store, again) == Added([], repeated=1)


def test_a_reviewer_who_changed_the_answer_says_something_new(store: Store) -> None:
    changed = [make_verdict("i1", Decision.WRONG, decided_at=at(1)), make_verdict("i1", decided_at=at(2))]
    append_verdicts(store, "insects", changed)
    again = make_verdict("i1", Decision.WRONG, decided_at=at(3))
    assert import_again(store, again) == Added([again])


def test_taking_back_what_is_not_current_is_nothing_new() -> None:
    back = make_verdict("i1", None, decided_at=at(3))
    assert sort_new([back], []) == Added([], repeated=1)
    assert sort_new([back], [make_verdict("i1", reviewer="bob")]) == Added([back])
    assert sort_new([back], [make_verdict("i1"), make_verdict("i1", None, decided_at=at(2))]) == Added([], repeated=1)


@pytest.mark.parametrize("theirs", [Decision.FINE, None])
def test_a_new_verdict_is_later_than_the_one_it_replaces(store: Store, theirs: Decision | None) -> None:
    ahead = make_verdict("i1", theirs, reviewer="bob", decided_at="2030-01-01T00:00:00.000000+00:00")
    append_verdicts(store, "insects", [ahead])
    given_early = make_verdict("i1", Decision.WRONG, decided_at=at(1))
    (new,) = import_again(store, given_early).new
    assert new == replace(given_early, decided_at="2030-01-01T00:00:00.000001+00:00")
    assert list(current([ahead, new]).values()) == [new]


VERDICTS = st.builds(
    make_verdict,
    st.sampled_from(["i1", "i2"]),
    st.sampled_from([*Decision, None]),
    given_label=st.sampled_from(["bee", "fly"]),
    reviewer=st.sampled_from(["ann", "bob"]),
    decided_at=st.sampled_from([at(day) for day in (1, 2, 3)]),
)


@given(st.lists(VERDICTS, max_size=6), st.lists(VERDICTS, max_size=4))
def test_adding_is_idempotent_and_loses_nothing(stored: list[Verdict], given_now: list[Verdict]) -> None:
    """A second import changes nothing, and after a decision its answer is the reviewer's and the current one."""
    clear_memory()
    store = Store("memory://reviews")
    append_verdicts(store, "insects", stored)
    file = list({verdict.example.content: replace(verdict, reviewer="ann") for verdict in given_now}.values())
    import_again(store, *file)
    before = read_verdicts(store, "insects")
    assert import_again(store, *file).new == []
    assert read_verdicts(store, "insects") == before
    for verdict in given_now:
        decide(store, verdict)
        found = read_verdicts(store, "insects")
        newest = current(found).get(verdict.example)
        assert (newest.answer if newest else NO_ANSWER) == verdict.answer
        if verdict.verdict is not None:
            assert current_by_reviewer(found)[verdict.reviewer][verdict.example].answer == verdict.answer
        assert decide(store, verdict).new == []


def test_a_removal_is_known_under_a_new_label(store: Store) -> None:
    removal = make_verdict("i1", Decision.REMOVE, decided_at=at(1))
    append_verdicts(store, "insects", [removal])
    relabeled = make_verdict("i1", Decision.REMOVE, given_label="fly", decided_at=at(2))
    assert import_again(store, relabeled) == Added([], repeated=1)
    other_reason = replace(relabeled, remove_reason="private")
    assert import_again(store, other_reason).new == [other_reason]
    # Taken back under the new label, it no longer applies under the old one.
    back = make_verdict("i1", None, given_label="fly", reviewer="bob", decided_at=at(3))
    assert decide(store, back).new == [back]
    assert dict(reviews_of(store).current) == {}


def test_a_broken_object_hides_no_other(store: Store) -> None:
    append_verdicts(store, "insects", [make_verdict("i1")])
    store.write(f"{verdicts_folder('insects')}/broken.json", b"{")
    reviews = reviews_of(store)
    assert [example.example_id for example in reviews.current] == ["i1"]
    (problem,) = reviews.problems
    assert isinstance(problem, ReviewError)


def test_reviewers_disagree_by_their_current_verdicts() -> None:
    ann = make_verdict("i1", Decision.WRONG, decided_at="2026-01-01")
    bob = make_verdict("i1", Decision.FINE, reviewer="bob", decided_at="2026-01-02")
    agreed = [make_verdict("i2"), make_verdict("i2", reviewer="bob")]
    assert disagreements([bob, ann, *agreed]) == {ann.example: [ann, bob]}
    convinced = make_verdict("i1", Decision.FINE, decided_at="2026-01-03")
    assert disagreements([ann, bob, convinced]) == {}
    assert disagreements([ann, bob, make_verdict("i1", None, decided_at="2026-01-03")]) == {}


def test_reviewers_disagree_about_a_removal_under_another_label() -> None:
    removal = make_verdict("i1", Decision.REMOVE, decided_at=at(1))
    fine = make_verdict("i1", Decision.FINE, given_label="fly", reviewer="bob", decided_at=at(2))
    assert disagreements([fine, removal]) == {fine.example: [removal, fine]}
    also = make_verdict("i1", Decision.REMOVE, given_label="fly", reviewer="bob", remove_reason="broken")
    assert disagreements([removal, also]) == {}
