"""What whole audits say about the quality of inputs: tables, notes, page, gate, check, dashboard, next version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelaudit.audits.comparison import compare_published
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.config import AuditConfig
from labelaudit.dashboard.queries import ANY_ISSUE, AuditQueries, Filters, Shown, connect
from labelaudit.findings import Outcome
from labelaudit.pipeline.check import check_dataset
from labelaudit.schemas import PREVIEWS, QUALITY
from support.audits import audit, fruit, settings, write_fruit

SPARSE, EQUAL = "fruit-0003", "fruit-0010"
# So many that a random sample does not contain all.
ROWS = 900


def sparse_fruit() -> pd.DataFrame:
    """Return fruit with a row that is mostly missing and a row of equal numbers."""
    frame = fruit(ROWS).drop(columns="true_label")
    numbers = ["weight", "length", "colour", "noise"]
    frame.loc[frame.id == SPARSE, numbers[:3]] = np.nan
    frame.loc[frame.id == EQUAL, numbers] = 0.0
    return frame


def config(folder: Path, version: str, **sections: object) -> AuditConfig:
    url = folder / "data" / "{version}.parquet"
    dataset = {"name": "fruit", "version": version, "label": "label", "id": "id"}
    return settings(url, folder / "out", dataset=dataset, cross_validation={"folds": 2}, **sections)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit v1, and v2 in which all inputs are good."""
    folder = tmp_path_factory.mktemp("versions")
    write_fruit(folder / "data" / "v1.parquet", sparse_fruit())
    audit(config(folder, "v1", gate={"max_input_issues_share": 0.001}, report={"previews": 2}))
    write_fruit(folder / "data" / "v2.parquet", fruit(ROWS).drop(columns="true_label"))
    audit(config(folder, "v2"))
    return folder


def published(versions: Path, version: str) -> PublishedAudit:
    return find_audit(version, dataset_url=f"{versions}/out/dataset=fruit")


def test_tables_counts_notes_and_gate(versions: Path) -> None:
    found = published(versions, "v1")
    table = found.table("quality.parquet", QUALITY).to_pylist()
    assert [(row["issue"], row["example_id"], row["value"]) for row in table] == [
        ("mostly_missing", SPARSE, 0.75),
        ("constant", EQUAL, 0.0),
    ]
    summary = found.summary()
    assert summary.quality is not None
    assert summary.quality.issues == {"mostly_missing": 1, "constant": 1}
    assert any(
        note.startswith("2 rows have inputs that are hard to use (1 mostly missing, 1 constant).")
        for note in summary.notes
    )
    assert summary.gate is not None
    rules = {rule.rule: (rule.measured, rule.outcome) for rule in summary.gate.rules}
    assert rules["max_input_issues_share"] == (2 / ROWS, Outcome.FAILED)


def test_the_page_shows_them(versions: Path) -> None:
    page = published(versions, "v1").read("report.html").decode()
    section = page.partition('<section id="quality"')[2].partition("</section>")[0]
    assert "weight: missing" in section
    assert 'id="quality"' not in published(versions, "v2").read("report.html").decode()


def test_reviewers_see_them(versions: Path) -> None:
    previews = published(versions, "v1").table("previews.parquet", PREVIEWS)
    # Not all of them.
    assert len(previews) < ROWS
    assert {SPARSE, EQUAL} <= set(previews["example_id"].to_pylist())


def test_the_dashboard_filters_by_them(versions: Path) -> None:
    (folder,) = (versions / "out" / "dataset=fruit" / "version=v1").iterdir()
    tables = AuditQueries(connect(folder), {path.name: path for path in folder.iterdir()}.get)
    assert tables.input_issues() == ["mostly_missing", "constant"]
    for issue, ids in ((ANY_ISSUE, [SPARSE, EQUAL]), ("constant", [EQUAL]), ("dark", [])):
        rows = tables.page(Filters(shown=Shown.ALL, input_issue=issue))
        assert sorted(row.example_id for row in rows) == sorted(ids)
    assert tables.page(Filters(shown=Shown.ALL, input_issue="constant"))[0].input_issues == "constant"


def test_a_check_names_the_rows(versions: Path) -> None:
    warnings = check_dataset(config(versions, "v1"), parallel=1, threads=1).warnings
    assert (
        f"2 rows have inputs that are hard to use (1 mostly missing, 1 constant). The first ones: {SPARSE}, {EQUAL}."
    ) in warnings


def test_a_second_audit_of_the_same_files_says_the_same(versions: Path) -> None:
    before = published(versions, "v1").summary()
    audit(config(versions, "v1", training={"seed": 5}))
    assert published(versions, "v1").summary().quality == before.quality


def test_the_next_version_is_compared(versions: Path) -> None:
    note = "Inputs that are constant: 0, compared with 1 in version v1."
    assert note in published(versions, "v2").summary().notes
    changes = compare_published(published(versions, "v1"), published(versions, "v2")).changes
    assert note in changes.notes
