"""The training dynamics of an audit: means over the folds that trained on a row, and what happens without them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.audit_plan import load_plan, output_store
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.audits.version import load_version
from labelaudit.errors import IntegrityError
from labelaudit.pipeline.gather import gather
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import train_and_commit
from labelaudit.storage.store import Store
from support.audits import InProcess, audit, fruit, settings, table, write_fruit

FOLDS, REPEATS = 3, 2
COLUMNS = ["dynamics_margin", "dynamics_p_given", "dynamics_spread", "dynamics_epochs"]


@pytest.fixture
def trained(tmp_path: Path) -> tuple[PlanReference, list[FoldReference]]:
    config = settings(
        write_fruit(tmp_path / "fruit.parquet", fruit(rows=90)),
        tmp_path / "out",
        training={"epochs": 3},
        cross_validation={"folds": FOLDS, "repeats": REPEATS},
    )
    reference = prepare(config)
    return reference, [train_and_commit(reference, fold) for fold in range(FOLDS * REPEATS)]


def record_of(store: Store, fold: FoldReference) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(store.read(fold.keys[0]))
    return record


def test_a_row_has_the_mean_of_the_folds_that_trained_on_it(tmp_path: Path) -> None:
    config = settings(
        write_fruit(tmp_path / "fruit.parquet", fruit(rows=90)),
        tmp_path / "out",
        training={"epochs": 3},
        cross_validation={"folds": FOLDS, "repeats": REPEATS},
    )
    caller = InProcess()
    examples = table(audit(config, caller), "examples").to_pandas()
    (reference,) = caller.references
    store, plan = output_store(reference), load_plan(reference)
    rows = load_version(reference, plan)
    seen: dict[str, list[tuple[float, ...]]] = {}
    for fold in range(FOLDS * REPEATS):
        record = json.loads(store.read(train_and_commit(reference, fold).keys[0]))
        values = pq.read_table(io.BytesIO(store.read(record["dynamics_key"]))).to_pandas()
        ids = rows.examples.example_id[rows.training(fold, FOLDS)]
        assert len(ids) == len(values) == record["training_examples"]
        for example_id, row in zip(ids, values.itertuples(index=False), strict=True):
            seen.setdefault(example_id, []).append(tuple(row))
    assert {len(values) for values in seen.values()} == {(FOLDS - 1) * REPEATS}
    expected = np.array([np.mean(seen[example_id], axis=0) for example_id in examples.example_id])
    found = examples[COLUMNS].to_numpy()
    np.testing.assert_allclose(found[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-5)
    within = [np.mean(np.square([row[2] for row in seen[example_id]])) for example_id in examples.example_id]
    between = [np.var([row[1] for row in seen[example_id]]) for example_id in examples.example_id]
    np.testing.assert_allclose(found[:, 2], np.sqrt(np.add(within, between)), atol=1e-5)


def test_dynamics_are_of_the_given_label_and_never_change_the_label_score(tmp_path: Path) -> None:
    frame = fruit()
    examples = table(audit(settings(write_fruit(tmp_path / "fruit.parquet", frame), tmp_path / "out")), "examples")
    found = examples.to_pandas().merge(frame, left_on="example_id", right_on="id")
    is_wrong = found.label != found.true_label
    assert found.dynamics_margin[is_wrong].median() < found.dynamics_margin[~is_wrong].quantile(0.1)
    np.testing.assert_allclose(found.label_score, found.p_given)


def test_an_earlier_release_committed_no_dynamics(trained: tuple[PlanReference, list[FoldReference]]) -> None:
    reference, folds = trained
    store = output_store(reference)
    record = record_of(store, folds[1])
    store.remove(record["dynamics_key"])
    old = {name: value for name, value in record.items() if not name.startswith("dynamics_")}
    store.write(folds[1].keys[0], json.dumps(old).encode())
    assert train_and_commit(reference, 1) == folds[1]
    assert json.loads(store.read(folds[1].keys[0])) == old, "the fold is not trained again"
    gathered = gather(reference, folds)
    assert "dynamics.parquet" not in gathered.sha256
    health = json.loads(store.read(f"{gathered.folder}/health.json"))
    note = "There are no training dynamics, because an earlier release trained 1 of 6 folds."
    assert note in health["notes"]


def test_changed_dynamics_are_an_error(trained: tuple[PlanReference, list[FoldReference]]) -> None:
    reference, folds = trained
    store = output_store(reference)
    key = record_of(store, folds[2])["dynamics_key"]
    store.write(key, store.read(key)[:-9] + b"something")
    with pytest.raises(IntegrityError, match=r"dynamics\.parquet is not the file that was committed") as caught:
        gather(reference, folds)
    assert caught.value.fold == 2


def test_dynamics_of_another_fold_are_an_error(tmp_path: Path) -> None:
    # 80 rows in 3 folds: they do not all have the same size.
    config = settings(write_fruit(tmp_path / "fruit.parquet", fruit(rows=80)), tmp_path / "out", training={"epochs": 2})
    reference = prepare(config)
    folds = [train_and_commit(reference, fold) for fold in range(FOLDS)]
    store = output_store(reference)
    records = [record_of(store, fold) for fold in folds]
    sizes = [record["training_examples"] for record in records]
    other = next(number for number in range(1, FOLDS) if sizes[number] != sizes[0])
    swapped = {**records[0], **{name: records[other][name] for name in ("dynamics_key", "dynamics_sha256")}}
    store.write(folds[0].keys[0], json.dumps(swapped).encode())
    with pytest.raises(IntegrityError, match=rf"has {sizes[other]} rows instead of {sizes[0]}"):
        gather(reference, folds)
