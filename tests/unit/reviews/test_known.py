"""What of the decisions holds for the rows of an audit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labelaudit.detection.issues import find_issues
from labelaudit.reviews.known import Known
from labelaudit.schemas import Decision
from support.reviewed import GIVEN, NAMES, RIGHT, make_verdict

PRED_PROBS = (0.05 + 0.85 * np.eye(3)[RIGHT]).astype(np.float32)


def test_marks_and_findings_by_hand() -> None:
    verdicts = [
        make_verdict("i1", Decision.FINE),
        make_verdict("i2", Decision.WRONG),
        make_verdict("i3", Decision.AMBIGUOUS, was_flagged=False),
        make_verdict("i4", Decision.FINE, given_label="fly"),
        make_verdict("i5", Decision.FINE, content_digest="before"),
        make_verdict("gone", Decision.FINE),
    ]
    known = Known.of(verdicts, (), "v1")
    ids = ["i0", "i1", "i2", "i3", "i4", "i5", "i1"]
    marks = known.marks(ids, ["c0"] * 7, ["bee"] * 6 + [None])
    assert marks.verdicts.tolist() == [None, "fine", "wrong", "ambiguous", None, None, None]
    assert marks.right_labels.tolist() == [None, None, "ant", None, None, None, None]
    assert marks.is_fine.tolist() == [False, True, False, False, False, False, False]
    found = known.findings(marks, dismissed=1)
    assert found["verdicts"] == {"wrong": 1, "fine": 1, "ambiguous": 1}
    assert (found["ended"], found["dismissed"], found["known_wrong"], found["error_rate"]) == (3, 1, 1, None)
    assert found["precision"]["fine"] == 4


def test_a_decision_on_two_equal_rows_counts_once() -> None:
    marks = Known.of([make_verdict("i1")], (), "v1").marks(["i1", "i1"], ["c0", "c0"], ["bee", "bee"])
    assert (marks.verdicts.tolist(), marks.holding["fine"]) == (["fine", "fine"], 1)


def test_who_decided_and_when_is_not_known() -> None:
    mine = make_verdict(decision=Decision.WRONG)
    theirs = make_verdict(decision=Decision.WRONG, reviewer="bob", decided_at="2026-05-05", audit_id="a9")
    assert Known.of([mine], (), "v1").to_record() == Known.of([theirs], (), "v1").to_record()
    assert Known.of([mine], (), "v1").to_record() != Known.of([make_verdict()], (), "v1").to_record()


def test_a_record_gives_the_same() -> None:
    known = Known.of([make_verdict("i1"), make_verdict("i2", Decision.WRONG, content_digest=None)], (), "v1")
    assert Known.from_record(json.loads(json.dumps(known.to_record()))) == known


@pytest.mark.parametrize("flagged", [0, 1, 8])
def test_what_is_fine_is_flagged_nowhere(flagged: int) -> None:
    wrong = np.flatnonzero(RIGHT != GIVEN)
    is_fine = np.zeros(len(GIVEN), dtype=bool)
    is_fine[wrong[flagged:]] = True
    is_fine[1] = True  # not flagged anyhow
    before = find_issues(GIVEN, PRED_PROBS, NAMES)
    after = find_issues(GIVEN, PRED_PROBS, NAMES, is_fine=is_fine)
    assert np.flatnonzero(before.is_label_issue).tolist() == wrong.tolist()
    assert not before.is_dismissed.any()
    assert np.flatnonzero(after.is_label_issue).tolist() == wrong[:flagged].tolist()
    assert np.flatnonzero(after.is_dismissed).tolist() == wrong[flagged:].tolist()
    assert after.classes["label_issues"].sum() == after.classes["inverse_label_issues"].sum() == flagged
    assert after.confusions["examples"].sum() == flagged
    # Estimates are of the probabilities, whatever people say.
    assert after.error_rate == before.error_rate
    assert (after.classes["label_noise"] == before.classes["label_noise"]).all()
    assert (after.label_score == before.label_score).all()
