"""What to do with every row, by hand."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ReviewError
from labelaudit.reviews.clean_labels import (
    CLEAN,
    CLEANED_FROM,
    Action,
    CleaningRules,
    clean_table,
    cleaning_effect,
)
from labelaudit.reviews.snapshot import RowVerdicts
from labelaudit.schemas import EXAMPLES, ISSUES, Decision, Status

# example_id, given_label, status, predicted_label, is_label_issue, is_dismissed, p_wrong, suggested_label
ROWS = [
    ("kept", "ant", "scored", "ant", False, False, 0.1, None),
    ("flagged", "ant", "scored", "bee", True, False, 0.9, "bee"),
    ("close", "ant", "scored", "ant", True, False, 0.7, "fly"),  # the models predict the given label, but hardly
    ("dismissed", "ant", "scored", "bee", False, True, 0.8, None),
    ("sure", "ant", "scored", "ant", False, False, 0.95, None),  # not flagged by a filter of cleanlab
    ("rare", "wasp", "rare_class", None, None, None, None, None),
    ("unlabeled", None, "unlabeled", None, None, None, None, None),
    ("unreadable", "ant", "unreadable", None, None, None, None, None),
    ("twice", "ant", "duplicate_id", None, None, None, None, None),
]
IDS = [row[0] for row in ROWS]
UNDECIDED = {
    "kept": ("keep", "ant", "not flagged"),
    "flagged": ("unsure", "ant", "flagged, not reviewed"),
    "close": ("unsure", "ant", "flagged, not reviewed"),
    "dismissed": ("unsure", "ant", "flagged, not reviewed"),
    "sure": ("keep", "ant", "not flagged"),
    "rare": ("keep", "wasp", "its class has fewer rows than folds"),
    "unlabeled": ("unsure", None, "the row has no label"),
    "unreadable": ("unsure", "ant", "the input is missing or could not be decoded"),
    "twice": ("unsure", "ant", "another row has the same id"),
}


def tables(rows: list[tuple[Any, ...]]) -> tuple[pa.Table, pa.Table]:
    names = ["example_id", "given_label", "status", "predicted_label", "is_label_issue", "is_dismissed", "p_wrong"]
    records = [{**dict(zip(names, row, strict=False)), "content_digest": "c0"} for row in rows]
    examples = pa.Table.from_pylist(records, schema=pa.schema([EXAMPLES.field(name) for name in CLEANED_FROM]))
    flagged = [{"example_id": row[0], "suggested_label": row[7]} for row in rows if row[4]]
    schema = pa.schema([ISSUES.field(name) for name in ("example_id", "suggested_label")])
    return examples, pa.Table.from_pylist(flagged, schema=schema)


def said(decisions: dict[str, Decision], reason: str = "broken") -> RowVerdicts:
    verdicts, rights, reasons = (np.full(len(IDS), None, object) for _ in range(3))
    for name, decision in decisions.items():
        at = IDS.index(name)
        verdicts[at] = decision.value
        rights[at] = "fly" if decision == Decision.WRONG else None
        reasons[at] = reason if decision == Decision.REMOVE else None
    return RowVerdicts(verdicts, rights, reasons, {})


def clean(decisions: dict[str, Decision] | None = None, **limits: float) -> dict[str, tuple[str, str | None, str]]:
    table = clean_table(*tables(ROWS), said(decisions or {}), CleaningRules(**limits))
    assert table.schema == CLEAN
    assert table["example_id"].to_pylist() == IDS
    return {row["example_id"]: (row["action"], row["label"], row["reason"]) for row in table.to_pylist()}


def test_without_verdicts() -> None:
    assert clean() == UNDECIDED


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Decision.FINE, ("keep", "ant", "judged fine")),
        (Decision.WRONG, ("relabel", "fly", "judged wrong")),
        (Decision.AMBIGUOUS, ("unsure", "ant", "judged ambiguous")),
        (Decision.REMOVE, ("remove", None, "broken")),
    ],
)
@pytest.mark.parametrize("limits", [{}, {"relabel_above": 0.0}, {"remove_above": 0.0}])
def test_a_verdict_decides(decision: Decision, expected: tuple[str, str | None, str], limits: dict[str, float]) -> None:
    found = clean(dict.fromkeys(IDS, decision), **limits)
    assert {found[name] for name in ("kept", "flagged", "close", "dismissed", "sure")} == {expected}
    assert found["rare"][::2] == expected[::2]
    # The label does not matter where the row cannot be used. A reviewer can still remove it.
    for name in ("unlabeled", "unreadable", "twice"):
        assert found[name] == (expected if decision == Decision.REMOVE else UNDECIDED[name])


def test_limits_of_p_wrong_change_rows_without_a_verdict() -> None:
    found = clean(relabel_above=0.7)
    because = "p_wrong is at least 0.7"
    changed = {name: row for name, row in found.items() if row != UNDECIDED[name]}
    # Without a suggestion, `sure` stays as it is.
    assert changed == {
        "flagged": ("relabel", "bee", because),
        "close": ("relabel", "fly", because),
        "dismissed": ("relabel", "bee", because),
    }
    both = clean(relabel_above=0.75, remove_above=0.9)
    assert {name: row[0] for name, row in both.items() if row != UNDECIDED[name]} == {
        "flagged": "remove",
        "dismissed": "relabel",
        "sure": "remove",
    }
    assert both["flagged"] == ("remove", None, "p_wrong is at least 0.9")


def test_the_consensus_of_annotators_replaces_the_prediction() -> None:
    """They correct a row on which the models agree with its label, and confirm one on which these do not."""
    rows = [
        ("answers", "ant", "scored", "ant", False, False, 0.95, None),  # the models alone suggest nothing
        ("confirmed", "ant", "scored", "bee", False, False, 0.9, None),  # the models alone suggest bee
        ("third", "ant", "scored", "bee", False, True, 0.9, None),
        ("flagged", "ant", "scored", "bee", True, False, 0.9, "fly"),
        ("unanswered", "ant", "scored", "bee", False, False, 0.9, None),
        ("returned", "ant", "scored", "bee", False, True, 0.9, None),  # to be removed in the audit, but no longer
    ]
    labels = {"flagged": "fly", "answers": "bee", "third": "fly", "confirmed": "ant"}
    consensus = pa.table({"example_id": [*labels], "consensus_label": [*labels.values()]})
    examples, issues = tables(rows)
    returned = pc.equal(examples["example_id"], "returned")
    for name, value in (("verdict", pa.scalar("remove")), ("p_wrong_without_verdicts", pa.scalar(0.9, pa.float32()))):
        at = examples.schema.get_field_index(name)
        examples = examples.set_column(at, examples.field(at), pc.if_else(returned, value, examples[name]))
    verdicts = RowVerdicts(*(np.full(len(rows), None, object) for _ in range(3)), {})
    table = clean_table(examples, issues, verdicts, CleaningRules(relabel_above=0.5), consensus)
    assert list(zip(table["action"].to_pylist(), table["label"].to_pylist(), strict=True)) == [
        ("relabel", "bee"),
        ("keep", "ant"),
        ("relabel", "fly"),
        ("relabel", "fly"),
        ("relabel", "bee"),
        ("unsure", "ant"),
    ]


@pytest.mark.parametrize("remove_above", [0.5, 0.4])
def test_rules_that_contradict_each_other(remove_above: float) -> None:
    message = f"--remove-above {remove_above} removes every row that --relabel-above 0.5 relabels. Give --remove-above"
    with pytest.raises(ReviewError, match=re.escape(message)):
        CleaningRules(relabel_above=0.5, remove_above=remove_above)


def test_an_audit_without_p_wrong() -> None:
    examples, issues = tables([(*row[:6], None, row[7]) for row in ROWS])
    assert clean_table(examples, issues, said({}), CleaningRules())["action"].to_pylist()[:2] == ["keep", "unsure"]
    with pytest.raises(ReviewError, match="The audit is of an earlier release and has no p_wrong"):
        clean_table(examples, issues, said({}), CleaningRules(remove_above=0.9))


@given(
    st.dictionaries(st.sampled_from(IDS), st.sampled_from(Decision)),
    st.none() | st.sampled_from([0.0, 0.7, 0.8]),
    st.none() | st.sampled_from([0.85, 0.95]),
)
def test_every_row_has_an_action_and_removal_is_never_a_guess(
    decisions: dict[str, Decision], relabel_above: float | None, remove_above: float | None
) -> None:
    rules = CleaningRules(relabel_above, remove_above)
    table = clean_table(*tables(ROWS), said(decisions), rules)
    for row, source in zip(table.to_pylist(), ROWS, strict=True):
        action, verdict = Action(row["action"]), decisions.get(row["example_id"])
        assert (row["given_label"], row["reason"] != "") == (source[1], True)
        assert (row["label"] is None) == (action == Action.REMOVE or source[1] is None)
        if action == Action.REMOVE:
            assert verdict == Decision.REMOVE or (verdict is None and source[6] >= remove_above)
        if action == Action.RELABEL:
            assert row["label"] != source[1]
            assert verdict == Decision.WRONG or (verdict is None and source[6] >= relabel_above)
        if action == Action.KEEP:
            assert row["label"] == source[1]
            assert source[2] in (Status.SCORED, Status.RARE_CLASS)
    effect = cleaning_effect(table)
    assert sum(effect.actions.values()) == len(ROWS)
    assert sum(one.rows_after for one in effect.classes) == effect.actions["keep"] + effect.actions["relabel"]


def test_the_effect_on_classes() -> None:
    rows = [("keep", "ant", "ant")] * 8 + [("relabel", "bee", "ant")] * 2 + [("unsure", "fly", "fly")] * 2
    records = [{"action": action, "label": label, "given_label": given} for action, label, given in rows]
    effect = cleaning_effect(pa.Table.from_pylist(records, schema=CLEAN))
    assert effect.actions == {"keep": 8, "relabel": 2, "remove": 0, "unsure": 2}
    assert [(one.class_name, one.rows_before, one.rows_after) for one in effect.classes] == [
        ("ant", 10, 8),
        ("bee", 0, 2),
        ("fly", 2, 0),
    ]
    assert effect.classes[0].share_before == pytest.approx(10 / 12)
    assert effect.classes[0].share_after == pytest.approx(0.8)
    assert effect.warnings == ("No row is left to train the class 'fly': all 2 are relabeled, removed or unsure.",)
    fewer = [{"action": "keep", "label": name, "given_label": name} for name in "aaab"]
    fewer += [{"action": "remove", "label": None, "given_label": "b"}] * 3
    effect = cleaning_effect(pa.Table.from_pylist(fewer, schema=CLEAN))
    assert [warning.replace("\N{NO-BREAK SPACE}", " ") for warning in effect.warnings] == [
        "The share of the class 'b' falls from 57.1 % to 25.0 %."
    ]
    many = [{"action": "remove", "label": None, "given_label": f"c{number}"} for number in range(7)]
    effect = cleaning_effect(pa.Table.from_pylist(many, schema=CLEAN))
    assert effect.warnings[-1] == "2 more classes have no rows left."
