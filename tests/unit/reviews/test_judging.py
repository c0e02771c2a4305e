"""Judgements are checked together; what is said already is left out; reviewers may disagree."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from labelaudit.errors import ReviewError
from labelaudit.reviews.judging import AuditedRow, Compared, Judgement, compared, disagreements, verdicts_of
from labelaudit.reviews.verdicts import Judged, Verdict, newest
from labelaudit.schemas import Decision
from support.reviewed import make_verdict

ROWS = {name: AuditedRow(Judged(name, "c0", "bee"), name == "i1") for name in ("i1", "i2", "i3")}
CLASSES = ["ant", "bee", "fly"]


def verdicts(*judgements: Judgement) -> list[Verdict]:
    return verdicts_of(judgements, ROWS, CLASSES, reviewer="ann", decided_at="2026-01-01", audit_id="a1")


def test_a_judgement_becomes_a_verdict_on_what_was_looked_at() -> None:
    found = verdicts(Judgement("i1", Decision.WRONG, "ant"), Judgement("i2", None), Judgement("i2", None))
    expected = make_verdict("i1", Decision.WRONG, decided_at="2026-01-01")
    taken_back = make_verdict("i2", None, decided_at="2026-01-01", was_flagged=False)
    assert found == [expected, taken_back]


def test_content_is_compared_where_it_is_known() -> None:
    rows = {"i1": AuditedRow(Judged("i1", None, "bee"), True)}
    for given, audited in ((None, ROWS), ("c0", ROWS), (None, rows), ("", rows)):
        judgement = Judgement("i1", Decision.FINE, content_digest=given)
        assert verdicts_of([judgement], audited, CLASSES, reviewer="ann", decided_at="2026-01-01", audit_id="a1")
    with pytest.raises(ReviewError, match="'i1' has other content in this audit"):
        verdicts_of(
            [Judgement("i1", Decision.FINE, content_digest="c0")],
            rows,
            CLASSES,
            reviewer="ann",
            decided_at="2026-01-01",
            audit_id="a1",
        )


@pytest.mark.parametrize(
    ("judgement", "problem"),
    [
        (Judgement("i9", Decision.FINE), "'i9' is no scored row of this audit"),
        (
            Judgement("i1", Decision.FINE, given_label="fly"),
            "has the label 'bee' in this audit, but was judged as 'fly'",
        ),
        (
            Judgement("i1", Decision.FINE, given_label="bee", content_digest="c9"),
            "'i1' has other content in this audit than in the one that was judged (content_digest 'c9'); name",
        ),
        (Judgement("i1", Decision.FINE, content_digest=""), "'i1' has other content in this audit"),
        (Judgement("i1", Decision.FINE, "ant"), "has the right label 'ant', but the verdict is fine"),
        (Judgement("i1", Decision.WRONG), "'i1' is judged wrong without a right label"),
        (Judgement("i1", Decision.WRONG, "bee"), "'bee' is its given label; is it fine?"),
        (Judgement("i1", Decision.WRONG, "Fly"), "'Fly' is no class of this audit, did you mean 'fly'?"),
        (Judgement("i1", Decision.WRONG, "zebra"), "'zebra' is no class of this audit"),
        (Judgement("i1", Decision.WRONG, "a\ud800"), "'i1': the right label 'a\\ud800' is no text in UTF-8"),
        (Judgement("i\ud800", Decision.FINE), "'i\\ud800' is no scored row of this audit"),
        (Judgement("i1", None, problem="6 cells under 4 columns"), "6 cells under 4 columns"),
    ],
)
def test_a_judgement_that_cannot_stand(judgement: Judgement, problem: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(problem)):
        verdicts(judgement)


def test_every_bad_line_is_named() -> None:
    bad = [
        Judgement("i9", Decision.FINE, place="line 2"),
        Judgement("i1", Decision.FINE, place="line 3"),
        Judgement("i2", Decision.WRONG, place="line 4"),
        Judgement("i1", Decision.WRONG, "ant", place="line 7"),
    ]
    with pytest.raises(ReviewError) as caught:
        verdicts(*bad)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Nothing was stored, because 3 judgements cannot stand:"
    assert [line.split(":")[0] for line in lines[1:]] == ["  line 2", "  line 4", "  line 7"]
    assert "'i1' is judged twice, differently (first: line 3)" in lines[3]
    with pytest.raises(ReviewError, match="and 50 more"):
        verdicts(*bad[:1] * 150)


def at(day: int) -> str:
    return f"2026-01-{day:02d}T00:00:00.000000+00:00"


def test_what_is_said_already_is_not_said_again() -> None:
    mine = make_verdict("i1", Decision.WRONG, decided_at=at(1))
    again = make_verdict("i1", Decision.WRONG, decided_at=at(3))
    assert compared([again], []) == Compared([again], 0)
    assert compared([again], [mine]) == Compared([], 0)
    # Another right label, another reviewer, another given label, a verdict that was taken back: all of it is new.
    for stored in (
        [make_verdict("i1", Decision.WRONG, right_label="fly")],
        [make_verdict("i1", Decision.WRONG, reviewer="bob")],
        [make_verdict("i1", Decision.WRONG, given_label="fly")],
        [make_verdict("i1", Decision.WRONG, decided_at=at(1)), make_verdict("i1", None, decided_at=at(2))],
    ):
        assert compared([again], stored[::-1]) == Compared([again], 0)


def test_what_others_decided_since_is_left_as_it_is() -> None:
    mine = make_verdict("i1", Decision.WRONG, decided_at=at(1))
    again = make_verdict("i1", Decision.WRONG, decided_at=at(3))
    for theirs in (Decision.FINE, None):
        assert compared([again], [mine, make_verdict("i1", theirs, reviewer="bob", decided_at=at(2))]) == Compared(
            [], 1
        )
    agreeing = make_verdict("i1", Decision.WRONG, reviewer="bob", decided_at=at(2))
    assert compared([again], [mine, agreeing]) == Compared([], 0)
    # Who thought better of it in between says something new.
    other = make_verdict("i1", Decision.FINE, decided_at=at(2))
    assert compared([again], [mine, other]) == Compared([again], 0)


def test_taking_back_what_nobody_said_is_nothing() -> None:
    back = make_verdict("i1", None, decided_at=at(3))
    assert compared([back], []) == Compared([], 0)
    assert compared([back], [make_verdict("i1", reviewer="bob")]) == Compared([back], 0)
    assert compared([back], [make_verdict("i1"), make_verdict("i1", None, decided_at=at(2))]) == Compared([], 0)


@pytest.mark.parametrize("theirs", [Decision.FINE, None])
def test_a_verdict_is_later_than_what_it_replaces(theirs: Decision | None) -> None:
    ahead = make_verdict("i1", theirs, reviewer="bob", decided_at="2030-01-01T00:00:00.000000+00:00")
    said = make_verdict("i1", Decision.WRONG, decided_at=at(1))
    (new,) = compared([said], [ahead]).new
    assert new == replace(said, decided_at="2030-01-01T00:00:00.000001+00:00")
    assert list(newest([ahead, new]).values()) == [new]


def test_reviewers_disagree_by_their_newest_verdicts() -> None:
    ann = make_verdict("i1", Decision.WRONG, decided_at="2026-01-01")
    bob = make_verdict("i1", Decision.FINE, reviewer="bob", decided_at="2026-01-02")
    agreed = [make_verdict("i2"), make_verdict("i2", reviewer="bob")]
    assert disagreements([bob, ann, *agreed]) == {ann.judged: [ann, bob]}
    convinced = make_verdict("i1", Decision.FINE, decided_at="2026-01-03")
    assert disagreements([ann, bob, convinced]) == {}
    assert disagreements([ann, bob, make_verdict("i1", None, decided_at="2026-01-03")]) == {}
