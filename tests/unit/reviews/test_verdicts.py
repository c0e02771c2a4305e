"""What a verdict may say, which of many stands, and when it ends to hold."""

from __future__ import annotations

import contextlib
import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ReviewError
from labelaudit.reviews.known import Known
from labelaudit.reviews.verdicts import Verdict, last_words, newest, now
from labelaudit.schemas import Decision
from support.reviewed import make_verdict

VERDICTS = st.builds(
    make_verdict,
    st.sampled_from(["i1", "i2"]),
    st.sampled_from([*Decision, None]),
    content_digest=st.sampled_from(["c0", "c1", None]),
    given_label=st.sampled_from(["bee", "fly"]),
    reviewer=st.sampled_from(["ann", "bob"]),
    decided_at=st.sampled_from([f"2026-01-0{day}T00:00:00.000000+00:00" for day in (1, 2)]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("decision", "right_label", "message"),
    [
        (Decision.WRONG, None, "'i000' is wrong with right_label None; exactly a verdict of `wrong` names"),
        (Decision.FINE, "ant", "is fine with right_label 'ant'"),
        (None, "ant", "is none with right_label 'ant'"),
        (Decision.WRONG, "bee", "its right label 'bee' is the given one"),
        (
            Decision.WRONG,
            "a\ud800",
            "The right label 'a\\ud800' of the verdict on 'i000' is no text in UTF-8. Write it",
        ),
    ],
)
def test_a_verdict_that_cannot_be(decision: Decision | None, right_label: str | None, message: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        make_verdict(decision=decision, right_label=right_label)


def test_a_reviewer_that_is_no_text() -> None:
    with pytest.raises(ReviewError, match=re.escape("The reviewer '\\udcff' of the verdict on 'i000' is no text")):
        make_verdict(reviewer="\udcff")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "perhaps"}, "'perhaps' is not a valid Decision"),
        ({"verdict": ["fine"]}, "verdict is a list, not str | None"),
        ({"verdict": ...}, "verdict is missing"),
        ({"reviewer": ...}, "reviewer is missing"),
        ({"example_id": "\ud800"}, "example_id is '\\ud800', which is no text in UTF-8"),
        ({"right_label": ["x"]}, "right_label is a list, not str | None"),
        ({"was_flagged": None}, "was_flagged is a NoneType, not bool"),
        ({"decided_at": 5}, "decided_at is a int, not str"),
        ({"decided_at": "yesterday"}, "Invalid isoformat string: 'yesterday'"),
        ({"decided_at": "2026-01-01T00:00:00.000000"}, "is no time in UTC with microseconds"),
        ({"decided_at": "2026-01-01T00:00:00.000000+01:00"}, "is no time in UTC with microseconds"),
        ({"decided_at": "2026-01-01T00:00:00+00:00"}, "is no time in UTC with microseconds"),
        ({"decided_at": "9999-12-31T23:59:59.999999+00:00"}, "date value out of range"),
    ],
)
def test_a_stored_record_that_is_no_verdict(change: dict[str, object], message: str) -> None:
    record = {**make_verdict().to_record(), **change}
    with pytest.raises(ReviewError, match=re.escape(message)):
        Verdict.from_record({name: value for name, value in record.items() if value is not ...})


@given(VALUES, st.sampled_from([field.name for field in fields(Verdict)]))
def test_no_value_of_a_stored_record_is_a_crash(value: object, name: str) -> None:
    with contextlib.suppress(ReviewError):
        verdict = Verdict.from_record({**make_verdict().to_record(), name: value})
        assert Known.of([verdict], (), "f").to_record()
    with pytest.raises(ReviewError, match=r"stands where an object belongs|is missing"):
        Verdict.from_record(value)


@given(VERDICTS)
def test_a_record_gives_the_same_verdict(verdict: Verdict) -> None:
    assert Verdict.from_record(verdict.to_record()) == verdict


@given(st.lists(VERDICTS), st.randoms(use_true_random=False))
def test_the_order_of_storage_does_not_matter(verdicts: list[Verdict], generator) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(verdicts)
    generator.shuffle(shuffled)
    stands = newest(verdicts)
    assert newest(shuffled) == stands
    assert newest(stands.values()) == stands
    assert Known.of(shuffled, (), "v1").to_record() == Known.of(verdicts, (), "v1").to_record()


@given(st.lists(VERDICTS, min_size=1), st.sampled_from(["1970-01-01", "2026-01-01", "2030-01-01"]), VERDICTS)
def test_who_has_seen_a_verdict_replaces_it_whatever_the_clock_says(
    stored: list[Verdict], day: str, said: Verdict
) -> None:
    last = last_words(stored)
    after = replace(said, decided_at=f"{day}T00:00:00.000000+00:00").after(last.get(said.judged))
    assert last_words([*stored, after])[said.judged] == after
    assert replace(after, decided_at=said.decided_at) == said
    assert Verdict.from_record(after.to_record()) == after


def test_a_clock_that_is_right_is_believed() -> None:
    first = make_verdict(decided_at="2026-01-01T00:00:00.999999+00:00")
    same = make_verdict(decision=Decision.AMBIGUOUS, decided_at=first.decided_at)
    later = make_verdict(decision=Decision.AMBIGUOUS, decided_at=now())
    assert later.after(first) == later.after(None) == later
    assert same.after(first).decided_at == "2026-01-01T00:00:01.000000+00:00"


def test_the_newest_stands_until_it_is_taken_back() -> None:
    first = make_verdict(decision=Decision.WRONG, decided_at="2026-01-01")
    second = make_verdict(decision=Decision.FINE, decided_at="2026-01-02", reviewer="bob")
    back = make_verdict(decision=None, decided_at="2026-01-03")
    assert list(newest([second, first]).values()) == [second]
    assert newest([first, back, second]) == {}


@given(st.lists(VERDICTS, max_size=6), VERDICTS, st.sampled_from(["content_digest", "given_label"]))
def test_a_verdict_ends_to_hold_with_content_or_label(others: list[Verdict], verdict: Verdict, changed: str) -> None:
    known = Known.of([*others, verdict], (), "v1")
    row = {name: getattr(verdict, name) for name in ("example_id", "content_digest", "given_label")}
    expected = newest([*others, verdict]).get(verdict.judged)
    marks = known.marks(*([row[name]] for name in row))
    assert marks.verdicts[0] == (None if expected is None else expected.verdict)
    marks = known.marks(*([{**row, changed: "another"}[name]] for name in row))
    assert marks.verdicts[0] is None
    assert sum(marks.holding.values()) == 0
