"""No path loses the verdict `remove` or its reason: files, storage, and the snapshot of an audit."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from labelaudit.reviews.drafts import AuditedExample, Draft, check_drafts
from labelaudit.reviews.label_studio import read_annotations
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.spreadsheet import csv_bytes, read_spreadsheet
from labelaudit.reviews.verdict_store import batch_bytes, batch_verdicts
from labelaudit.reviews.verdicts import LabeledExample, Verdict
from labelaudit.schemas import Decision, RemoveReason

ROW = LabeledExample("i1", "c0", "bee")
COLUMNS = ["example_id", "given_label", "verdict", "right_label", "remove_reason", "content_digest"]
# Written reasons lose the spaces around them, and offered ones are written in one way.
OFFERED = [reason.value for reason in RemoveReason]
REASONS = st.sampled_from(OFFERED) | st.text(st.characters(exclude_categories=["Cs"])).map(str.strip).filter(
    lambda text: text and "-".join(text.lower().replace("_", " ").split()) not in OFFERED
)


def checked(drafts: list[Draft]) -> Verdict:
    (verdict,) = check_drafts(
        drafts,
        {"i1": AuditedExample(ROW, True)},
        ["ant", "bee"],
        reviewer="ann",
        decided_at="2026-01-01T00:00:00.000000+00:00",
        audit_id="a1",
    )
    return verdict


def as_csv(verdict: Verdict) -> bytes:
    return csv_bytes(COLUMNS, [[getattr(verdict, name) for name in COLUMNS]])


@given(REASONS)
@example("=cmd|' /C calc'!A0; \"a leaf\",\nnot an insect")
@example("'quoted'")
def test_files_storage_and_snapshot_keep_a_removal(reason: str) -> None:
    written = csv_bytes(["example_id", "verdict", "remove_reason"], [["i1", "remove", reason]])
    verdict = checked(read_spreadsheet(written, "f.csv"))
    assert (verdict.verdict, verdict.remove_reason) == (Decision.REMOVE, reason)
    assert batch_verdicts(batch_bytes([verdict])) == [verdict]
    # A snapshot, the rows of an audit, and the file that is exported again.
    snapshot = ReviewSnapshot.from_json(ReviewSnapshot.of([verdict], (), "v1").to_json())
    assert dict(snapshot.answers) == {ROW: verdict.answer}
    for label in ("bee", "fly", None):
        rows = snapshot.for_rows(["i1"], ["c0"], [label])
        assert (rows.verdicts[0], rows.remove_reasons[0], rows.counts["remove"]) == ("remove", reason, 1)
    assert snapshot.for_rows(["i1"], ["c1"], ["bee"]).verdicts[0] is None
    assert checked(read_spreadsheet(as_csv(verdict), "f.csv")) == verdict


@given(REASONS)
def test_label_studio_keeps_a_removal(reason: str) -> None:
    def chosen(name: str, value: str) -> dict[str, object]:
        return {"from_name": name, "to_name": "example", "type": "choices", "value": {"choices": [value]}}

    task = {
        "data": {"example_id": "i1", "given_label": "bee", "content_digest": "c0"},
        "annotations": [{"result": [chosen("verdict", "remove"), chosen("remove_reason", reason)]}],
    }
    minimal = {"example_id": "i1", "verdict": "remove", "remove_reason": reason}
    for exported in (task, minimal):
        found = checked(read_annotations(json.dumps([exported]).encode(), "x.json"))
        assert (found.verdict, found.remove_reason) == (Decision.REMOVE, reason)
