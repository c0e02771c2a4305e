"""The verdict `remove` on its way from a file to the next audit and back: it is never lost, nor is its reason."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.comparison import compare_published
from labelaudit.audits.published import PublishedAudit
from labelaudit.reviews.audit_review import add_drafts, audit_to_review, scored_table, status
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.files import ExportKind, export, read_filled
from labelaudit.reviews.spreadsheet import csv_bytes
from labelaudit.schemas import Decision
from support.reviewed import GIVEN, NAMES, WRONG, audit_insects, open_insects

# Flagged rows and others, offered reasons and others.
REASONS = {
    "i000": "off-topic",
    "i015": "=cmd|' /C calc'!A0; \"a leaf\",\nnot an insect",
    "i001": "several-classes",
    "i002": "\u202e'not sharp",
}


def removals(reasons: dict[str, str]) -> list[Draft]:
    return [Draft(name, Decision.REMOVE, remove_reason=reason) for name, reason in reasons.items()]


def audit_again(tmp_path: Path, given: list[str] | None = None, version: str = "v1") -> PublishedAudit:
    return audit_to_review(audit_insects(tmp_path, tmp_path / "out", given, version).audit_url)


def test_no_step_loses_a_reason(tmp_path: Path, audit: PublishedAudit) -> None:
    file = csv_bytes(["example_id", "verdict", "remove_reason"], [(name, "remove", REASONS[name]) for name in REASONS])
    for _ in range(2):
        assert len(add_drafts(audit, read_filled(file, "removals.csv"), reviewer="ann").new) in (4, 0)
    after = audit_again(tmp_path)
    table = after.table("examples.parquet", pq.read_schema(Path(after.url) / "examples.parquet"))
    found = {row["example_id"]: row for row in table.to_pylist() if row["verdict"]}
    assert {name: row["remove_reason"] for name, row in found.items()} == REASONS
    assert {row["verdict"] for row in found.values()} == {"remove"}
    exported = export(after, ExportKind.VERDICTS, "verdicts.csv")
    # Import what was exported elsewhere, and here again.
    (tmp_path / "elsewhere").mkdir()
    elsewhere = open_insects(tmp_path / "elsewhere", tmp_path / "elsewhere" / "out")
    assert len(add_drafts(elsewhere, read_filled(exported, "verdicts.csv"), reviewer="ann").new) == 4
    assert add_drafts(after, read_filled(exported, "verdicts.csv"), reviewer="ann").new == []
    columns = ["example_id", "given_label", "verdict", "remove_reason", "was_flagged", "holds"]
    tables = [
        pq.read_table(io.BytesIO(export(one, ExportKind.VERDICTS, "v.parquet"))).select(columns)
        for one in (after, elsewhere)
    ]
    assert tables[0] == tables[1]
    assert tables[0]["remove_reason"].to_pylist() == [REASONS[name] for name in sorted(REASONS)]


def test_a_removed_row_is_no_label_issue(tmp_path: Path, audit: PublishedAudit) -> None:
    add_drafts(audit, removals(REASONS), reviewer="ann")
    after = audit_again(tmp_path)
    folder = Path(after.url)
    examples = pd.read_parquet(folder / "examples.parquet").set_index("example_id")
    before = pd.read_parquet(Path(audit.url) / "examples.parquet").set_index("example_id")
    assert examples.loc[["i000", "i015"], ["is_label_issue", "is_dismissed"]].values.tolist() == [[False, True]] * 2
    assert examples.loc[["i001", "i002"], ["is_label_issue", "is_dismissed"]].values.tolist() == [[False, False]] * 2
    # A removal says nothing about the label.
    assert (examples.p_wrong == before.p_wrong).all()
    assert sorted(pd.read_parquet(folder / "issues.parquet").example_id) == sorted(set(WRONG) - set(REASONS))
    assert scored_table(after)["was_flagged"] == scored_table(audit)["was_flagged"]
    classes = pd.read_parquet(folder / "classes.parquet").set_index("class_name")
    stay = examples[~examples.index.isin(REASONS)]
    assert classes.label_noise.to_dict() == pytest.approx(
        stay.groupby("given_label").p_wrong.mean().to_dict(), rel=1e-5
    )
    assert classes.examples.sum() == 120
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["issues"] == 6
    assert "of 116 labels" in summary["verdict"]
    assert summary["error_range"]["estimate"] == pytest.approx(stay.p_wrong.mean(), rel=1e-5)
    review = summary["review"]
    assert (review["verdicts"]["remove"], review["to_remove"], review["scored_to_remove"]) == (4, 4, 4)
    assert (review["dismissed"], review["ended"], review["known_wrong"], review["precision"]) == (0, 0, 0, None)
    assert "4 rows are to be removed, and still in this version." in summary["notes"]
    page = (folder / "report.html").read_text()
    assert "To be removed and still in this version: 4" in page
    assert "several-classes" in page
    changes = pd.read_parquet(folder / "changes.parquet") if (folder / "changes.parquet").exists() else None
    assert changes is None or set(changes.issue_change.dropna()) <= {"dismissed", "persistent"}


def test_a_removal_outlives_a_new_label_and_is_counted_until_the_row_is_gone(
    tmp_path: Path, audit: PublishedAudit
) -> None:
    add_drafts(audit, removals(REASONS), reviewer="ann")
    relabeled = [str(NAMES[(GIVEN[0] + 1) % 3]), *map(str, NAMES[GIVEN[1:]])]
    second = audit_again(tmp_path, relabeled, "v2")
    row = pd.read_parquet(Path(second.url) / "examples.parquet").set_index("example_id").loc["i000"]
    assert (row.verdict, row.remove_reason, row.is_label_issue) == ("remove", "off-topic", False)
    found = status(second)
    assert found.findings.removal_sentence == "4 rows are to be removed, and still in this version."
    difference = compare_published(audit, second)
    assert "4 rows are to be removed, and still in this version." in difference.changes.notes
    # Taken back under the new label, it no longer applies.
    add_drafts(second, [Draft("i000", None)], reviewer="bob")
    assert status(second).findings.verdicts["remove"] == 3
