"""The classes of two audits, by hand and against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.audit_changes import ClassDifferences, ClassShare
from labelaudit.detection.class_shares import compare_classes, differences_in_words, labeled_rows
from labelaudit.schemas import CLASSES


def test_new_gone_and_changed_classes() -> None:
    found = compare_classes({"cat": 60, "dog": 30, "elk": 10}, {"cat": 40, "dog": 45, "eel": 15})
    assert found == ClassDifferences(
        new=1,
        gone=1,
        new_names=("eel",),
        gone_names=("elk",),
        largest=ClassShare("cat", 0.6, 0.4, 0.2),
    )
    assert differences_in_words(found, "v2") == [
        "New class since v2: 'eel'.",
        "This class has no labeled rows any more since v2: 'elk'.",
        "The share of 'cat' among the labeled rows changed from 60.0 to 40.0 percent.",
    ]


def test_what_stays_the_same_is_not_noted() -> None:
    found = compare_classes({"cat": 1, "dog": 2}, {"dog": 4, "cat": 2})
    assert found == ClassDifferences(0, 0, (), (), None)
    assert differences_in_words(found, "v2") == []
    small = compare_classes({"cat": 500, "dog": 500}, {"cat": 549, "dog": 451})
    assert small.largest == ClassShare("cat", 0.5, 0.549, 0.049)
    assert differences_in_words(small, "v2") == []


def test_many_classes_are_cut() -> None:
    found = compare_classes(dict.fromkeys("abcdefgh", 1), dict.fromkeys("ABCDEF", 1))
    assert (found.new, found.gone) == (6, 8)
    assert differences_in_words(found, "v2")[:2] == [
        "New classes since v2: 'A', 'B', 'C', 'D', 'E' and 1 more.",
        "These classes have no labeled rows any more since v2: 'a', 'b', 'c', 'd', 'e' and 3 more.",
    ]
    (long, _) = differences_in_words(compare_classes({"a": 1}, {"a": 1, "<b>" * 500: 1}), "v2")
    assert len(long) < 200


def test_classes_without_rows_do_not_count() -> None:
    rows = [
        {"class_name": "cat", "status": "scored", "examples": 3},
        {"class_name": "dog", "status": "scored", "examples": 0},
        {"class_name": "eel", "status": "rare_class", "examples": 1},
    ]
    assert labeled_rows(pa.Table.from_pylist(rows, schema=CLASSES)) == {"cat": 3, "eel": 1}
    assert compare_classes({}, {"cat": 3}) == ClassDifferences(1, 0, ("cat",), (), None)


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**9), min_size=1)


@given(COUNTS, COUNTS)
def test_against_exact_fractions(before: dict[str, int], now: dict[str, int]) -> None:
    found = compare_classes(before, now)
    exact = {
        name: abs(Fraction(now.get(name, 0), sum(now.values())) - Fraction(before.get(name, 0), sum(before.values())))
        for name in {*before, *now}
    }
    most = max(exact.values())
    assert (0.0 if found.largest is None else found.largest.change) == float(most)
    if found.largest is not None:
        # Two exact changes may round to one float. Then either class is right.
        assert float(exact[found.largest.class_name]) == float(most)
    assert (found.new, found.gone) == (len(now.keys() - before.keys()), len(before.keys() - now.keys()))
    other = compare_classes(now, before)
    assert (other.new, other.gone) == (found.gone, found.new)
    assert (other.largest and other.largest.change) == (found.largest and found.largest.change)
