"""Rows that people want to remove count neither in what an audit counts nor in what it is a share of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.config import AuditConfig
from labelaudit.findings import Gate, Rule
from labelaudit.reviews.audit_review import add_drafts
from labelaudit.reviews.drafts import Draft
from labelaudit.schemas import ANNOTATORS, ANSWERS, CONSENSUS, EXAMPLES, QUALITY, Decision
from support.audits import CLASSES, audit, fruit, settings, write_fruit

ROWS = 240
# Rows without most of their values. The first one is to be removed.
SPARSE = ("fruit-0003", "fruit-0011")
# Answered by zed alone.
ZED = ("fruit-0003", "fruit-0020", "fruit-0021")
LIMITS = {
    "max_flagged_share": 0.5,
    "max_class_flagged_share": dict.fromkeys(CLASSES, 0.5),
    "max_error_rate": 0.9,
    "max_input_issues_share": 0.5,
}


def answers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return three answers to each row, of which four of five are right; those of zed are all wrong."""
    generator = np.random.default_rng(0)
    rows = []
    for id, label in zip(frame.id, frame.true_label, strict=True):
        others = [name for name in CLASSES if name != label]
        if id in ZED:
            rows.append((id, "zed", others[0]))
            continue
        given = [label if generator.random() < 0.8 else others[int(generator.integers(2))] for _ in range(3)]
        rows += [(id, who, answer) for who, answer in zip(("ann", "bob", "cid"), given, strict=True)]
    return pd.DataFrame(rows, columns=["id", "annotator", "label"])


def config(folder: Path, limits: dict[str, object]) -> AuditConfig:
    dataset = {"name": "fruit", "version": "v1", "label": "label", "id": "id"}
    dataset["annotations"] = str(folder / "answers.parquet")
    return settings(
        folder / "{version}.parquet", folder / "out", dataset=dataset, cross_validation={"folds": 2}, gate=limits
    )


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> tuple[PublishedAudit, PublishedAudit, list[str]]:
    """Return an audit, the next one after rows are to be removed, and these rows: flagged ones and others."""
    folder = tmp_path_factory.mktemp("remove")
    frame = fruit(ROWS)
    frame.loc[frame.id.isin(SPARSE), ["weight", "length", "colour"]] = np.nan
    answers(frame).to_parquet(folder / "answers.parquet", index=False)
    write_fruit(folder / "v1.parquet", frame.drop(columns="true_label"))
    before = find_audit(audit(config(folder, LIMITS)).audit_url)
    flagged = examples_of(before).query("is_label_issue").index[:4]
    removed = sorted({*flagged, *ZED, "fruit-0030", "fruit-0031"})
    add_drafts(before, [Draft(name, Decision.REMOVE, remove_reason="broken") for name in removed], reviewer="ann")
    return before, find_audit(audit(config(folder, LIMITS)).audit_url), removed


def examples_of(found: PublishedAudit) -> pd.DataFrame:
    return found.table("examples.parquet", EXAMPLES).to_pandas().set_index("example_id")


def rules_of(gate: Gate | None) -> dict[str, Rule]:
    assert gate is not None
    return {rule.rule: rule for rule in gate.rules}


def test_input_quality(audits: tuple[PublishedAudit, PublishedAudit, list[str]]) -> None:
    before, after, _ = audits
    for found, listed in ((before, SPARSE), (after, SPARSE[1:])):
        assert found.table("quality.parquet", QUALITY)["example_id"].to_pylist() == list(listed)
        quality = found.summary().quality
        assert quality is not None
        assert (quality.rows, quality.issues) == (len(listed), {"mostly_missing": len(listed)})
    # What is known of the row stays.
    assert examples_of(after).input_issues[list(SPARSE)].tolist() == ["mostly_missing"] * 2


def test_gate(audits: tuple[PublishedAudit, PublishedAudit, list[str]]) -> None:
    for found in audits[:2]:
        examples = examples_of(found)
        stay = examples[examples.verdict != "remove"]
        rules = rules_of(found.summary().gate)
        assert rules["max_flagged_share"].measured == stay.is_label_issue.mean()
        for name in CLASSES:
            of_class = stay[stay.given_label == name]
            assert rules[f"max_class_flagged_share: {name}"].measured == of_class.is_label_issue.mean()
            assert f"of {len(of_class):,} rows labeled" in rules[f"max_class_flagged_share: {name}"].sentence
        assert rules["max_input_issues_share"].measured == stay.input_issues.notna().mean()
        assert f"of {len(stay):,} labels" in rules["max_error_rate"].sentence
        assert f"of {len(stay):,} labels" in found.summary().verdict


def test_annotators(audits: tuple[PublishedAudit, PublishedAudit, list[str]]) -> None:
    before, after, removed = audits
    every = after.table("answers.parquet", ANSWERS).to_pandas()
    assert len(every) == len(before.table("answers.parquet", ANSWERS))
    counted = every[~every.example_id.isin(removed)]
    consensus = after.table("consensus.parquet", CONSENSUS).to_pandas().set_index("example_id")
    assert sorted(consensus.index) == sorted(set(counted.example_id))
    annotators = after.table("annotators.parquet", ANNOTATORS).to_pandas().set_index("annotator")
    assert annotators.answers.to_dict() == counted.annotator.value_counts().to_dict()
    assert "zed" in before.table("annotators.parquet", ANNOTATORS)["annotator"].to_pylist()
    is_equal = counted.label == consensus.consensus_label[counted.example_id].to_numpy()
    assert annotators.agreement_with_consensus.to_dict() == is_equal.groupby(counted.annotator).mean().to_dict()
    mean = counted.p_right.mean()
    expected = counted.groupby("annotator").p_right.agg(lambda p: (p.sum() + 10 * mean) / (len(p) + 10))
    assert annotators.quality.to_dict() == pytest.approx(expected.to_dict(), abs=1e-6)
    summary = after.summary()
    found = summary.annotators
    assert found is not None
    assert (found.annotators, found.answers, found.rows) == (3, len(counted), len(consensus))
    assert found.to_removed_rows == len(every) - len(counted)
    assert found.other_labels == consensus.is_other_label.sum()
    assert found.quality == pytest.approx(mean, abs=1e-6)
    note = f"{found.to_removed_rows} answers do not count for annotators and consensus, because the rows are to be"
    assert any(one.startswith(note) for one in summary.notes)


def test_removals_do_not_change_what_the_detector_says(
    audits: tuple[PublishedAudit, PublishedAudit, list[str]],
) -> None:
    before, after = map(examples_of, audits[:2])
    assert (before.p_wrong_without_verdicts == after.p_wrong_without_verdicts).all()
    assert (before.is_label_issue == (after.is_label_issue | after.is_dismissed)).all()


def test_no_answer_is_left(audits: tuple[PublishedAudit, PublishedAudit, list[str]], tmp_path: Path) -> None:
    frame = fruit(60)
    answers(frame).head(6).to_parquet(tmp_path / "answers.parquet", index=False)
    write_fruit(tmp_path / "v1.parquet", frame.drop(columns="true_label"))
    before = find_audit(audit(config(tmp_path, {})).audit_url)
    answered = before.table("consensus.parquet", CONSENSUS)["example_id"].to_pylist()
    add_drafts(before, [Draft(name, Decision.REMOVE, remove_reason="broken") for name in answered], reviewer="ann")
    after = find_audit(audit(config(tmp_path, {})).audit_url)
    # Nothing else could be said, so all of them count.
    assert after.summary().annotators == before.summary().annotators is not None
