"""Trained audits after a review: nothing is trained again, and a resumed one has the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from labelaudit.audit import run_audit
from labelaudit.audits.audit_plan import load_plan, output_store
from labelaudit.audits.published import find_audit
from labelaudit.config import AuditConfig
from labelaudit.pipeline.plan import prepare
from labelaudit.reviews.audit_review import add_drafts
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.snapshot_store import SNAPSHOT_FILE, load_snapshot
from labelaudit.schemas import ISSUES, Decision
from support.audits import InProcess, audit, fruit, settings, table, write_fruit

P = ParamSpec("P")
T = TypeVar("T")


class KilledError(Exception):
    pass


class KilledBefore(InProcess):
    """A caller that dies when a step is called."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step = step

    def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if step.__name__ == self.step:
            raise KilledError(step.__name__)
        return super().call(step, *args, **kwargs)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an audited dataset. Tests use copies."""
    folder = tmp_path_factory.mktemp("first")
    config = settings(write_fruit(folder / "fruit.parquet"), folder / "out", cross_validation={"folds": 2})
    audit(config)
    return folder


@pytest.fixture
def config(first: Path, tmp_path: Path) -> AuditConfig:
    """Return the config of the audited dataset, whose output contains one audit."""
    shutil.copytree(first / "out", tmp_path / "out")
    return settings(first / "fruit.parquet", tmp_path / "out", cross_validation={"folds": 2})


def _review(config: AuditConfig, *decisions: Decision) -> list[str]:
    """Judge the most doubtful rows, and return their ids."""
    found = find_audit(f"{config.output.url}/dataset=fruit")
    issues = found.table("issues.parquet", ISSUES).to_pylist()[: len(decisions)]
    drafts = [
        Draft(row["example_id"], decision, row["suggested_label"] if decision == Decision.WRONG else None)
        for row, decision in zip(issues, decisions, strict=True)
    ]
    add_drafts(found, drafts, reviewer="ann")
    return [draft.example_id for draft in drafts]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_audit_after_a_review_trains_nothing(config: AuditConfig) -> None:
    before = audit(config)
    fine, wrong = _review(config, Decision.FINE, Decision.WRONG)
    records = {path: path.stat().st_mtime_ns for path in Path(config.output.url).rglob("fold=*.json")}
    caller = InProcess()
    after = audit(config, caller)
    assert after.audit_url != before.audit_url
    assert after.issues == before.issues - 1
    # A committed fold is found, and its record is not written again.
    assert {path: path.stat().st_mtime_ns for path in Path(config.output.url).rglob("fold=*.json")} == records
    assert [row["example_id"] for row in table(after, "examples").to_pylist() if row["is_dismissed"]] == [fine]
    issues = {row["example_id"]: row["verdict"] for row in table(after, "issues").to_pylist()}
    assert fine not in issues
    assert issues[wrong] == "wrong"
    assert audit(config).status == "already_published"


def test_a_changed_row_is_judged_again(config: AuditConfig, tmp_path: Path) -> None:
    fine, other = _review(config, Decision.FINE, Decision.FINE)
    frame = fruit().set_index("id", drop=False)
    frame.loc[fine, "weight"] += 1e-6
    changed = settings(write_fruit(tmp_path / "fruit.parquet", frame), config.output.url, cross_validation={"folds": 2})
    rows = {row["example_id"]: row["verdict"] for row in table(audit(changed), "examples").to_pylist()}
    assert (rows[fine], rows[other]) == (None, "fine")


@pytest.mark.parametrize("step", ["gather", "publish"])
def test_a_killed_audit_ends_with_the_same_bytes(config: AuditConfig, step: str) -> None:
    _review(config, Decision.FINE, Decision.AMBIGUOUS)
    with pytest.raises(KilledError):
        run_audit(config, KilledBefore(step))
    gone_on = audit(config)
    expected = _bytes(Path(gone_on.audit_url))
    assert json.loads(expected["summary.json"])["review"]["dismissed"] == 1
    shutil.rmtree(gone_on.audit_url)
    assert _bytes(Path(audit(config).audit_url)) == expected


def test_verdicts_given_during_an_audit_count_for_the_next(config: AuditConfig) -> None:
    _review(config, Decision.FINE)
    reference = prepare(config)
    plan = load_plan(reference)
    _review(config, Decision.FINE, Decision.FINE, Decision.FINE)
    snapshot = load_snapshot(output_store(reference), plan)
    assert len(snapshot.answers) == 1
    assert load_plan(prepare(config)).audit_id != plan.audit_id
    assert load_plan(prepare(config)).training_key == plan.training_key
    (record,) = Path(config.output.url).rglob(f"{plan.audit_id}/{SNAPSHOT_FILE}")
    assert b"ann" not in record.read_bytes()


def test_the_plan_of_an_earlier_release_is_kept(config: AuditConfig) -> None:
    reference = prepare(config)
    path = Path(config.output.url) / reference.key
    record = json.loads(path.read_text())
    assert record.pop("review_sha256") is None
    path.write_text(json.dumps(record))
    assert load_plan(prepare(config)).created_at == record["created_at"]
