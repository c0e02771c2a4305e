"""Two audits compared: cases by hand, and every case against an oracle that goes row by row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection.compare import (
    CONTENT_UNKNOWN,
    Comparison,
    LabelPair,
    compare_audits,
    relabeled_pairs,
)
from labelaudit.schemas import CHANGES, CLASS_CHANGES, CLASSES, EXAMPLES, DataChange, IssueChange

Row = dict[str, Any]


def row(example_id: str = "a", label: str | None = "cat", flagged: bool = False, **values: Any) -> Row:
    scored = values.get("status", "scored") == "scored"
    known = {"is_label_issue": flagged, "label_score": 0.1 if flagged else 0.9} if scored else {}
    defaults = {"example_id": example_id, "given_label": label, "status": "scored", "content_digest": "d"}
    return {**defaults, **known, **values}


def compare(before: list[Row], now: list[Row]) -> Comparison:
    tables = [pa.Table.from_pylist(rows, schema=EXAMPLES) for rows in (before, now)]
    none = CLASSES.empty_table()
    return compare_audits(*tables, classes_before=none, classes=none, class_order=())


NO_ROW: list[Row] = []
UNLABELED = row(label=None, status="unlabeled")
FLAGGED, CLEAR = row(flagged=True), row()
CASES = {
    "flagged twice": ([FLAGGED], [FLAGGED], "persistent", None),
    "flagged under two labels": ([FLAGGED], [row(label="dog", flagged=True)], "persistent", "relabeled"),
    "a new row": (NO_ROW, [FLAGGED], "new", "added"),
    "a label that became wrong": ([row(label="dog")], [FLAGGED], "new", "relabeled"),
    "a row that got a label": ([UNLABELED], [FLAGGED], "new", "relabeled"),
    "other content": ([row(content_digest="e")], [FLAGGED], "new", "replaced"),
    "scored for the first time": ([row(status="rare_class")], [FLAGGED], "new", None),
    "flagged without a reason": ([CLEAR], [FLAGGED], "flapping", None),
    "no longer flagged without a reason": ([FLAGGED], [CLEAR], "flapping", None),
    "a verdict that was taken back": ([row(verdict="fine")], [FLAGGED], "flapping", None),
    "judged fine": ([FLAGGED], [row(verdict="fine")], "dismissed", None),
    "judged wrong and no longer flagged": ([FLAGGED], [row(verdict="wrong", right_label="dog")], "flapping", None),
    "a better label": ([FLAGGED], [row(label="dog")], "fixed", "relabeled"),
    "a better label that a person confirmed": ([FLAGGED], [row(label="dog", verdict="fine")], "fixed", "relabeled"),
    "removed": ([FLAGGED], NO_ROW, "gone", "removed"),
    "replaced": ([FLAGGED], [row(content_digest="e")], "gone", "replaced"),
    "replaced under another label": ([FLAGGED], [row(label="dog", content_digest="e")], "gone", "replaced"),
    "without a label now": ([FLAGGED], [UNLABELED], "gone", "relabeled"),
    "of a rare class now": ([FLAGGED], [row(label="lynx", status="rare_class")], "gone", "relabeled"),
    "content unknown on one side": ([row(flagged=True, content_digest=None)], [CLEAR], "flapping", None),
    "content unknown on both": ([row(content_digest=None)], [row(content_digest=None, flagged=True)], "flapping", None),
    "added and clear": (NO_ROW, [CLEAR], None, "added"),
    "relabeled and clear": ([CLEAR], [row(label="dog")], None, "relabeled"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_row(name: str) -> None:
    before, now, issue_change, data_change = CASES[name]
    found = compare(before, now)
    (changed,) = found.changes.to_pylist()
    assert (changed["issue_change"], changed["data_change"]) == (issue_change, data_change)
    assert found.issues == {change.value: int(change == issue_change) for change in IssueChange}
    assert found.data == {change.value: int(change == data_change) for change in DataChange}


def test_what_stays_is_no_change() -> None:
    found = compare([CLEAR, UNLABELED | {"example_id": "b"}], [UNLABELED | {"example_id": "b"}, CLEAR])
    assert len(found.changes) == 0
    assert found.changes.schema.equals(CHANGES, check_metadata=True)
    assert not any([*found.issues.values(), *found.data.values()])
    assert compare([], []).changes.equals(found.changes)


def test_both_sides_stand_in_the_table() -> None:
    before, now = [row("b", "cat", True), row("c")], [row("b", "dog"), row("a", flagged=True)]
    assert compare(before, now).changes.select(
        [*CHANGES.names[:5], "label_score_before", "label_score"]
    ).to_pylist() == [
        {
            "example_id": "a",
            "issue_change": "new",
            "data_change": "added",
            "given_label_before": None,
            "given_label": "cat",
            "label_score_before": None,
            "label_score": 0.1,
        },
        {
            "example_id": "b",
            "issue_change": "fixed",
            "data_change": "relabeled",
            "given_label_before": "cat",
            "given_label": "dog",
            "label_score_before": 0.1,
            "label_score": 0.9,
        },
        {
            "example_id": "c",
            "issue_change": None,
            "data_change": "removed",
            "given_label_before": "cat",
            "given_label": None,
            "label_score_before": 0.9,
            "label_score": None,
        },
    ]


def test_of_several_rows_with_one_id_the_scored_one_counts() -> None:
    copies = [row(status="duplicate_id", label="dog"), FLAGGED, row(status="duplicate_id")]
    assert compare(copies, copies[::-1]).issues["persistent"] == 1
    assert len(compare([FLAGGED], copies).changes) == 1
    contradictory = [row(status="duplicate_id"), row(status="duplicate_id", label="dog")]
    found = compare(contradictory, [FLAGGED])
    assert found.changes["issue_change"].to_pylist() == ["new"], "none of the copies was scored"
    assert found.changes["data_change"].to_pylist() == [None], "the first of the copies has the same label"


def test_what_is_not_known_of_the_content_is_said() -> None:
    unknown = row(content_digest=None)
    assert compare([unknown], [CLEAR]).notes == compare([CLEAR], [unknown]).notes == (CONTENT_UNKNOWN,)
    assert compare([unknown], [unknown]).notes == compare([CLEAR], [CLEAR]).notes == ()


def test_pairs_of_labels() -> None:
    before = [row(f"{number}", "cat") for number in range(6)]
    now = [row(f"{number}", label) for number, label in enumerate(["dog", "dog", "eel", "cat", "dog", None])]
    pairs = relabeled_pairs(compare(before, now).changes)
    assert pairs == [LabelPair("cat", "dog", 3), LabelPair("cat", None, 1), LabelPair("cat", "eel", 1)]


def test_classes_of_either_audit_in_their_order() -> None:
    def classes(**noise: float | None) -> pa.Table:
        rows = [
            {
                "class_name": name,
                "examples": number + 5,
                "label_issues": None if share is None else 1,
                "label_noise": share,
            }
            for number, (name, share) in enumerate(noise.items())
        ]
        return pa.Table.from_pylist(rows, schema=CLASSES)

    none = EXAMPLES.empty_table()
    before, now = classes(eel=0.5, cat=0.25), classes(cat=None, dog=0.125)
    order = ("cat", "dog", "eel")
    found = compare_audits(none, none, classes_before=before, classes=now, class_order=order).class_changes
    assert found.schema.equals(CLASS_CHANGES, check_metadata=True)
    assert [list(values.values()) for values in found.to_pylist()] == [
        ["cat", 6, 5, 1, None, 0.25, None],
        ["dog", None, 6, None, 1, None, 0.125],
        ["eel", 5, None, 1, None, 0.5, None],
    ]


# The oracle: written from the definitions, one id after the other.


def _counted_row(rows: list[Row], example_id: str) -> Row | None:
    copies = [one for one in rows if one["example_id"] == example_id]
    scored = [one for one in copies if one["status"] == "scored"]
    return (scored or copies or [None])[0]


def _oracle_data(old: Row | None, new: Row | None) -> str | None:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    digests = {old["content_digest"], new["content_digest"]}
    if len(digests - {None}) == 2:
        return "replaced"
    return "relabeled" if old["given_label"] != new["given_label"] else None


def _oracle_issue(old: Row | None, new: Row | None) -> set[str]:
    """All definitions that hold."""
    was, is_ = bool(old and old.get("is_label_issue")), bool(new and new.get("is_label_issue"))
    data = _oracle_data(old, new)
    scored_before, scored = bool(old and old["status"] == "scored"), bool(new and new["status"] == "scored")
    fine = bool(new and new.get("verdict") == "fine")
    found = set()
    if was and is_:
        found.add("persistent")
    if is_ and not was and (data is not None or not scored_before):
        found.add("new")
    if was and not is_ and (data in ("removed", "replaced") or not scored):
        found.add("gone")
    if was and not is_ and data == "relabeled" and scored:
        found.add("fixed")
    if was and not is_ and data is None and scored and fine:
        found.add("dismissed")
    if was != is_ and data is None and scored_before and scored and not (was and fine):
        found.add("flapping")
    return found


ROWS = st.builds(
    lambda example_id, label, status, flagged, digest, verdict: row(
        example_id,
        None if status == "unlabeled" else label,
        flagged and verdict != "fine",
        status=status,
        content_digest=digest,
        verdict=verdict,
    ),
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(["cat", "dog"]),
    st.sampled_from(["scored", "scored", "scored", "unlabeled", "rare_class", "unreadable"]),
    st.booleans(),
    st.sampled_from(["d", "d", "e", None]),
    st.sampled_from([None, None, "fine", "wrong"]),
)


def _sound(rows: list[Row]) -> list[Row]:
    """At most one row of an id is scored, as the reading of datasets promises."""
    seen: set[str] = set()
    kept = []
    for one in rows:
        if one["example_id"] in seen:
            one = {**one, "status": "duplicate_id", "is_label_issue": None, "label_score": None}
        seen.add(one["example_id"])
        kept.append(one)
    return kept


@given(st.lists(ROWS, max_size=8).map(_sound), st.lists(ROWS, max_size=8).map(_sound), st.randoms())
@settings(max_examples=300)
def test_every_row_as_the_oracle_says(before: list[Row], now: list[Row], random: Any) -> None:
    ids = sorted({one["example_id"] for one in before + now})
    expected = {}
    for example_id in ids:
        old, new = _counted_row(before, example_id), _counted_row(now, example_id)
        issues, data = _oracle_issue(old, new), _oracle_data(old, new)
        was_or_is = any(one and one.get("is_label_issue") for one in (old, new))
        assert len(issues) == int(was_or_is), "each id that is or was flagged has exactly one change"
        if issues or data:
            expected[example_id] = (next(iter(issues), None), data)
    found = compare(before, now)
    rows = found.changes.to_pylist()
    assert {one["example_id"]: (one["issue_change"], one["data_change"]) for one in rows} == expected
    assert [one["example_id"] for one in rows] == sorted(expected)
    counts = Counter(issue for issue, _ in expected.values())
    assert found.issues == {change.value: counts[change.value] for change in IssueChange}
    assert compare(now, now).data == dict.fromkeys(found.data, 0)
    # The order of rows means nothing where ids are unique.
    if len({one["example_id"] for one in now}) == len(now):
        shuffled = random.sample(now, len(now))
        assert compare(before, shuffled).changes.equals(found.changes)
