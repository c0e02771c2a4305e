"""What a verdict may say, which of several is current, and when it expires."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ReviewError
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.verdict_store import batch_bytes, batch_verdicts
from labelaudit.reviews.verdicts import Verdict, current, latest_on_contents, utc_now
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


def read(record: object) -> list[Verdict]:
    """The verdicts in a stored object with this record."""
    return batch_verdicts(json.dumps({"verdicts": [record]}).encode())


@pytest.mark.parametrize(
    ("decision", "right_label", "message"),
    [
        (Decision.WRONG, None, "'i000' is wrong with right_label None. Give a right label with `wrong`, and only then"),
        (Decision.FINE, "ant", "is fine with right_label 'ant'"),
        (None, "ant", "is none with right_label 'ant'"),
        (Decision.WRONG, "bee", "the right label 'bee' is the given one"),
        (Decision.REMOVE, "ant", "is remove with right_label 'ant'"),
        (
            Decision.WRONG,
            "a\ud800",
            "The right label 'a\\ud800' of the verdict on 'i000' is not valid UTF-8. Enter it",
        ),
    ],
)
def test_a_verdict_that_is_not_valid(decision: Decision | None, right_label: str | None, message: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        make_verdict(decision=decision, right_label=right_label)


@pytest.mark.parametrize(
    ("decision", "reason", "message"),
    [
        (
            Decision.REMOVE,
            None,
            "'i000' is remove with remove_reason None. Give a reason with `remove`, and only then.",
        ),
        (Decision.FINE, "broken", "is fine with remove_reason 'broken'"),
        (None, "broken", "is none with remove_reason 'broken'"),
        (Decision.REMOVE, "\ud800", "The reason '\\ud800' of the verdict on 'i000' is not valid UTF-8"),
    ],
)
def test_a_removal_that_is_not_valid(decision: Decision | None, reason: str | None, message: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        make_verdict(decision=decision, remove_reason=reason)


def test_a_reviewer_that_is_not_utf8() -> None:
    with pytest.raises(
        ReviewError, match=re.escape("The reviewer '\\udcff' of the verdict on 'i000' is not valid UTF-8")
    ):
        make_verdict(reviewer="\udcff")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "perhaps"}, "verdicts.0.verdict: Input should be 'wrong', 'fine', 'ambiguous' or 'remove'"),
        ({"verdict": ["fine"]}, "verdicts.0.verdict: Input should be 'wrong', 'fine', 'ambiguous' or 'remove'"),
        ({"verdict": ...}, "verdicts.0.verdict: Field required"),
        ({"reviewer": ...}, "verdicts.0.reviewer: Field required"),
        ({"example_id": "\ud800"}, "Invalid JSON: unexpected end of hex escape"),
        ({"right_label": ["x"]}, "verdicts.0.right_label: Input should be a valid string"),
        ({"right_label": "x"}, "verdicts.0: The verdict on 'i000' is fine with right_label 'x'"),
        ({"was_flagged": None}, "verdicts.0.was_flagged: Input should be a valid boolean"),
        ({"decided_at": 5}, "verdicts.0.decided_at: Input should be a valid string"),
        ({"decided_at": "yesterday"}, "verdicts.0.decided_at: Invalid isoformat string: 'yesterday'"),
        ({"decided_at": "2026-01-01T00:00:00.000000"}, "is not a UTC time with microseconds"),
        ({"decided_at": "2026-01-01T00:00:00.000000+01:00"}, "is not a UTC time with microseconds"),
        ({"decided_at": "2026-01-01T00:00:00+00:00"}, "is not a UTC time with microseconds"),
        ({"decided_at": "9999-12-31T23:59:59.999999+00:00"}, "date value out of range"),
    ],
)
def test_a_stored_record_that_is_not_a_verdict(change: dict[str, object], message: str) -> None:
    record = {**asdict(make_verdict()), **change}
    with pytest.raises(ReviewError, match=re.escape(message)):
        read({name: value for name, value in record.items() if value is not ...})


@given(VALUES, st.sampled_from([field.name for field in fields(Verdict)]))
def test_no_stored_value_crashes(value: object, name: str) -> None:
    with contextlib.suppress(ReviewError):
        assert ReviewSnapshot.of(read({**asdict(make_verdict()), name: value}), (), "f").to_json()
    with pytest.raises(ReviewError, match=r"Input should be|Field required|Invalid JSON"):
        read(value)


@given(VERDICTS)
def test_a_record_gives_the_same_verdict(verdict: Verdict) -> None:
    assert batch_verdicts(batch_bytes([verdict])) == [verdict]


@given(st.lists(VERDICTS), st.randoms(use_true_random=False))
def test_the_order_of_storage_does_not_matter(verdicts: list[Verdict], generator) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(verdicts)
    generator.shuffle(shuffled)
    found = current(verdicts)
    assert current(shuffled) == found
    assert current(found.values()) == found
    assert ReviewSnapshot.of(shuffled, (), "v1").to_json() == ReviewSnapshot.of(verdicts, (), "v1").to_json()


@given(st.lists(VERDICTS, min_size=1), st.sampled_from(["1970-01-01", "2026-01-01", "2030-01-01"]), VERDICTS)
def test_a_reviewer_who_saw_a_verdict_replaces_it(stored: list[Verdict], day: str, said: Verdict) -> None:
    last = latest_on_contents(stored)
    after = replace(said, decided_at=f"{day}T00:00:00.000000+00:00").after(last.get(said.example.content))
    assert latest_on_contents([*stored, after])[said.example.content] == after
    assert replace(after, decided_at=said.decided_at) == said
    assert batch_verdicts(batch_bytes([after])) == [after]


def test_a_clock_that_is_right_is_believed() -> None:
    first = make_verdict(decided_at="2026-01-01T00:00:00.999999+00:00")
    same = make_verdict(decision=Decision.AMBIGUOUS, decided_at=first.decided_at)
    later = make_verdict(decision=Decision.AMBIGUOUS, decided_at=utc_now())
    assert later.after(first) == later.after(None) == later
    assert same.after(first).decided_at == "2026-01-01T00:00:01.000000+00:00"


def test_the_latest_is_current_until_it_is_taken_back() -> None:
    first = make_verdict(decision=Decision.WRONG, decided_at="2026-01-01")
    second = make_verdict(decision=Decision.FINE, decided_at="2026-01-02", reviewer="bob")
    back = make_verdict(decision=None, decided_at="2026-01-03")
    assert list(current([second, first]).values()) == [second]
    assert current([first, back, second]) == {}


@given(st.lists(VERDICTS, max_size=6), VERDICTS, st.sampled_from(["content_digest", "given_label"]))
def test_a_verdict_expires_with_content_or_label(others: list[Verdict], verdict: Verdict, changed: str) -> None:
    snapshot = ReviewSnapshot.of([*others, verdict], (), "v1")
    row = {name: getattr(verdict, name) for name in ("example_id", "content_digest", "given_label")}
    expected = current([*others, verdict]).get(verdict.example)
    rows = snapshot.for_rows(*([row[name]] for name in row))
    assert rows.verdicts[0] == (None if expected is None else expected.verdict)
    rows = snapshot.for_rows(*([{**row, changed: "another"}[name]] for name in row))
    survives = expected is not None and expected.verdict == Decision.REMOVE and changed == "given_label"
    assert rows.verdicts[0] == ("remove" if survives else None)
    assert sum(rows.counts.values()) == survives


def test_a_removal_ends_when_a_reviewer_decides_otherwise_under_another_label() -> None:
    removal = make_verdict("i1", Decision.REMOVE, decided_at="2026-01-02")
    relabeled = removal.example._replace(given_label="fly")
    earlier = make_verdict("i1", Decision.FINE, given_label="fly", decided_at="2026-01-01")
    found = current([removal, earlier])
    assert (found[removal.example], found[relabeled], len(found)) == (removal, removal, 1)
    assert removal.example._replace(content_digest="c1") not in found
    for decision in (Decision.FINE, Decision.WRONG, None):
        later = make_verdict("i1", decision, given_label="fly", decided_at="2026-01-03")
        assert dict(current([removal, earlier, later])) == ({later.example: later} if decision else {})


STORED = b"""{
  "verdicts": [
    {
      "audit_id": "a1",
      "content_digest": null,
      "decided_at": "2026-01-01T00:00:00.000000+00:00",
      "example_id": "i000",
      "given_label": "bee",
      "reviewer": "ann",
      "right_label": "ant",
      "verdict": "wrong",
      "was_flagged": true
    }
  ]
}
"""


def test_the_stored_format_does_not_change() -> None:
    verdicts = [make_verdict(decision=Decision.WRONG, content_digest=None)]
    assert batch_verdicts(STORED) == verdicts
    assert batch_bytes(verdicts) == STORED
    newer = STORED.replace(b'"audit_id"', b'"a field of a later version": [], "audit_id"')
    assert batch_verdicts(newer) == verdicts
