"""The gate by hand: each rule at its limit, beyond it, and without a measured value."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.detection.class_shares import compare_classes
from labelaudit.detection.gate import _CHECKS, Limits, Measures, judge_limits
from labelaudit.findings import Duplicates, ErrorRange, Gate, GateVerdict, Outcome, QualityFound, RateBasis, Rule
from labelaudit.slice_findings import SliceRatio, Slices

MEASURES = Measures(
    scored=1000,
    issues=50,
    class_issues={"cat": (400, 40), "dog": (600, 10)},
    rare_classes={"eel"},
    new_issues=20,
    measured_error_rate=0.04,
    canary_recall=0.9,
    error_range=ErrorRange(0.08, 0.05, 0.13, RateBasis.PROBABILITIES),
    copies=Duplicates(9, 20, 6, conflicts=2, conflicting_rows=5, leaks=1, leaked_rows=2),
    quality=QualityFound(20, 3, {"dark": 20}, {}, ()),
    rows=1000,
    has_splits=True,
    slices=Slices({"batch": 9}, 9, 2, (SliceRatio("batch", "b07", 90, 0.3, 4.1, 3.0, 5.4, 4.5),)),
)


def gate(limits: dict[str, Any], has_predecessor: bool = True, **measures: Any) -> Gate:
    found = judge_limits(Limits(**limits), replace(MEASURES, **measures), has_predecessor=has_predecessor)
    assert found is not None
    return found


def rule(limits: dict[str, Any], **measures: Any) -> Rule:
    """The one rule of these limits; the built-in one comes last."""
    first, blind = gate(limits, **measures).rules
    assert blind.rule == "blind_detector"
    return first


def test_every_limit_has_a_check() -> None:
    assert list(_CHECKS) == [field.name for field in fields(Limits)]


def test_a_class_whose_rows_are_all_to_be_removed_breaks_no_limit() -> None:
    measured = {"cat": (0, 0), "dog": (600, 10)}
    assert rule({"max_class_flagged_share": {"cat": 0.1}}, class_issues=measured).outcome == Outcome.PASSED
    assert rule({"max_class_flagged_share": 0.1}, class_issues=measured).measured == 10 / 600


@pytest.mark.parametrize(
    ("name", "limit", "measured", "outcome", "sentence"),
    [
        ("max_flagged_share", 0.05, 0.05, "passed", "50 of 1,000 scored rows are flagged (5.0 %); the limit is 5.0 %."),
        (
            "max_flagged_share",
            0.0499,
            0.05,
            "failed",
            "50 of 1,000 scored rows are flagged (5.00 %); the limit is 4.99 %.",
        ),
        (
            "max_class_flagged_share",
            0.1,
            0.1,
            "passed",
            "40 of 400 rows labeled 'cat', the worst class, are flagged (10.0 %); the limit is 10.0 %.",
        ),
        (
            "max_class_flagged_share",
            0.01,
            0.1,
            "failed",
            "40 of 400 rows labeled 'cat', the worst class, are flagged (10.0 %); the limit is 1.0 %; "
            "1 more class is above the limit.",
        ),
        ("max_new_issues", 20, 20, "passed", "20 rows are newly flagged; the limit is 20."),
        ("max_new_issues", 19, 20, "failed", "20 rows are newly flagged; the limit is 19."),
        (
            "max_new_issues_share",
            0.02,
            0.02,
            "passed",
            "20 of 1,000 scored rows are newly flagged (2.0 %); the limit is 2.0 %.",
        ),
        (
            "max_new_issues_share",
            0.01,
            0.02,
            "failed",
            "20 of 1,000 scored rows are newly flagged (2.0 %); the limit is 1.0 %.",
        ),
        (
            "max_measured_error_rate",
            0.04,
            0.04,
            "passed",
            "Reviewers of a random sample found this share of wrong labels (4.0 %); the limit is 4.0 %.",
        ),
        (
            "max_measured_error_rate",
            0.03,
            0.04,
            "failed",
            "Reviewers of a random sample found this share of wrong labels (4.0 %); the limit is 3.0 %.",
        ),
        (
            "max_error_rate",
            0.13,
            0.13,
            "passed",
            "Between 5 % and 13 % of 1,000 labels look wrong; the limit is 13.0 %, and the whole range is within it.",
        ),
        (
            "max_error_rate",
            0.049,
            0.05,
            "failed",
            "Between 5 % and 13 % of 1,000 labels look wrong; the limit is 4.9 %, and the whole range is above it.",
        ),
        (
            "max_error_rate",
            0.05,
            0.08,
            "warned",
            "Between 5 % and 13 % of 1,000 labels look wrong; the limit is 5.0 %, which is inside this range. More "
            "verdicts would narrow it.",
        ),
        ("min_canary_recall", 0.9, 0.9, "passed", "90.0 % of the planted errors are caught; the limit is 90.0 %."),
        ("min_canary_recall", 0.95, 0.9, "failed", "90.0 % of the planted errors are caught; the limit is 95.0 %."),
        ("max_conflicting_copies", 2, 2, "passed", "2 groups of copies have different labels; the limit is 2."),
        ("max_conflicting_copies", 1, 2, "failed", "2 groups of copies have different labels; the limit is 1."),
        ("max_leaks", 1, 1, "passed", "1 group of copies is in several splits; the limit is 1."),
        ("max_leaks", 0, 1, "failed", "1 group of copies is in several splits; the limit is 0."),
        (
            "max_slice_ratio",
            3.0,
            3.0,
            "passed",
            "batch b07: 4.1 times as many wrong labels as the others (95 % interval 3.0 to 5.4), and 4.5 times as many "
            "flags. The limit is 3, and it applies to the lower end of the interval.",
        ),
        (
            "max_slice_ratio",
            2.5,
            3.0,
            "failed",
            "batch b07: 4.1 times as many wrong labels as the others (95 % interval 3.0 to 5.4), and 4.5 times as many "
            "flags. The limit is 2.5, and it applies to the lower end of the interval.",
        ),
        (
            "max_input_issues_share",
            0.02,
            0.02,
            "passed",
            "20 of 1,000 rows have inputs that are hard to use (2.0 %); the limit is 2.0 %.",
        ),
        (
            "max_input_issues_share",
            0.01,
            0.02,
            "failed",
            "20 of 1,000 rows have inputs that are hard to use (2.0 %); the limit is 1.0 %.",
        ),
    ],
)
def test_each_rule_at_and_beyond_its_limit(
    name: str, limit: float, measured: float, outcome: str, sentence: str
) -> None:
    found = rule({name: limit})
    assert (found.rule, found.measured, found.limit, found.outcome) == (name, measured, limit, outcome)
    assert found.sentence.replace("\N{NO-BREAK SPACE}", " ") == sentence


@pytest.mark.parametrize(
    ("before", "now", "limit", "measured", "outcome", "sentence"),
    [
        ({"cat": 1}, {"cat": 2}, 0, 0, "passed", "0 classes are new; the limit is 0."),
        ({"cat": 1}, {"cat": 2, "dog": 1}, 1, 1, "passed", "1 class is new: 'dog'; the limit is 1."),
        (
            {"cat": 1},
            {"cat": 2, "dog": 1, "eel": 1},
            1,
            2,
            "failed",
            "2 classes are new: 'dog', 'eel'; the limit is 1.",
        ),
        (
            {"a": 1},
            dict.fromkeys("abcdefgh", 1),
            0,
            7,
            "failed",
            "7 classes are new: 'b', 'c', 'd', 'e', 'f' and 2 more; the limit is 0.",
        ),
    ],
)
def test_new_classes(
    before: dict[str, int], now: dict[str, int], limit: int, measured: int, outcome: str, sentence: str
) -> None:
    found = rule({"max_new_classes": limit}, classes=compare_classes(before, now))
    assert (found.rule, found.measured, found.limit) == ("max_new_classes", measured, limit)
    assert (found.outcome, found.sentence) == (outcome, sentence)


@pytest.mark.parametrize(
    ("before", "now", "limit", "measured", "outcome", "sentence"),
    [
        (
            {"cat": 30, "dog": 30, "eel": 40},
            {"cat": 40, "dog": 30, "eel": 30},
            0.1,
            0.1,
            "passed",
            "The share of 'cat' among the labeled rows changed from 30.0 % to 40.0 %. "
            "The difference is 10.0 %; the limit is 10.0 %.",
        ),
        (
            {"cat": 60, "dog": 40},
            {"cat": 30, "dog": 70},
            0.25,
            0.3,
            "failed",
            "The share of 'cat' among the labeled rows changed from 60.0 % to 30.0 %. "
            "The difference is 30.0 %; the limit is 25.0 %.",
        ),
        (
            {"cat": 10},
            {"cat": 9, "dog": 1},
            0.05,
            0.1,
            "failed",
            "The share of 'cat' among the labeled rows changed from 100.0 % to 90.0 %. "
            "The difference is 10.0 %; the limit is 5.0 %.",
        ),
        (
            {"cat": 1, "dog": 1},
            {"cat": 2, "dog": 2},
            0.0,
            0.0,
            "passed",
            "Every class has the same share of the labeled rows as before.",
        ),
    ],
)
def test_the_largest_change_of_a_share(
    before: dict[str, int], now: dict[str, int], limit: float, measured: float, outcome: str, sentence: str
) -> None:
    found = rule({"max_class_share_change": limit}, classes=compare_classes(before, now))
    assert (found.rule, found.measured, found.limit) == ("max_class_share_change", measured, limit)
    assert found.outcome == outcome
    assert found.sentence.replace("\N{NO-BREAK SPACE}", " ") == sentence


def test_limits_by_class() -> None:
    limits = {"max_class_flagged_share": {"cat": 0.2, "dog": 0.01, "eel": 0.5, "dgo": 0.1}}
    cat, dog, eel, dgo, _ = gate(limits).rules
    assert (cat.rule, cat.outcome) == ("max_class_flagged_share: cat", Outcome.PASSED)
    assert (dog.outcome, dog.measured) == (Outcome.FAILED, 10 / 600)
    assert (eel.outcome, eel.sentence) == (
        Outcome.NOT_MEASURED,
        "Not measured: class 'eel' has too few rows and was set aside.",
    )
    assert (dgo.outcome, dgo.measured) == (Outcome.FAILED, None)
    assert dgo.sentence == "No row of this version has the label 'dgo', which the config limits."


@pytest.mark.parametrize(
    ("limits", "unknown", "why"),
    [
        ({"max_new_issues": 0}, "new_issues", "there is no previous audit to compare"),
        ({"max_new_issues_share": 0.0}, "new_issues", "there is no previous audit to compare"),
        (
            {"max_measured_error_rate": 0.0},
            "measured_error_rate",
            "no random sample of this version has enough verdicts",
        ),
        ({"max_new_classes": 0}, "classes", "there is no previous audit to compare"),
        ({"max_class_share_change": 0.0}, "classes", "there is no previous audit to compare"),
        ({"max_error_rate": 0.0}, "error_range", "no row has a score"),
        ({"min_canary_recall": 1.0}, "canary_recall", "too few rows can be trusted to plant errors"),
        (
            {"max_conflicting_copies": 0},
            "copies",
            "the probabilities were made elsewhere, and the contents of the rows are unknown",
        ),
        (
            {"max_leaks": 0},
            "copies",
            "the probabilities were made elsewhere, and the contents of the rows are unknown",
        ),
        ({"max_leaks": 0}, "has_splits", "the dataset has no splits"),
        ({"max_slice_ratio": 2.0}, "slices", "the config names no columns in dataset.slices"),
        (
            {"max_input_issues_share": 0.0},
            "quality",
            "the probabilities were made elsewhere, and the contents of the rows are unknown",
        ),
    ],
)
def test_what_is_not_measured_breaks_nothing(limits: dict[str, Any], unknown: str, why: str) -> None:
    found = gate(limits, **{unknown: None})
    assert found.rules[0].outcome == Outcome.NOT_MEASURED
    assert found.rules[0].measured is None
    assert found.rules[0].sentence == f"Not measured: {why}."
    assert found.verdict == GateVerdict.PASSED
    assert found.sentence == "The gate passed: 1 rule holds (1 could not be measured)."


def test_no_slice_is_worse() -> None:
    found = rule({"max_slice_ratio": 1.0}, slices=Slices({"batch": 9}, 9, 0, ()))
    assert (found.outcome, found.measured) == (Outcome.PASSED, None)
    assert found.sentence == "No slice has more wrong labels than the others, beyond chance."


def test_new_issues_that_could_not_be_counted_warn() -> None:
    lost = {"new_issues": None, "not_compared": "out/v1 holds no audit any more."}
    found = gate({"max_new_issues": 0, "max_new_issues_share": 0.0, "max_flagged_share": 0.5}, **lost)
    assert found.verdict == GateVerdict.WARNED
    assert found.sentence == (
        "The gate warns: the previous audit cannot be compared. Not measured: max_new_issues, max_new_issues_share."
    )
    for rule in found.rules[1:3]:
        assert (rule.outcome, rule.measured) == (Outcome.WARNED, None)
        assert rule.sentence == (
            "Not measured, because the previous audit cannot be compared: out/v1 holds no audit any more."
        )
    classes = gate({"max_new_classes": 0, "max_class_share_change": 0.0}, **lost)
    assert [rule.outcome for rule in classes.rules] == [Outcome.WARNED, Outcome.WARNED, Outcome.PASSED]
    assert classes.verdict == GateVerdict.WARNED
    broken = gate({"max_new_issues": 0, "max_flagged_share": 0.01}, **lost)
    assert broken.verdict == GateVerdict.FAILED
    assert broken.sentence == ("The gate failed: 1 of 3 rules is broken (1 could not be measured): max_flagged_share.")
    assert gate({"max_flagged_share": 0.5}, **lost).verdict == GateVerdict.PASSED, "nothing limits what is new"


def test_a_limit_inside_the_range_warns() -> None:
    found = gate({"max_error_rate": 0.08})
    assert found.verdict == GateVerdict.WARNED
    assert found.sentence == "The gate warns: the limit is inside the range. Not decided: max_error_rate."
    broken = gate({"max_error_rate": 0.08, "max_flagged_share": 0.01})
    assert broken.verdict == GateVerdict.FAILED
    assert broken.sentence == "The gate failed: 1 of 3 rules is broken: max_flagged_share."
    lost = {"new_issues": None, "not_compared": "It is gone."}
    assert gate({"max_error_rate": 0.08, "max_new_issues": 0}, **lost).sentence == (
        "The gate warns: the previous audit cannot be compared. Not measured: max_new_issues. The limit is inside the "
        "range. Not decided: max_error_rate."
    )


def test_without_a_predecessor_it_warns() -> None:
    limits = {"max_flagged_share": 0.01, "min_canary_recall": 0.5}
    assert gate(limits).sentence == "The gate failed: 1 of 3 rules is broken: max_flagged_share."
    first = gate(limits, has_predecessor=False)
    assert first.verdict == GateVerdict.WARNED
    assert first.sentence == (
        "The gate warns: 1 of 3 rules is broken: max_flagged_share. Without a previous audit, nothing fails."
    )
    assert first.rules == gate(limits).rules


def test_a_blind_detector_needs_no_limits() -> None:
    assert judge_limits(Limits(), MEASURES, has_predecessor=True) is None
    clean = {"issues": 0, "class_issues": {"cat": (400, 0)}}
    blind = gate({}, **clean, canary_recall=0.49)
    assert blind.verdict == GateVerdict.FAILED
    assert blind.rules[0].sentence.replace("\N{NO-BREAK SPACE}", " ") == (
        "The detector is blind: it flags no row and catches 49.0 % of the planted errors."
    )
    assert gate({}, has_predecessor=False, **clean, canary_recall=0.0).verdict == GateVerdict.WARNED
    for recall in (0.5, 1.0, None):
        assert judge_limits(Limits(), replace(MEASURES, issues=0, canary_recall=recall), has_predecessor=True) is None


def test_flags_that_people_dismissed_show_that_the_detector_sees() -> None:
    measures = replace(MEASURES, issues=0, canary_recall=0.0, dismissed=1)
    assert judge_limits(Limits(), measures, has_predecessor=True) is None


def test_a_clean_dataset_passes() -> None:
    found = gate({"max_flagged_share": 0.0}, issues=0, canary_recall=0.8)
    assert found.verdict == GateVerdict.PASSED
    assert "catches 80.0\N{NO-BREAK SPACE}% of the planted errors: it is not blind" in found.rules[1].sentence
    unknown = gate({"max_flagged_share": 0.0}, issues=0, canary_recall=None)
    assert unknown.rules[1].outcome == Outcome.NOT_MEASURED
    assert unknown.verdict == GateVerdict.PASSED


def test_a_long_class_name_is_cut() -> None:
    found = rule({"max_class_flagged_share": 0.5}, class_issues={"<b>" * 500: (10, 1)})
    assert len(found.sentence) < 200


@given(
    limits=st.fixed_dictionaries(
        {},
        optional={
            "max_flagged_share": st.floats(0, 1),
            "max_class_flagged_share": st.floats(0, 1),
            "max_new_issues": st.integers(0, 100),
            "max_new_issues_share": st.floats(0, 1),
            "max_measured_error_rate": st.floats(0, 1),
            "max_new_classes": st.integers(0, 3),
            "max_class_share_change": st.floats(0, 1),
            "min_canary_recall": st.floats(0, 1),
            "max_conflicting_copies": st.integers(0, 5),
            "max_leaks": st.integers(0, 5),
        },
    ),
    issues=st.integers(0, 100),
    new=st.none() | st.integers(0, 100),
    rate=st.none() | st.floats(0, 1),
    recall=st.none() | st.floats(0, 1),
    has_predecessor=st.booleans(),
    not_compared=st.none() | st.just("It is gone."),
    copies=st.none() | st.builds(Duplicates, *[st.integers(0, 5)] * 7),
    classes=st.none() | st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1),
)
def test_the_verdict_follows_from_the_rules(
    limits: dict[str, Any],
    issues: int,
    new: int | None,
    rate: float | None,
    recall: float | None,
    has_predecessor: bool,
    not_compared: str | None,
    copies: Duplicates | None,
    classes: dict[str, int] | None,
) -> None:
    differences = None if classes is None else compare_classes({"a": 5, "b": 5}, classes)
    measures = Measures(
        100,
        issues,
        {"cat": (100, issues)},
        (),
        new,
        rate,
        recall,
        not_compared=not_compared,
        classes=differences,
        copies=copies,
        has_splits=True,
    )
    found = judge_limits(Limits(**limits), measures, has_predecessor=has_predecessor)
    values = {
        "max_flagged_share": issues / 100,
        "max_class_flagged_share": issues / 100,
        "max_new_issues": new,
        "max_new_issues_share": None if new is None else new / 100,
        "max_measured_error_rate": rate,
        "max_new_classes": None if classes is None else len(classes.keys() - {"a", "b"}),
        "max_class_share_change": None if classes is None else _share_change(classes),
        "min_canary_recall": recall,
        "max_conflicting_copies": None if copies is None else copies.conflicts,
        "max_leaks": None if copies is None else copies.leaks,
    }
    broken = {
        name
        for name, limit in limits.items()
        if (value := values[name]) is not None and (value < limit if name == "min_canary_recall" else value > limit)
    }
    if issues == 0 and recall is not None and recall < 0.5:
        broken.add("blind_detector")
    if not limits and not broken:
        assert found is None
        return
    assert found is not None
    assert {rule.rule for rule in found.rules if rule.outcome == Outcome.FAILED} == broken
    assert {rule.rule for rule in found.rules} == {*limits, "blind_detector"}
    compared = {"max_new_issues": new, "max_new_issues_share": new}
    compared |= {"max_new_classes": classes, "max_class_share_change": classes}
    is_lost = not_compared is not None and any(compared[name] is None for name in limits.keys() & compared.keys())
    expected = "warned" if is_lost else "passed"
    if broken:
        expected = "failed" if has_predecessor else "warned"
    assert found.verdict == expected
    for rule in found.rules:
        assert rule.sentence.endswith(".")
        assert rule.rule in found.sentence or rule.rule not in broken


def _share_change(classes: dict[str, int]) -> float:
    total = sum(classes.values())
    shares = {name: Fraction(rows, total) for name, rows in classes.items()}
    halves = {"a": Fraction(1, 2), "b": Fraction(1, 2)}
    return float(max(abs(shares.get(name, 0) - halves.get(name, 0)) for name in {*shares, *halves}))


def test_an_issue_of_too_many_inputs_still_counts() -> None:
    quality = QualityFound(20, 3, {"blurred": 20}, {"dark": 0.2}, ())
    found = rule({"max_input_issues_share": 0.1}, quality=quality)
    assert (found.measured, found.outcome) == (0.2, "failed")
    assert found.sentence.startswith("So many rows have the issue 'dark' that they are not listed (20.0")
