"""Drafts are checked together, and every bad one is named."""

from __future__ import annotations

import re

import pytest

from labelaudit.errors import ReviewError
from labelaudit.reviews.drafts import AuditedExample, Draft, check_drafts
from labelaudit.reviews.verdicts import LabeledExample, Verdict
from labelaudit.schemas import Decision
from support.reviewed import make_verdict

ROWS = {name: AuditedExample(LabeledExample(name, "c0", "bee"), name == "i1") for name in ("i1", "i2", "i3")}
CLASSES = ["ant", "bee", "fly"]


def verdicts(*drafts: Draft) -> list[Verdict]:
    return check_drafts(drafts, ROWS, CLASSES, reviewer="ann", decided_at="2026-01-01", audit_id="a1")


def test_a_draft_becomes_a_verdict() -> None:
    found = verdicts(Draft("i1", Decision.WRONG, "ant"), Draft("i2", None), Draft("i2", None))
    expected = make_verdict("i1", Decision.WRONG, decided_at="2026-01-01")
    removed = verdicts(Draft("i2", Decision.REMOVE, remove_reason="broken"))
    assert [(one.verdict, one.remove_reason) for one in removed] == [(Decision.REMOVE, "broken")]
    taken_back = make_verdict("i2", None, decided_at="2026-01-01", was_flagged=False)
    assert found == [expected, taken_back]


def test_a_row_that_is_not_scored_can_only_be_removed() -> None:
    rows = {"i1": AuditedExample(LabeledExample("i1", "c0", "bee"), False, is_scored=False)}
    for draft in (Draft("i1", Decision.REMOVE, remove_reason="broken"), Draft("i1", None)):
        (found,) = check_drafts([draft], rows, CLASSES, reviewer="ann", decided_at="2026-01-01", audit_id="a1")
        assert found.verdict == draft.verdict
    for draft in (Draft("i1", Decision.FINE), Draft("i1", Decision.WRONG, "ant")):
        with pytest.raises(ReviewError, match="'i1' is not a scored row of this audit"):
            check_drafts([draft], rows, CLASSES, reviewer="ann", decided_at="2026-01-01", audit_id="a1")


def test_content_is_compared_if_it_is_known() -> None:
    rows = {"i1": AuditedExample(LabeledExample("i1", None, "bee"), True)}
    for given, audited in ((None, ROWS), ("c0", ROWS), (None, rows), ("", rows)):
        draft = Draft("i1", Decision.FINE, content_digest=given)
        assert check_drafts([draft], audited, CLASSES, reviewer="ann", decided_at="2026-01-01", audit_id="a1")
    with pytest.raises(ReviewError, match="'i1' has other content in this audit"):
        check_drafts(
            [Draft("i1", Decision.FINE, content_digest="c0")],
            rows,
            CLASSES,
            reviewer="ann",
            decided_at="2026-01-01",
            audit_id="a1",
        )


@pytest.mark.parametrize(
    ("draft", "problem"),
    [
        (Draft("i9", Decision.FINE), "'i9' is not a scored row of this audit"),
        (
            Draft("i1", Decision.FINE, given_label="fly"),
            "has the label 'bee' in this audit, but the reviewer saw 'fly'",
        ),
        (
            Draft("i1", Decision.FINE, given_label="bee", content_digest="c9"),
            "'i1' has other content in this audit than the reviewer saw (content_digest 'c9'); name",
        ),
        (Draft("i1", Decision.FINE, content_digest=""), "'i1' has other content in this audit"),
        (Draft("i1", Decision.FINE, "ant"), "has the right label 'ant', but the verdict is fine"),
        (
            Draft("i1", Decision.REMOVE),
            "'i1' is to be removed, but remove_reason is missing; write off-topic, several-classes, broken, private, "
            "other, or another reason",
        ),
        (Draft("i1", Decision.REMOVE, remove_reason="\ud800"), "'i1': the reason '\\ud800' is not valid UTF-8"),
        (Draft("i1", Decision.REMOVE, "ant", remove_reason="broken"), "has the right label 'ant', but the verdict is"),
        (
            Draft("i1", Decision.FINE, remove_reason="broken"),
            "has the reason 'broken', but the verdict is fine; only `remove` takes one",
        ),
        (Draft("i1", Decision.WRONG), "'i1' is wrong, but the right label is missing"),
        (Draft("i1", Decision.WRONG, "bee"), "'bee' is its given label; is it fine?"),
        (Draft("i1", Decision.WRONG, "Fly"), "'Fly' is not a class of this audit, did you mean 'fly'?"),
        (Draft("i1", Decision.WRONG, "zebra"), "'zebra' is not a class of this audit"),
        (Draft("i1", Decision.WRONG, "a\ud800"), "'i1': the right label 'a\\ud800' is not valid UTF-8"),
        (Draft("i\ud800", Decision.FINE), "'i\\ud800' is not a scored row of this audit"),
        (Draft("i1", None, problem="6 cells under 4 columns"), "6 cells under 4 columns"),
    ],
)
def test_a_draft_that_is_not_valid(draft: Draft, problem: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(problem)):
        verdicts(draft)


def test_every_bad_line_is_named() -> None:
    bad = [
        Draft("i9", Decision.FINE, place="line 2"),
        Draft("i1", Decision.FINE, place="line 3"),
        Draft("i2", Decision.WRONG, place="line 4"),
        Draft("i1", Decision.WRONG, "ant", place="line 7"),
    ]
    with pytest.raises(ReviewError) as caught:
        verdicts(*bad)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Nothing was stored, because 3 verdicts are not valid. Correct these lines:"
    assert [line.split(":")[0] for line in lines[1:]] == ["  line 2", "  line 4", "  line 7"]
    assert "'i1' has two different verdicts (first: line 3)" in lines[3]
    with pytest.raises(ReviewError, match="and 50 more"):
        verdicts(*bad[:1] * 150)
