"""What whole audits say about copies: notes, page, previews, gate, the check before an audit, and the next version."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from labelaudit.audits.comparison import compare_published
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.audits.results import load_summary
from labelaudit.config import AuditConfig
from labelaudit.findings import Outcome
from labelaudit.pipeline.check import check_dataset
from labelaudit.report.summary import markdown
from support.audits import CLASSES, audit, fruit, settings, table, write_fruit

HAVE = "{} groups of copies have different labels, {} rows; see duplicates.parquet."
# Copies of the first rows: these have another label.
RELABELED = 3


def plants(conflicts: int) -> pd.DataFrame:
    """Return fruit in two splits, and copies of the first 5 rows of the test split in the training split."""
    first = fruit(160).assign(split=["train", "test"] * 80).drop(columns="true_label")
    copied = first[first.split == "test"].head(5).assign(split="train")
    copied["id"] = [f"copy-{number}" for number in range(5)]
    labels = copied.label.tolist()
    copied["label"] = [
        CLASSES[CLASSES.index(label) - 1] if number < conflicts else label for number, label in enumerate(labels)
    ]
    return pd.concat([first, copied], ignore_index=True)


def config(folder: Path, version: str, **sections: object) -> AuditConfig:
    url = folder / "plants" / "{version}.parquet"
    dataset = {"name": "plants", "version": version, "label": "label", "id": "id"}
    return settings(url, folder / "out", dataset=dataset, cross_validation={"folds": 2}, **sections)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit v1 with 3 conflicts, and v2 with 1."""
    folder = tmp_path_factory.mktemp("versions")
    for version, conflicts in (("v1", RELABELED), ("v2", 1)):
        write_fruit(folder / "plants" / f"{version}.parquet", plants(conflicts))
        audit(config(folder, version, gate={"max_conflicting_copies": 1, "max_leaks": 0}))
    return folder


def published(versions: Path, version: str) -> PublishedAudit:
    return find_audit(version, dataset_url=f"{versions}/out/dataset=plants")


def test_notes_counts_and_gate(versions: Path) -> None:
    summary = published(versions, "v1").summary()
    assert summary.duplicates is not None
    assert (summary.duplicates.conflicts, summary.duplicates.leaks) == (RELABELED, 5)
    assert HAVE.format(3, 6) in summary.notes
    assert "3 groups of copies have different labels" in markdown(summary)
    assert sum("in several splits" in note for note in summary.notes) == 1
    assert summary.gate is not None
    rules = {rule.rule: (rule.measured, rule.outcome) for rule in summary.gate.rules}
    assert rules["max_conflicting_copies"] == (3, Outcome.FAILED)
    assert rules["max_leaks"] == (5, Outcome.FAILED)


def test_page_and_previews_show_them(versions: Path) -> None:
    found = published(versions, "v1")
    page = found.read("report.html").decode()
    conflicts = page.partition('<section id="conflicts"')[2].partition("</section>")[0]
    assert conflicts.count('class="group"') == RELABELED
    # Equal rows are shown once.
    first = plants(0).set_index("id").loc["copy-0"]
    assert conflicts.count(f"weight: {first.weight}, length: {first.length}") == 1
    assert "test, train" in page.partition('<section id="copies"')[2]


def test_reviewers_see_copies_even_if_few_issues_have_previews(tmp_path: Path) -> None:
    write_fruit(tmp_path / "plants" / "v1.parquet", plants(RELABELED))
    many = config(tmp_path, "v1", report={"previews": 2 * RELABELED, "examples": 3})
    previewed = set(table(audit(many), "previews")["example_id"].to_pylist())
    assert {f"copy-{number}" for number in range(RELABELED)} < previewed
    confidential = audit(config(tmp_path, "v1", report={"previews": 0, "examples": 0}))
    assert len(table(confidential, "previews")) == 0
    page = Path(confidential.report_url).read_text()
    assert "<blockquote" not in page
    assert page.count('class="member"') == 2 * RELABELED
    assert HAVE.format(3, 6) in load_summary(confidential, {}).notes


def test_a_check_names_the_rows(versions: Path) -> None:
    warnings = check_dataset(config(versions, "v2"), parallel=1, threads=1).warnings
    assert "1 group of copies has different labels, 2 rows: copy-0, fruit-0001." in warnings
    assert sum("groups of copies are in several splits (test, train), 10 rows: " in text for text in warnings) == 1


def test_the_next_version_is_compared(versions: Path) -> None:
    note = "Groups of copies with different labels: 1, compared with 3 in version v1."
    assert note in published(versions, "v2").summary().notes
    changes = compare_published(published(versions, "v1"), published(versions, "v2")).changes
    assert note in changes.notes
    assert not any("several splits" in text for text in changes.notes)
