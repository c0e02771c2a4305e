"""Comparison of two audits: cases by hand, and random cases against an oracle that works row by row."""

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
    StatusCount,
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


def test_the_same_rows_give_no_change() -> None:
    found = compare([CLEAR, UNLABELED | {"example_id": "b"}], [UNLABELED | {"example_id": "b"}, CLEAR])
    assert len(found.changes) == 0
    assert found.changes.schema.equals(CHANGES, check_metadata=True)
    assert not any([*found.issues.values(), *found.data.values()])
    assert compare([], []).changes.equals(found.changes)


def test_the_table_contains_values_of_both_audits() -> None:
    before = [row("b", "cat", True), row("c", content_digest="e")]
    now = [row("b", "dog"), row("a", flagged=True)]
    assert compare(before, now).changes.select(
        [*CHANGES.names[:6], "label_score_before", "label_score"]
    ).to_pylist() == [
        {
            "example_id": "a",
            "example_id_before": None,
            "issue_change": "new",
            "data_change": "added",
            "given_label_before": None,
            "given_label": "cat",
            "label_score_before": None,
            "label_score": 0.1,
        },
        {
            "example_id": "b",
            "example_id_before": "b",
            "issue_change": "fixed",
            "data_change": "relabeled",
            "given_label_before": "cat",
            "given_label": "dog",
            "label_score_before": 0.1,
            "label_score": 0.9,
        },
        {
            "example_id": "c",
            "example_id_before": "c",
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


def test_a_note_says_that_content_is_unknown() -> None:
    unknown = row(content_digest=None)
    assert compare([unknown], [CLEAR]).notes == compare([CLEAR], [unknown]).notes == (CONTENT_UNKNOWN,)
    assert compare([unknown], [unknown]).notes == compare([CLEAR], [CLEAR]).notes == ()


def test_rows_by_status() -> None:
    copy = row(status="duplicate_id")
    found = compare([CLEAR, copy, copy], [CLEAR])
    assert (found.statuses, found.other_status) == ((StatusCount("duplicate_id", 2, 0),), 0)
    assert len(found.changes) == 0
    assert not any(found.data.values()), "the id, its content and its label are the same"
    lost = row("b", status="unreadable", content_digest=None)
    found = compare([CLEAR, lost], [lost | {"example_id": "a"}, row("b")])
    assert (found.statuses, found.other_status) == ((), 2)
    (first, second) = found.changes.to_pylist()
    assert (first["status_before"], first["status"]) == ("scored", "unreadable")
    assert (second["issue_change"], second["data_change"]) == (None, None)
    assert compare([CLEAR], [CLEAR]).statuses == ()


def moved(*digests: str | None, folder: str = "cat") -> list[Row]:
    """Return rows of an image folder: the label is part of the id."""
    return [
        row(f"{folder}/{number}", folder, content_digest=digest, flagged=folder == "cat")
        for number, digest in enumerate(digests)
    ]


def test_a_file_that_moved_to_another_class_is_relabeled() -> None:
    found = compare(moved("d"), moved("d", folder="dog"))
    (changed,) = found.changes.to_pylist()
    assert (changed["example_id_before"], changed["example_id"]) == ("cat/0", "dog/0")
    assert (changed["issue_change"], changed["data_change"]) == ("fixed", "relabeled")
    assert relabeled_pairs(found.changes) == [LabelPair("cat", "dog", 1)]
    renamed = compare([row("a", flagged=True)], [row("b", flagged=True)])
    assert renamed.issues["persistent"] == len(renamed.changes) == 1
    assert not any(renamed.data.values())


MOVED_UNKNOWN = {
    "copies before": (moved("d", "d"), moved("d", folder="dog"), 1, 2),
    "copies now": (moved("d"), moved("d", "d", folder="dog"), 2, 1),
    "a copy that stayed": ([*moved("d"), row("e")], [*moved("d", folder="dog"), row("e")], 1, 1),
    "a copy that stayed, before alone": ([*moved("d"), row("e")], moved("d", folder="dog"), 1, 2),
    "a copy with the same id": (moved("d") * 2, moved("d", folder="dog"), 1, 1),
    "no content known": (moved(None), moved(None, folder="dog"), 1, 1),
    "other content": (moved("d"), moved("e", folder="dog"), 1, 1),
}


@pytest.mark.parametrize("name", MOVED_UNKNOWN)
def test_if_it_is_unknown_what_moved_rows_are_removed_and_added(name: str) -> None:
    before, now, added, removed = MOVED_UNKNOWN[name]
    data = compare(before, now).data
    assert (data["added"], data["removed"], data["relabeled"]) == (added, removed, 0)


def test_a_file_that_took_the_place_of_another() -> None:
    """b took the place of a, and a is gone. An id that is in both audits decides which row is which."""
    found = compare(
        [row("a"), row("b", content_digest="e")], [row("a", content_digest="e"), row("c", content_digest="f")]
    )
    assert (found.data["replaced"], found.data["removed"], found.data["added"]) == (1, 1, 1)


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


def _oracle_pairs(before: list[Row], now: list[Row]) -> list[tuple[Row | None, Row | None]]:
    """Pair rows by id, and rows of one side by content that no other row of either side has."""
    ids = [{one["example_id"] for one in rows} for rows in (before, now)]
    digests = [Counter(one["content_digest"] for one in rows) for rows in (before, now)]

    def is_free(counted: Row | None) -> bool:
        digest = counted and counted["content_digest"]
        return digest is not None and all(counts[digest] == 1 for counts in digests)

    pairs = [(_counted_row(before, name), _counted_row(now, name)) for name in sorted(ids[0] & ids[1])]
    removed = [_counted_row(before, name) for name in ids[0] - ids[1]]
    added = [_counted_row(now, name) for name in ids[1] - ids[0]]
    for old in removed:
        same = [new for new in added if is_free(old) and new and old and new["content_digest"] == old["content_digest"]]
        added = [new for new in added if new not in same]
        pairs.append((old, same[0] if same else None))
    return [*pairs, *((None, new) for new in added)]


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
    """Return all changes whose definition is met."""
    before, now = bool(old and old.get("is_label_issue")), bool(new and new.get("is_label_issue"))
    data = _oracle_data(old, new)
    scored_before, scored = bool(old and old["status"] == "scored"), bool(new and new["status"] == "scored")
    fine = bool(new and new.get("verdict") == "fine")
    found = set()
    if before and now:
        found.add("persistent")
    if now and not before and (data is not None or not scored_before):
        found.add("new")
    if before and not now and (data in ("removed", "replaced") or not scored):
        found.add("gone")
    if before and not now and data == "relabeled" and scored:
        found.add("fixed")
    if before and not now and data is None and scored and fine:
        found.add("dismissed")
    if before != now and data is None and scored_before and scored and not (before and fine):
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
    st.sampled_from("abcdef"),
    st.sampled_from(["cat", "dog"]),
    st.sampled_from(["scored", "scored", "scored", "unlabeled", "rare_class", "unreadable"]),
    st.booleans(),
    st.sampled_from(["d", "d", "e", "f", "g", None]),
    st.sampled_from([None, None, "fine", "wrong"]),
)


def _sound(rows: list[Row]) -> list[Row]:
    """Keep at most one scored row per id, as reading a dataset does."""
    seen: set[str] = set()
    kept = []
    for one in rows:
        if one["example_id"] in seen:
            one = {**one, "status": "duplicate_id", "is_label_issue": None, "label_score": None}
        seen.add(one["example_id"])
        kept.append(one)
    return kept


@given(st.lists(ROWS, max_size=8).map(_sound), st.lists(ROWS, max_size=8).map(_sound), st.randoms())
@settings(max_examples=150)
def test_every_row_as_the_oracle_says(before: list[Row], now: list[Row], random: Any) -> None:
    expected, others = {}, 0
    pairs = _oracle_pairs(before, now)
    sides = zip((before, now), zip(*pairs, strict=True), strict=True) if pairs else ()
    for rows, side in sides:
        ids = sorted(one["example_id"] for one in side if one)
        assert ids == sorted({one["example_id"] for one in rows}), "every id is in exactly one pair"
    for old, new in pairs:
        example_id = (new or old or {})["example_id"]
        issues, data = _oracle_issue(old, new), _oracle_data(old, new)
        was_or_is = any(one and one.get("is_label_issue") for one in (old, new))
        assert len(issues) == int(was_or_is), "each id that is or was flagged has exactly one change"
        other_status = bool(old and new and old["status"] != new["status"])
        others += other_status
        if issues or data or other_status:
            expected[example_id] = (old and old["example_id"], next(iter(issues), None), data)
    found = compare(before, now)
    rows = found.changes.to_pylist()
    columns = ("example_id_before", "issue_change", "data_change")
    assert {one["example_id"]: tuple(one[name] for name in columns) for one in rows} == expected
    assert [one["example_id"] for one in rows] == sorted(expected)
    counts = Counter(issue for _, issue, _ in expected.values())
    assert found.issues == {change.value: counts[change.value] for change in IssueChange}
    assert found.other_status == others
    assert compare(now, now).data == dict.fromkeys(found.data, 0)
    # If ids are unique, the order of rows does not matter.
    if len({one["example_id"] for one in now}) == len(now):
        shuffled = random.sample(now, len(now))
        assert compare(before, shuffled).changes.equals(found.changes)


def _identity(table: pa.Table, *, mirrored: bool) -> set[tuple[str | None, str | None]]:
    """Return old and new ids of the changed rows. The `example_id` of a removed row is the old one."""
    found = set()
    for one in table.to_pylist():
        ids = one["example_id_before"], None if one["data_change"] == "removed" else one["example_id"]
        found.add(ids[::-1] if mirrored else ids)
    return found


@given(st.lists(ROWS, max_size=8).map(_sound), st.lists(ROWS, max_size=8).map(_sound))
def test_rows_are_joined_the_same_from_both_sides(before: list[Row], now: list[Row]) -> None:
    there, back = compare(before, now), compare(now, before)
    mirrors = {"added": "removed", "removed": "added", "relabeled": "relabeled", "replaced": "replaced"}
    assert there.data == {name: back.data[mirror] for name, mirror in mirrors.items()}
    assert _identity(there.changes, mirrored=False) == _identity(back.changes, mirrored=True)
    copies = {digest for rows in (before, now) for digest, count in _digests(rows).items() if count > 1}
    for one in there.changes.to_pylist():
        if one["example_id_before"] not in (None, one["example_id"]):
            old = _counted_row(before, one["example_id_before"])
            assert old is not None
            assert old["content_digest"] not in {*copies, None}


def _digests(rows: list[Row]) -> Counter[str | None]:
    return Counter(one["content_digest"] for one in rows)
