"""What a verdict may say, which of many stands, and when it ends to hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ReviewError
from labelaudit.review.known import Known
from labelaudit.review.verdicts import Verdict, newest
from labelaudit.schemas import Decision
from reviewed import make_verdict

VERDICTS = st.builds(
    make_verdict,
    st.sampled_from(["i1", "i2"]),
    st.sampled_from([*Decision, None]),
    content_digest=st.sampled_from(["c0", "c1", None]),
    given_label=st.sampled_from(["bee", "fly"]),
    reviewer=st.sampled_from(["ann", "bob"]),
    decided_at=st.sampled_from(["2026-01-01", "2026-01-02"]),
)


@pytest.mark.parametrize(
    ("decision", "right_label", "message"),
    [
        (Decision.WRONG, None, "'i000' is wrong with right_label None; exactly a verdict of `wrong` names"),
        (Decision.FINE, "ant", "is fine with right_label 'ant'"),
        (None, "ant", "is none with right_label 'ant'"),
        (Decision.WRONG, "bee", "its right label 'bee' is the given one"),
    ],
)
def test_a_verdict_that_cannot_be(decision: Decision | None, right_label: str | None, message: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        make_verdict(decision=decision, right_label=right_label)


@pytest.mark.parametrize("change", [{"verdict": "perhaps"}, {"reviewer": ...}])
def test_a_stored_record_that_is_no_verdict(change: dict[str, object]) -> None:
    record = {**make_verdict().to_record(), **change}
    with pytest.raises(ReviewError, match="A stored verdict cannot be read"):
        Verdict.from_record({name: value for name, value in record.items() if value is not ...})


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
