"""Reviewing a published audit: what is stored, what is refused, and the effect on the next audit."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.audit import audit_probabilities
from labelaudit.audits.published import PublishedAudit
from labelaudit.config import build_config
from labelaudit.errors import ConfigError, ReviewError
from labelaudit.pipeline.external_probabilities import ExternalProbabilities
from labelaudit.reviews.audit_review import add_drafts, audit_to_review, draw_by_flag, draw_sample, status
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.sample_store import read_samples
from labelaudit.reviews.verdict_store import append_verdicts, read_verdicts
from labelaudit.reviews.verdicts import current
from labelaudit.schemas import CLASSES, EXAMPLES, Decision
from labelaudit.storage.manifest import dump_json
from support.reviewed import (
    GIVEN,
    IDS,
    NAMES,
    RIGHT,
    ROWS,
    WRONG,
    audit_insects,
    make_verdict,
    right_label,
    truly,
)


def _summary(folder: Path, output: Path, **changes: object) -> tuple[Path, dict[str, object]]:
    again = Path(audit_insects(folder, output, **changes).audit_url)  # type: ignore[arg-type]
    return again, json.loads((again / "summary.json").read_text())


def test_a_verdict_is_about_the_row_of_the_audit(audit: PublishedAudit) -> None:
    assert len(add_drafts(audit, [truly("i000"), truly("i001")], reviewer=" ann ").new) == 2
    wrong, fine = read_verdicts(audit.store, "insects")
    assert (wrong.example_id, wrong.given_label, wrong.right_label, wrong.was_flagged) == ("i000", "bee", "ant", True)
    assert (fine.example_id, fine.verdict, fine.was_flagged) == ("i001", "fine", False)
    assert (fine.reviewer, fine.audit_id, fine.content_digest) == ("ann", audit.audit_id, None)


def test_importing_again_stores_nothing(audit: PublishedAudit) -> None:
    drafts = [truly(name) for name in IDS[:10]]
    assert len(add_drafts(audit, drafts, reviewer="ann").new) == 10
    assert len(add_drafts(audit, drafts, reviewer="ann").new) == 0
    assert len(list(Path(audit.store.url).glob("dataset=insects/_verdicts/*"))) == 1


def test_one_bad_draft_means_that_nothing_is_stored(audit: PublishedAudit) -> None:
    with pytest.raises(ReviewError, match="'nobody' is not a scored row of this audit"):
        add_drafts(audit, [truly("i000"), Draft("nobody", Decision.FINE)], reviewer="ann")
    with pytest.raises(ReviewError, match="A verdict needs the name of its reviewer"):
        add_drafts(audit, [truly("i000")], reviewer=" ")
    assert read_verdicts(audit.store, "insects") == []


def test_a_right_label_that_is_not_a_class_must_be_allowed(audit: PublishedAudit) -> None:
    wasp = [Draft("i000", Decision.WRONG, "wasp")]
    with pytest.raises(ReviewError, match="'wasp' is not a class"):
        add_drafts(audit, wasp, reviewer="ann")
    assert len(add_drafts(audit, wasp, reviewer="ann", allow_new_classes=True).new) == 1


def test_the_next_audit_remembers(tmp_path: Path, audit: PublishedAudit) -> None:
    decided = [
        Draft("i000", Decision.FINE),
        truly("i015"),
        Draft("i030", Decision.AMBIGUOUS),
        truly("i001"),
    ]
    add_drafts(audit, decided, reviewer="ann")
    folder, summary = _summary(tmp_path, tmp_path / "out")
    assert folder.name != audit.folder.rpartition("/")[2]
    examples = pd.read_parquet(folder / "examples.parquet").set_index("example_id")
    row = examples.loc["i000"]
    assert (row.verdict, row.is_label_issue, row.is_dismissed) == ("fine", False, True)
    assert row.label_score < 0.1
    assert examples.loc["i001", ["verdict", "is_dismissed"]].tolist() == ["fine", False]
    assert examples.loc["i015", ["verdict", "right_label", "is_label_issue"]].tolist() == ["wrong", "ant", True]
    issues = pd.read_parquet(folder / "issues.parquet").set_index("example_id")
    assert sorted(issues.index) == sorted(set(WRONG) - {"i000"})
    assert issues.loc["i030", "verdict"] == "ambiguous"
    assert pd.read_parquet(folder / "classes.parquet").label_issues.sum() == 7
    assert pd.read_parquet(folder / "confusions.parquet").examples.sum() == 7
    assert summary["issues"] == 7
    # One of 120 labels is known to be wrong, and two are known to be fine.
    found = summary["error_range"]
    assert isinstance(found, dict)
    assert found["basis"] == "probabilities"
    assert 1 / ROWS <= found["low"] <= found["estimate"] <= found["high"] <= 118 / ROWS
    assert examples.loc[["i000", "i001", "i015"], "p_wrong"].tolist() == [0, 0, 1]
    assert pd.read_parquet(folder / "confusions.parquet").estimated_examples.sum() == pytest.approx(
        examples.p_wrong.sum(), rel=1e-5
    )
    review = summary["review"]
    assert isinstance(review, dict)
    assert review["verdicts"] == {"wrong": 1, "fine": 2, "ambiguous": 1, "remove": 0}
    assert (review["ended"], review["dismissed"], review["known_wrong"]) == (0, 1, 1)
    assert (review["precision"]["wrong"], review["precision"]["fine"], review["precision"]["ambiguous"]) == (1, 1, 1)
    page = (folder / "report.html").read_text()
    assert "Judged wrong and not fixed yet: 1" in page
    assert "No label has been reviewed" not in page


def test_without_verdicts_nothing_changes(tmp_path: Path, audit: PublishedAudit) -> None:
    published = Path(audit.store.url) / audit.folder
    files = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    assert not list(Path(audit.store.url).rglob("review.json"))
    add_drafts(audit, [truly("i000")], reviewer="ann")
    add_drafts(audit, [Draft("i000", None)], reviewer="ann")
    assert read_verdicts(audit.store, "insects") != []
    folder, _ = _summary(tmp_path, tmp_path / "out")
    assert folder == published
    assert {path: path.read_bytes() for path in files} == files
    assert "No label has been reviewed yet" in (folder / "report.html").read_text()


def test_agreement_does_not_change_the_audit_id(tmp_path: Path, audit: PublishedAudit) -> None:
    add_drafts(audit, [truly("i000")], reviewer="ann")
    first, _ = _summary(tmp_path, tmp_path / "out")
    assert len(add_drafts(audit_to_review(str(first)), [truly("i000")], reviewer="bob").new) == 1
    assert _summary(tmp_path, tmp_path / "out")[0] == first


def test_a_fixed_label_expires_a_verdict_but_not_its_measurement(tmp_path: Path, audit: PublishedAudit) -> None:
    add_drafts(audit, [truly("i000"), Draft("i015", Decision.FINE)], reviewer="ann")
    given = list(NAMES[GIVEN])
    given[IDS.index("i000")] = right_label("i000")
    folder, summary = _summary(tmp_path, tmp_path / "out", given=given, version="v2")
    review = summary["review"]
    assert isinstance(review, dict)
    assert (review["ended"], review["known_wrong"], review["verdicts"]["fine"]) == (1, 0, 1)
    assert (review["precision"]["wrong"], review["precision"]["fine"]) == (1, 1)
    examples = pd.read_parquet(folder / "examples.parquet").set_index("example_id")
    assert pd.isna(examples.loc["i000", "verdict"])
    assert examples.loc["i015", "is_dismissed"]


def test_a_sample_measures_its_version_and_is_shown_in_the_next(tmp_path: Path, audit: PublishedAudit) -> None:
    sample = draw_by_flag(audit, flagged=100, unflagged=20, seed=3)
    assert [(one.name, one.rows, len(one.sampled)) for one in sample.strata] == [
        ("flagged", 8, 8),
        ("unflagged", 112, 20),
    ]
    assert {row.example_id for row in sample.strata[0].sampled} == set(WRONG)
    draw_by_flag(audit, flagged=100, unflagged=20, seed=3)
    assert [one.created_at for one in read_samples(audit.store, "insects")] == [sample.created_at]
    add_drafts(audit, [truly(row.example_id) for row in sample.shuffled()], reviewer="ann")
    _, summary = _summary(tmp_path, tmp_path / "out")
    rate = summary["review"]["error_rate"]  # type: ignore[index]
    assert rate["estimate"] == 8 / ROWS == rate["low"]
    assert (rate["same_version"], rate["version"]) == (True, "v1")
    limits = {name: rate[name] for name in ("estimate", "low", "high")}
    assert summary["error_range"] == {**limits, "basis": "verdicts"}
    assert "labels are wrong (95\N{NO-BREAK SPACE}% interval from 28 reviewed rows); 8 are flagged" in str(
        summary["verdict"]
    )
    folder, summary = _summary(tmp_path, tmp_path / "out", given=[*list(NAMES[GIVEN])[:-1], "ant"], version="v2")
    assert summary["review"]["error_rate"] == {**rate, "same_version": False}  # type: ignore[index]
    assert summary["error_range"]["basis"] == "probabilities"  # type: ignore[index]
    assert "The sample is from version v1" in (folder / "report.html").read_text()


def test_a_later_sample_of_another_version_hides_nothing(tmp_path: Path, audit: PublishedAudit) -> None:
    own = draw_by_flag(audit, flagged=8, unflagged=20, seed=0)
    add_drafts(audit, [truly(row.example_id) for row in own.shuffled()], reviewer="ann")
    fixed = list(NAMES[RIGHT])
    other = audit_to_review(audit_insects(tmp_path, tmp_path / "out", given=fixed, version="v2").audit_url)
    small = draw_by_flag(other, flagged=1, unflagged=1, seed=0)
    assert status(other).to_record()["sample"]["version"] == "v2"
    add_drafts(other, [Draft(row.example_id, Decision.FINE) for row in small.shuffled()], reviewer="ann")
    _, summary = _summary(tmp_path, tmp_path / "out")
    rate = summary["review"]["error_rate"]  # type: ignore[index]
    assert (rate["version"], rate["same_version"], rate["estimate"]) == ("v1", True, 8 / ROWS)
    assert status(other).to_record()["error_rate"]["version"] == "v2"
    assert [stratum["judged"] for stratum in status(audit).to_record()["sample"]["strata"]] == [8, 20]


def test_the_next_version_is_measured_on_other_rows(tmp_path: Path, audit: PublishedAudit) -> None:
    """With the same seed: rows that were judged and corrected would make it look better than it is."""
    given = [right_label("i000"), *NAMES[GIVEN][1:]]
    following = audit_to_review(audit_insects(tmp_path, tmp_path / "out", given=given, version="v2").audit_url)
    before, after = (draw_by_flag(one, flagged=7, unflagged=20, seed=0).strata[1].sampled for one in (audit, following))
    assert len(set(before) & set(after)) < 10
    again = draw_by_flag(audit, flagged=7, unflagged=40, seed=0).strata[1].sampled
    assert again[:20] == before


def test_an_audit_without_flags_is_one_stratum(tmp_path: Path) -> None:
    found = audit_to_review(audit_insects(tmp_path, tmp_path / "clean", given=list(NAMES[RIGHT])).audit_url)
    sample = draw_by_flag(found, flagged=10, unflagged=ROWS, seed=0)
    assert [(one.rows, len(one.sampled)) for one in sample.strata] == [(0, 0), (ROWS, ROWS)]
    add_drafts(found, [Draft(row.example_id, Decision.FINE) for row in sample.shuffled()], reviewer="ann")
    rate = status(found).to_record()["error_rate"]
    assert (rate["estimate"], rate["low"], rate["high"]) == (0, 0, 0)


def test_dismissed_flags_stay_in_the_stratum_of_the_flagged(tmp_path: Path, audit: PublishedAudit) -> None:
    add_drafts(audit, [Draft("i000", Decision.FINE)], reviewer="ann")
    folder, _ = _summary(tmp_path, tmp_path / "out")
    again = audit_to_review(str(folder))
    before, after = (draw_by_flag(one, flagged=8, unflagged=30, seed=0) for one in (audit, again))
    assert before.strata == after.strata
    add_drafts(again, [Draft("i000", Decision.FINE)], reviewer="bob")
    assert all(verdict.was_flagged for verdict in read_verdicts(again.store, "insects"))


def test_status_shows_the_current_verdicts(audit: PublishedAudit) -> None:
    empty = status(audit).to_record()
    assert (empty["flagged"], empty["flagged_judged"], empty["sample"], empty["precision"]) == (8, 0, None, None)
    sample = draw_by_flag(audit, flagged=4, unflagged=4, seed=0)
    add_drafts(audit, [truly(row.example_id) for row in sample.strata[0].sampled[:3]], reviewer="ann")
    add_drafts(audit, [Draft(sample.strata[0].sampled[0].example_id, Decision.FINE)], reviewer="bob")
    found = status(audit).to_record()
    assert json.loads(json.dumps(found)) == found
    assert (found["flagged_judged"], found["dismissed"], found["known_wrong"]) == (3, 1, 2)
    assert [stratum["judged"] for stratum in found["sample"]["strata"]] == [3, 0]
    assert found["error_rate"] is None
    assert found["reviewers"] == {"ann": 3, "bob": 1}
    assert found["disagreements"] == 1
    (row,) = found["disagreeing"]
    assert [(one["reviewer"], one["verdict"]) for one in row["verdicts"]] == [("ann", "wrong"), ("bob", "fine")]


def test_an_audit_by_its_folder_or_its_dataset(tmp_path: Path, audit: PublishedAudit) -> None:
    latest = audit_to_review(f"{tmp_path}/out/dataset=insects/")
    assert latest.folder == audit.folder
    assert latest.table("classes.parquet", CLASSES, ["class_name"]).num_rows == 3


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("out", "No audit is published at out. Name the folder of an audit"),
        (
            "out/dataset=insects/version=v2",
            "has no audit of version 'v2'. Audit it, or name another version (last audited: v1)",
        ),
        ("audit=x", "No audit is published at audit=x."),
        ("out/dataset=birds", "No audit is published at out/dataset=birds."),
        ("out/dataset=insect", "or name versions with --dataset. Did you mean dataset=insects?"),
        ("out/dataset=insect/version=v1", "(last audited: none). Did you mean dataset=insects?"),
        ("out/dataset=insects/version=v11", "(last audited: v1). Did you mean 'v1'?"),
        ("out/dataset=insects/version=v1/audit=0", "No audit is published at"),
    ],
)
def test_a_url_that_names_no_audit(
    tmp_path: Path, audit: PublishedAudit, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)):
        audit_to_review(url)


def test_an_audit_outside_the_folder_of_its_dataset(tmp_path: Path, audit: PublishedAudit) -> None:
    apart = shutil.copytree(Path(audit.store.url) / audit.folder, tmp_path / "apart")
    with pytest.raises(ReviewError, match="is an audit outside the folder of its dataset"):
        audit_to_review(str(apart))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"verdicts": None}, "verdicts: Input should be a valid array"),
        ({"verdicts": [{"example_id": "i0"}]}, "verdicts.0.content_digest: Field required"),
        (
            {"verdicts": [{**asdict(make_verdict()), "decided_at": 5}]},
            "verdicts.0.decided_at: Input should be a valid string",
        ),
        (
            {"verdicts": [{**asdict(make_verdict()), "right_label": ["x"]}]},
            "verdicts.0.right_label: Input should be a valid string",
        ),
        ({"verdicts": [{**asdict(make_verdict()), "right_label": "x"}]}, "is fine with right_label 'x'"),
        ([{}], "Input should be an object"),
        ({}, "verdicts: Field required"),
        ("[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        ("nothing", "Invalid JSON: expected ident"),
    ],
)
def test_a_broken_verdict_is_named(tmp_path: Path, audit: PublishedAudit, data: object, problem: str) -> None:
    key = "dataset=insects/_verdicts/broken.json"
    audit.store.write(key, (data if isinstance(data, str) else json.dumps(data)).encode())
    message = re.escape(f"{audit.store.url_of(key)} cannot be read as verdicts: ") + ".*" + re.escape(problem)
    with pytest.raises(
        ReviewError, match=message + r".*(?<!\.)\. Repair it, or move it elsewhere and decide these rows again"
    ):
        audit_insects(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"created_at": 1}, "created_at: Input should be a valid string"),
        ({"strata": [{}]}, "strata.0.name: Field required"),
        (None, "Input should be an object"),
    ],
)
def test_a_broken_sample_is_named(
    tmp_path: Path, audit: PublishedAudit, change: dict[str, object] | None, problem: str
) -> None:
    sample = draw_by_flag(audit, flagged=2, unflagged=2, seed=0)
    key = "dataset=insects/_samples/broken.json"
    audit.store.write(key, dump_json([{}] if change is None else {**asdict(sample), **change}))
    message = re.escape(f"{audit.store.url_of(key)} cannot be read as a sample: ") + ".*" + re.escape(problem)
    with pytest.raises(ReviewError, match=message + r".*Remove it; the same audit and seed give the same sample again"):
        audit_insects(tmp_path, tmp_path / "out")


def test_importing_again_does_not_overrule_others(audit: PublishedAudit) -> None:
    file = [truly(name) for name in IDS[:10]]
    add_drafts(audit, file, reviewer="ann")
    add_drafts(audit, [Draft("i000", Decision.AMBIGUOUS), truly("i001")], reviewer="bob")
    stood = current(read_verdicts(audit.store, "insects"))
    found = add_drafts(audit, file, reviewer="ann")
    assert (found.new, found.overruled) == ([], 1)
    assert current(read_verdicts(audit.store, "insects")) == stood


def test_a_verdict_with_a_clock_ahead_can_be_replaced(audit: PublishedAudit) -> None:
    add_drafts(audit, [truly("i000")], reviewer="bob")
    (verdict,) = read_verdicts(audit.store, "insects")
    ahead = replace(verdict, decided_at="2030-01-01T00:00:00.000000+00:00")
    append_verdicts(audit.store, "insects", [ahead])
    (new,) = add_drafts(audit, [Draft("i000", Decision.FINE)], reviewer="ann").new
    assert current(read_verdicts(audit.store, "insects"))[ahead.example] == new


def test_text_that_is_not_utf8_is_named(audit: PublishedAudit) -> None:
    with pytest.raises(ReviewError, match=re.escape("'\\ud800' is not a scored row of this audit")):
        add_drafts(audit, [Draft("\ud800", Decision.FINE)], reviewer="ann")
    with pytest.raises(ReviewError, match=re.escape("'i000': the right label '\\ud800' is not valid UTF-8")):
        add_drafts(audit, [Draft("i000", Decision.WRONG, "\ud800")], reviewer="ann", allow_new_classes=True)
    with pytest.raises(
        ReviewError, match=re.escape("The reviewer '\\udcff' of the verdict on 'i000' is not valid UTF-8")
    ):
        add_drafts(audit, [truly("i000")], reviewer="\udcff")
    assert read_verdicts(audit.store, "insects") == []


def test_stored_verdicts_can_be_read(audit: PublishedAudit) -> None:
    verdicts = [make_verdict("i1"), make_verdict("i2", Decision.WRONG)]
    append_verdicts(audit.store, "insects", verdicts[:1])
    append_verdicts(audit.store, "insects", verdicts[1:])
    assert sorted(read_verdicts(audit.store, "insects"), key=lambda verdict: verdict.example_id) == verdicts


def test_verdicts_on_random_rows_prove_a_promise(tmp_path: Path) -> None:
    """800 rows, of which the first 100 have a wrong label that the probabilities doubt."""
    right = np.arange(800) % 3
    given = np.where(np.arange(800) < 100, (right + 1) % 3, right)
    ids = [f"i{number:03d}" for number in range(800)]
    table = pa.table({"id": ids, "label": NAMES[given].tolist(), "pred_probs": list(0.05 + 0.85 * np.eye(3)[right])})
    path = tmp_path / "many.parquet"
    pq.write_table(table.replace_schema_metadata({"class_names": '["ant", "bee", "fly"]'}), path)
    config = build_config(
        {
            "dataset": {"url": str(path), "name": "insects", "version": "v1"},
            "detection": {"precision": 0.8},
            "output": {"url": str(tmp_path / "many")},
        }
    )
    first = audit_to_review(audit_probabilities(config, ExternalProbabilities(str(path))).audit_url)
    sample = draw_sample(first, rows=120, seed=0)
    assert [(one.name, one.rows) for one in sample.strata] == [("p_wrong 0 to 0.5", 700), ("p_wrong 0.5 to 1", 100)]
    drafts = [
        Draft(row.example_id, Decision.WRONG, str(NAMES[right[int(row.example_id[1:])]]))
        if int(row.example_id[1:]) < 100
        else Draft(row.example_id, Decision.FINE)
        for row in sample.shuffled()
    ]
    add_drafts(first, drafts, reviewer="ann")
    second = audit_to_review(audit_probabilities(config, ExternalProbabilities(str(path))).audit_url)
    assert second.audit_id != first.audit_id
    notes = " ".join(second.summary().notes)
    assert "With a probability of 90%, at least 80% of the 100 flagged labels are wrong." in notes
    assert "This rests on 120 verdicts on randomly drawn rows" in notes
    columns = ["p_wrong", "p_wrong_without_verdicts"]
    before, after = (one.table("examples.parquet", EXAMPLES, columns) for one in (first, second))
    assert after[columns[1]].equals(before[columns[1]])
    assert after[columns[0]].to_numpy().std() > before[columns[0]].to_numpy().std()
    # Verdicts move no row to another stratum, so a larger sample still contains the smaller one.
    larger = draw_sample(second, rows=200, seed=0)
    for small, large in zip(sample.strata, larger.strata, strict=True):
        assert (small.name, small.rows) == (large.name, large.rows)
        assert large.sampled[: len(small.sampled)] == small.sampled
