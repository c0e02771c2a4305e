"""Training the folds of an audit again on cleaned labels."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.audit_plan import RECORD
from labelaudit.audits.published import PublishedAudit
from labelaudit.cli.prove import prove_cleaning
from labelaudit.errors import ReviewError
from labelaudit.pipeline.retraining import (
    Retraining,
    plan_retraining,
    plan_to_repeat,
    published_predictions,
    retrained_predictions,
)
from labelaudit.reviews.audit_review import add_drafts, audit_to_review, draw_sample
from labelaudit.reviews.clean_labels import CLEAN, Action, CleaningRules
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.files import clean_rows
from labelaudit.schemas import EXAMPLES, Decision
from labelaudit.storage.layout import work_folder
from support.audits import CLASSES, InProcess, audit, settings
from support.reviewed import open_insects

ROWS, LENGTH = 240, 8
RIGHT = np.arange(ROWS) % 3
IDS = [f"v{number:03d}" for number in range(ROWS)]
NO_RULES = CleaningRules()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an audit of vectors in three clusters, two repeats and two views. 30 % are mislabeled."""
    folder = tmp_path_factory.mktemp("first")
    generator = np.random.default_rng(0)
    values = 1.2 * generator.normal(size=(3, LENGTH))[RIGHT] + generator.normal(size=(ROWS, LENGTH))
    given = np.where(generator.random(ROWS) < 0.3, (RIGHT + 1) % 3, RIGHT)
    embedding = pa.array(values.tolist(), pa.list_(pa.float32()))
    data = pa.table({"id": IDS, "label": [CLASSES[label] for label in given], "embedding": embedding})
    pq.write_table(data, folder / "vectors.parquet")
    audit(
        settings(
            folder / "vectors.parquet",
            folder / "out",
            model={"views": ["probe", "neighbours"]},
            cross_validation={"folds": 3, "repeats": 2},
            dataset={"name": "vectors"},
        )
    )
    return folder


@pytest.fixture
def audited(first: Path, tmp_path: Path) -> PublishedAudit:
    shutil.copytree(first / "out", tmp_path / "out")
    return audit_to_review(f"{tmp_path / 'out'}/dataset=vectors")


def judge(audited: PublishedAudit, count: int, sampled: int = 0) -> None:
    """Judge the first rows like a person who knows the right labels. Draw a random sample first, if wanted."""
    if sampled:
        draw_sample(audited, rows=sampled, seed=0)
    given = audited.table("examples.parquet", EXAMPLES, ["example_id", "given_label"]).to_pylist()
    drafts = []
    for row in given[:count]:
        right = CLASSES[RIGHT[IDS.index(row["example_id"])]]
        is_fine = right == row["given_label"]
        decision = Decision.FINE if is_fine else Decision.WRONG
        drafts.append(Draft(row["example_id"], decision, None if is_fine else right))
    add_drafts(audited, drafts, reviewer="ann")


def test_cleaned_labels_train_better_models(audited: PublishedAudit) -> None:
    judge(audited, ROWS, sampled=ROWS)
    before = {path: path.read_bytes() for path in Path(audited.url).rglob("*") if path.is_file()}
    proof, url = prove_cleaning(audited, NO_RULES, InProcess())
    assert (proof.reviewed.rows, proof.training_rows) == (ROWS, ROWS)
    assert proof.sampled is not None
    # Every row was drawn, so the weights are equal.
    assert proof.sampled.after == pytest.approx(proof.reviewed.after)
    assert proof.reviewed.after > proof.reviewed.before
    assert proof.sentences[0].startswith("Cleaning helps: +")
    assert proof.actions["unsure"] == proof.actions["remove"] == 0
    stored = json.loads(Path(url).read_bytes())
    assert stored["sentences"] == list(proof.sentences)
    assert Path(url).parent == Path(audited.store.url) / "dataset=vectors" / "_proofs"
    # The published audit never changes, and a repetition trains nothing and finds the same.
    assert {path: path.read_bytes() for path in Path(audited.url).rglob("*") if path.is_file()} == before
    records = {path: path.stat().st_mtime_ns for path in Path(audited.store.url).rglob("fold=*.json")}
    again, _ = prove_cleaning(audited, NO_RULES, InProcess())
    assert {path: path.stat().st_mtime_ns for path in Path(audited.store.url).rglob("fold=*.json")} == records
    assert replace(again, created_at=proof.created_at) == proof


def test_the_models_of_the_audit_predict_the_same_on_both_ways(audited: PublishedAudit) -> None:
    """So a difference is one of the labels, not of how predictions are read and blended."""
    judge(audited, ROWS)
    cleaned = planned(audited)
    plan = plan_to_repeat(audited)
    scored = audited.table("examples.parquet", EXAMPLES, ["example_id", "given_label"])
    labels = np.array([plan.class_names.index(name) for name in scored["given_label"].to_pylist()], np.int64)
    as_audited = replace(cleaned, plan=plan, labels=labels)
    positions = np.arange(0, ROWS, 2)
    folds = [plan.fold_reference(fold) for fold in range(6)]
    found = retrained_predictions(as_audited, folds, positions)
    assert found.tolist() == published_predictions(audited, as_audited, positions).tolist()
    predicted = audited.table("examples.parquet", EXAMPLES, ["predicted_label"])["predicted_label"].to_pylist()
    assert [plan.class_names[number] for number in found] == predicted[::2]


def planned(audited: PublishedAudit, clean: pa.Table | None = None) -> Retraining:
    rows = clean_rows(audited, NO_RULES) if clean is None else clean
    return plan_retraining(audited, plan_to_repeat(audited), rows, {})


def test_rows_that_are_left_out_are_held_out_but_not_trained_on(audited: PublishedAudit) -> None:
    judge(audited, 60)
    add_drafts(audited, [Draft(IDS[100], Decision.REMOVE, remove_reason="broken")], reviewer="ann")
    add_drafts(audited, [Draft(IDS[101], Decision.WRONG, "a new class")], reviewer="ann", allow_new_classes=True)
    add_drafts(audited, [Draft(IDS[102], Decision.AMBIGUOUS)], reviewer="ann")
    caller = InProcess()
    proof, _ = prove_cleaning(audited, NO_RULES, caller)
    assert (proof.other_labels, proof.sampled) == (1, None)
    cleaned = planned(audited)
    assert cleaned.labels[[100, 101, 102]].tolist() == [-1, -1, -1]
    left_out = int((cleaned.labels < 0).sum())
    assert proof.training_rows == ROWS - left_out < ROWS - 3
    folder = Path(cleaned.reference.output_url) / cleaned.plan.work_folder
    trained = []
    for fold in range(6):
        record = json.loads((Path(audited.store.url) / cleaned.plan.fold_reference(fold).keys[0]).read_text())
        assert record["held_out_examples"] == ROWS // 3
        trained.append(record["training_examples"])
    # Each row is left out of two of three folds' training, in each repeat.
    assert sum(trained) == 2 * 2 * (ROWS - left_out)
    rows = pq.read_table(folder / "rows.parquet")
    assert rows["is_left_out"].to_numpy().sum() == left_out


def test_cleaned_labels_that_are_the_given_ones(audited: PublishedAudit) -> None:
    clean = clean_rows(audited, NO_RULES)
    columns = [
        clean["example_id"],
        clean["given_label"],
        *(pa.array([word] * ROWS) for word in ("keep", "not flagged")),
    ]
    kept = pa.table([*columns, clean["p_wrong"], clean["given_label"]], schema=CLEAN)
    with pytest.raises(ReviewError, match="The cleaned labels are the given ones: all 240 scored rows are kept"):
        planned(audited, kept)
    with pytest.raises(ReviewError, match="The rows of the audit are not those of its plan"):
        planned(audited, kept.slice(1))


def test_a_class_without_rows_to_train(audited: PublishedAudit) -> None:
    clean = clean_rows(audited, NO_RULES).to_pylist()
    for row in clean:
        if row["given_label"] == CLASSES[0]:
            row["action"], row["label"] = Action.REMOVE.value, None
    message = f"No row is left to train these classes without fold 0: {CLASSES[0]}. Review their"
    with pytest.raises(ReviewError, match=re.escape(message)):
        planned(audited, pa.Table.from_pylist(clean, schema=CLEAN))


def test_too_few_verdicts_are_said_before_training(audited: PublishedAudit) -> None:
    judge(audited, 59)
    caller = InProcess()
    with pytest.raises(ReviewError, match="59 scored rows are judged wrong or fine"):
        prove_cleaning(audited, NO_RULES, caller)


def test_audits_that_cannot_be_trained_again(audited: PublishedAudit, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    external = open_insects(tmp_path / "elsewhere", tmp_path / "elsewhere" / "out")
    with pytest.raises(ReviewError, match=r"were made elsewhere, so its models cannot be trained again"):
        plan_to_repeat(external)
    folder = work_folder(audited.dataset, audited.version, audited.audit_id)
    path = Path(audited.store.url) / folder / RECORD
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "versions": {**record["versions"], "labelaudit": "0.0.1"}}))
    with pytest.raises(ReviewError, match=r"The audit was made by labelaudit 0\.0\.1, and this is"):
        plan_to_repeat(audited)
    path.write_text(json.dumps({**record, "code": "changed"}))
    with pytest.raises(ReviewError, match="The code or the weights of the network changed since the audit"):
        plan_to_repeat(audited)
    path.write_text("{}")
    with pytest.raises(ReviewError, match="is not a plan of this release"):
        plan_to_repeat(audited)
    path.unlink()
    with pytest.raises(ReviewError, match="The plan of the audit is no longer at"):
        plan_to_repeat(audited)
