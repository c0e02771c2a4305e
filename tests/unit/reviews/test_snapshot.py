"""Which verdicts apply to the rows of an audit."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from labelaudit.detection.issues import find_issues
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.findings import Precision
from labelaudit.reviews.sampling import Sample, SampledStratum
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.verdicts import Answer, LabeledExample
from labelaudit.schemas import Decision
from support.reviewed import GIVEN, NAMES, RIGHT, make_verdict

PRED_PROBS = (0.05 + 0.85 * np.eye(3)[RIGHT]).astype(np.float32)


def test_row_verdicts_and_findings_by_hand() -> None:
    verdicts = [
        make_verdict("i1", Decision.FINE),
        make_verdict("i2", Decision.WRONG),
        make_verdict("i3", Decision.AMBIGUOUS, was_flagged=False),
        make_verdict("i4", Decision.FINE, given_label="fly"),
        make_verdict("i5", Decision.FINE, content_digest="before"),
        make_verdict("gone", Decision.FINE),
        make_verdict("i6", Decision.REMOVE, given_label="fly"),
        make_verdict("removed", Decision.REMOVE),
    ]
    snapshot = ReviewSnapshot.of(verdicts, (), "v1")
    ids = ["i0", "i1", "i2", "i3", "i4", "i5", "i1", "i6"]
    rows = snapshot.for_rows(ids, ["c0"] * 8, ["bee"] * 6 + [None, "bee"])
    assert rows.verdicts.tolist() == [None, "fine", "wrong", "ambiguous", None, None, None, "remove"]
    assert rows.right_labels.tolist() == [None, None, "ant", None, None, None, None, None]
    assert rows.remove_reasons.tolist() == [None] * 7 + ["off-topic"]
    assert rows.is_fine.tolist() == [False, True, False, False, False, False, False, False]
    assert rows.is_removed.tolist() == [False] * 7 + [True]
    found = snapshot.findings(rows, dismissed=1)
    assert found.verdicts == {"wrong": 1, "fine": 1, "ambiguous": 1, "remove": 1}
    assert (found.ended, found.dismissed, found.known_wrong, found.error_rate) == (3, 1, 1, None)
    assert found.removal_sentence == "2 rows are to be removed; 1 is still in this version."
    assert found.precision is not None
    assert found.precision.fine == 4
    assert asdict(found)["precision"]["fine"] == 4


def test_a_decision_on_two_equal_rows_counts_once() -> None:
    rows = ReviewSnapshot.of([make_verdict("i1")], (), "v1").for_rows(["i1", "i1"], ["c0", "c0"], ["bee", "bee"])
    assert (rows.verdicts.tolist(), rows.counts["fine"]) == (["fine", "fine"], 1)


def test_a_snapshot_has_no_reviewers_and_times() -> None:
    mine = make_verdict(decision=Decision.WRONG)
    theirs = make_verdict(decision=Decision.WRONG, reviewer="bob", decided_at="2026-05-05", audit_id="a9")
    assert ReviewSnapshot.of([mine], (), "v1").to_json() == ReviewSnapshot.of([theirs], (), "v1").to_json()
    assert ReviewSnapshot.of([mine], (), "v1").to_json() != ReviewSnapshot.of([make_verdict()], (), "v1").to_json()


def test_a_record_gives_the_same() -> None:
    snapshot = ReviewSnapshot.of(
        [
            make_verdict("i1"),
            make_verdict("i2", Decision.WRONG, content_digest=None),
            make_verdict("i3", Decision.REMOVE, remove_reason="my own words"),
        ],
        (),
        "v1",
    )
    assert ReviewSnapshot.from_json(snapshot.to_json()) == snapshot


def test_rows_that_are_to_be_removed_do_not_count() -> None:
    wrong = np.flatnonzero(RIGHT != GIVEN)
    is_removed = np.zeros(len(GIVEN), dtype=bool)
    is_removed[[*wrong[:3], 1]] = True
    before = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES)
    after = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES, is_removed=is_removed)
    assert np.flatnonzero(after.is_label_issue).tolist() == wrong[3:].tolist()
    assert np.flatnonzero(after.is_dismissed).tolist() == wrong[:3].tolist()
    assert (after.p_wrong == before.p_wrong).all()
    stay = ~is_removed
    assert after.error_range.estimate == pytest.approx(float(before.p_wrong[stay].mean()))
    assert after.confusions["estimated_examples"].sum() == pytest.approx(float(before.p_wrong[stay].sum()), rel=1e-5)
    noise = dict(zip(after.classes["class_name"], after.classes["label_noise"], strict=True))
    for number, name in enumerate(NAMES):
        assert noise[name] == pytest.approx(float(before.p_wrong[stay & (number == GIVEN)].mean()), rel=1e-5)
    # The range is that of the rows that stay.
    without_flags = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES, is_removed=before.is_label_issue)
    assert without_flags.error_range.high < before.error_range.high
    assert without_flags.error_range.estimate < 0.5 * before.error_range.estimate
    # If none stays, there is still a range.
    none = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES, is_removed=np.ones(len(GIVEN), bool))
    assert (none.is_label_issue.any(), none.flag_precision) == (False, None)
    assert 0 <= none.error_range.low <= none.error_range.estimate <= none.error_range.high <= 1


def test_the_label_of_a_row_that_is_to_be_removed_says_nothing_about_its_copy() -> None:
    first = int(np.flatnonzero(RIGHT != GIVEN)[0])
    second = int(np.flatnonzero(GIVEN[first] != GIVEN)[0])
    copies = np.full(len(GIVEN), -1)
    copies[[first, second]] = 0
    alone = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES)
    is_removed = np.zeros(len(GIVEN), dtype=bool)
    is_removed[first] = True
    both = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES, copies=copies)
    assert both.p_wrong[second] > alone.p_wrong[second]
    found = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES, copies=copies, is_removed=is_removed)
    assert (found.p_wrong == alone.p_wrong).all()


@pytest.mark.parametrize("flagged", [0, 1, 8])
def test_fine_rows_are_never_flagged(flagged: int) -> None:
    wrong = np.flatnonzero(RIGHT != GIVEN)
    is_fine = np.zeros(len(GIVEN), dtype=bool)
    is_fine[wrong[flagged:]] = True
    is_fine[1] = True  # not flagged anyhow
    before = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES)
    after = find_issues(GIVEN, ArrayBlocks(PRED_PROBS), NAMES, is_fine=is_fine)
    assert np.flatnonzero(before.is_label_issue).tolist() == wrong.tolist()
    assert not before.is_dismissed.any()
    assert np.flatnonzero(after.is_label_issue).tolist() == wrong[:flagged].tolist()
    assert np.flatnonzero(after.is_dismissed).tolist() == wrong[flagged:].tolist()
    assert after.classes["label_issues"].sum() == after.classes["inverse_label_issues"].sum() == flagged
    assert after.confusions["examples"].sum() == flagged
    assert (after.p_wrong[is_fine] == 0).all()
    assert (after.p_wrong[~is_fine] == before.p_wrong[~is_fine]).all()
    assert after.cut == before.cut
    assert (after.label_score == before.label_score).all()


STORED = b"""{
  "decisions": [
    [
      "i1",
      null,
      "bee",
      "wrong",
      "ant"
    ]
  ],
  "error_rate": null,
  "precision": {
    "ambiguous": 0,
    "estimate": 1.0,
    "fine": 0,
    "high": 1.0,
    "low": 0.2,
    "random": null,
    "wrong": 1
  }
}
"""


def test_the_stored_format_does_not_change() -> None:
    """The digest of the snapshot is part of the audit id."""
    precision = Precision(1.0, 0.2, 1.0, wrong=1, fine=0, ambiguous=0, random=None)
    snapshot = ReviewSnapshot({LabeledExample("i1", None, "bee"): Answer(Decision.WRONG, "ant")}, precision)
    assert ReviewSnapshot.from_json(STORED) == snapshot
    assert snapshot.to_json() == STORED


R = Decision.REMOVE
ROWS = tuple(LabeledExample(f"i{number}", "c0", "bee") for number in range(6))
SAMPLED = Sample(
    "2026-01-01",
    "v1",
    "a1",
    "v1",
    0,
    (
        SampledStratum("p_wrong 0 to 0.5", 90, ROWS[:2], 0, (False, False)),
        SampledStratum("p_wrong 0.5 to 1", 10, ROWS[2:5], 10, (True, True, True)),
    ),
)
JUDGED = [
    make_verdict("i0", Decision.FINE),
    make_verdict("i1", Decision.AMBIGUOUS),
    make_verdict("i2", Decision.WRONG),
    make_verdict("i3", Decision.FINE),
    make_verdict("i4", Decision.WRONG),
    make_verdict("i5", Decision.WRONG),  # chosen, not drawn
]


def test_the_judged_rows_of_the_sample() -> None:
    snapshot = ReviewSnapshot.of(JUDGED, [SAMPLED], "v1")
    assert ReviewSnapshot.from_json(snapshot.to_json()) == snapshot
    # The order of the scored rows is that of the version.
    ids = ["i5", "i4", "i3", "i2", "i1", "i0", "other"]
    removed = ReviewSnapshot.of([*JUDGED, make_verdict("i3", R, decided_at="2027-01-01")], [SAMPLED], "v1")
    without = removed.judged_sample(ids, ["c0"] * 7, ["bee"] * 7)
    assert without is not None
    staying = without.among(~without.is_removed)
    assert (staying.positions.tolist(), staying.stratum.tolist()) == ([5, 4, 3, 1], [0, 0, 1, 1])
    # A third of the reviewed rows of the second stratum go, so those that stay are worth as much as before.
    assert staying.weights == pytest.approx([45, 45, 10 / 3, 10 / 3])
    found = snapshot.judged_sample(ids, ["c0"] * 7, ["bee"] * 7)
    assert found is not None
    assert found.positions.tolist() == [5, 4, 3, 2, 1]
    assert found.is_wrong.tolist() == [False, False, True, False, True]
    assert found.stratum.tolist() == [0, 0, 1, 1, 1]
    assert found.rows.tolist() == [90, 10]
    assert found.weights == pytest.approx([45, 45, 10 / 3, 10 / 3, 10 / 3])
    # A drawn row that is not scored now, or has another label: the sample is of other rows.
    assert snapshot.judged_sample(ids[1:5], ["c0"] * 4, ["bee"] * 4) is None
    assert snapshot.judged_sample(ids, ["c0"] * 7, ["fly", *["bee"] * 5, "fly"]) is not None
    assert snapshot.judged_sample(ids, ["c0"] * 7, ["bee", "fly", *["bee"] * 5]) is None


def test_a_sample_of_another_version_says_nothing_about_the_rows() -> None:
    snapshot = ReviewSnapshot.of(JUDGED, [SAMPLED], "v2")
    assert snapshot.error_rate is not None
    assert snapshot.judged_sample([row.example_id for row in ROWS], ["c0"] * 6, ["bee"] * 6) is None
