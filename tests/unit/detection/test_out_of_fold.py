"""Gathering joins by id, checks the partition, and names every fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection.rows import ids_digest, row_digests
from labelaudit.errors import DatasetError, Fault, IntegrityError
from support.simulated import Run, simulate_probs, simulate_run, split_run

RUN = simulate_run()
PART = RUN.parts[1]
N = len(PART.example_ids)


def fault_of(run: Run, match: str | None = None) -> IntegrityError:
    with pytest.raises(IntegrityError, match=match) as caught:
        run.gather()
    assert "Remove this fold's files and run the audit again" in str(caught.value)
    return caught.value


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_joined_by_id_whatever_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = simulate_probs(RUN.labels, 4, signal=2.0)
    order = rng.permutation(len(RUN.labels))
    shuffled = replace(
        RUN,
        parts=[RUN.parts[i] for i in rng.permutation(4)],
        example_ids=RUN.example_ids[order],
        labels=RUN.labels[order],
        fold_of=RUN.fold_of[:, order],
    )
    gathered = shuffled.gather()
    assert gathered.pred_probs.dtype == np.float32
    assert gathered.pred_probs.tobytes() == probs[order].tobytes()
    assert [fold.fold for fold in gathered.folds] == [0, 1, 2, 3]
    assert gathered.notes == ()


def test_health_of_folds() -> None:
    health = RUN.gather().folds[1]
    labels = RUN.labels[RUN.fold_of[0] == 1]
    probs = simulate_probs(RUN.labels, 4, signal=2.0)[RUN.fold_of[0] == 1]
    assert health.examples == N == 150
    assert health.agreement == (probs.argmax(axis=1) == labels).mean()
    assert health.mean_p_given == pytest.approx(probs[np.arange(N), labels].mean())
    assert health.z > 15


def test_repeats_are_averaged() -> None:
    first = simulate_run(seed=0)
    probs = simulate_probs(first.labels, 4, signal=2.0, seed=9)
    second = split_run(first.labels, probs, 3, seed=9)
    parts = [replace(part, fold=part.fold + 4, repeat=1) for part in second.parts]
    both = replace(
        first,
        parts=[*parts, *first.parts],
        fold_of=np.vstack([first.fold_of, second.fold_of + 4]),
    )
    gathered = both.gather()
    np.testing.assert_allclose(
        gathered.pred_probs, (probs + simulate_probs(first.labels, 4, signal=2.0)) / 2, atol=1e-6
    )
    assert [(fold.fold, fold.repeat) for fold in gathered.folds] == [
        (0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1),
    ]  # fmt: skip


def test_rounded_rows_are_reported_per_fold() -> None:
    gathered = RUN.with_probs(2, lambda probs: (probs * 1.0004).astype(np.float32)).gather()
    assert gathered.notes == (
        "Fold 2: 150 of 150 rows did not sum to exactly 1 because of rounding (difference 4.0e-04 or less) and were "
        "normalised.",
    )
    np.testing.assert_allclose(gathered.pred_probs.sum(axis=1), 1, atol=1e-6)


def nan_row_per_class(probs: np.ndarray) -> np.ndarray:
    for k in range(probs.shape[1]):
        probs[probs.argmax(axis=1).tolist().index(k)] = np.nan
    return probs


def zero_row(probs: np.ndarray) -> np.ndarray:
    probs[7] = 0
    return probs


@pytest.mark.parametrize(
    ("change", "fault", "rows", "match"),
    [
        (nan_row_per_class, Fault.NOT_FINITE, 4, "fold 1: 4 of 150 rows have NaN"),
        (zero_row, Fault.ALL_ZERO, 1, "1 of 150 rows have only zeros"),
        (lambda probs: probs * 2, Fault.NOT_A_DISTRIBUTION, 150, "do not sum to 1"),
        (lambda probs: probs[:, :3], Fault.CLASS_ORDER, 150, r"shape \(150, 3\)"),
        (lambda probs: probs[:149], Fault.ROWS_MISSING, 1, r"shape \(149, 4\)"),
        (lambda probs: np.roll(probs, 1, axis=0), Fault.ROWS_SHIFTED, 150, "1 rows further down"),
        (lambda probs: probs[:, [1, 0, 2, 3]], Fault.CLASSES_SWAPPED, 150, "'class 00', 'class 01'"),
        (lambda probs: probs[:, ::-1], Fault.CLASSES_SWAPPED, 150, "columns of 4 classes"),
        (lambda probs: np.full_like(probs, 0.25), Fault.LEARNED_NOTHING, 150, "same probabilities"),
        (lambda probs: probs[np.random.default_rng(0).permutation(150)], Fault.LEARNED_NOTHING, 150, "look random"),
        (
            lambda probs: np.random.default_rng(0).dirichlet(np.ones(4), 150).astype(np.float32),
            Fault.LEARNED_NOTHING,
            150,
            "learned nothing",
        ),
    ],
)
def test_faults_in_the_values_of_one_fold(
    change: Callable[[np.ndarray], np.ndarray], fault: Fault, rows: int, match: str
) -> None:
    error = fault_of(RUN.with_probs(1, change), match)
    assert (error.fault, error.fold, error.rows) == (fault, 1, rows)


def test_every_fault_is_also_seen_by_the_digests() -> None:
    shifted = RUN.with_part(1, pred_probs=np.roll(PART.pred_probs, 1, axis=0))
    assert fault_of(shifted, "shifted against their ids").fault == Fault.ROWS_SHIFTED
    swapped = RUN.with_part(1, pred_probs=np.ascontiguousarray(PART.pred_probs[:, [0, 2, 1, 3]]))
    assert fault_of(swapped, "columns 1 and 2").fault == Fault.CLASSES_SWAPPED
    one_row = PART.pred_probs.copy()
    one_row[5] = one_row[5][[3, 0, 1, 2]]
    error = fault_of(RUN.with_part(1, pred_probs=one_row), f"1 of 150 rows.*{PART.example_ids[5]}")
    assert error.fault == Fault.ROWS_ALTERED
    nothing = np.random.default_rng(0).dirichlet(np.ones(4), 150).astype(np.float32)
    # A named check comes before the catch-all.
    assert fault_of(RUN.with_part(1, pred_probs=nothing), "look random").fault == Fault.LEARNED_NOTHING


@pytest.mark.parametrize("rows", [2, 40])
def test_digests_work_where_statistics_cannot(rows: int) -> None:
    """A fold of a few rows and 20 classes, with two columns exchanged."""
    labels = np.arange(rows * 3) % 20
    run = split_run(labels, simulate_probs(labels, 20, signal=5.0), 3, fold_of=np.arange(rows * 3) % 3)
    probs = run.parts[2].pred_probs.copy()
    probs[:, [4, 5]] = probs[:, [5, 4]]
    assert fault_of(run.with_part(2, pred_probs=probs), "columns 4 and 5").fold == 2


@pytest.mark.parametrize(
    ("run", "fault", "fold", "rows", "match"),
    [
        (replace(RUN, parts=RUN.parts[:3]), Fault.ROWS_MISSING, 3, 150, "all 150 rows of this fold"),
        (replace(RUN, parts=[*RUN.parts, PART]), Fault.ROWS_DOUBLED, 1, 150, "has two results"),
        (
            RUN.with_part(1, fold=7),
            Fault.ROWS_UNKNOWN,
            7,
            150,
            r"does not have this fold \(folds of this audit: 0 to 3\)",
        ),
        (RUN.with_part(1, repeat=1), Fault.ROWS_UNKNOWN, 1, 150, "repeat 1 does not have this fold"),
        (
            RUN.with_part(1, example_ids=PART.example_ids[1:], pred_probs=PART.pred_probs[1:]),
            Fault.ROWS_MISSING,
            1,
            1,
            f"1 rows of the 150 held out have no .*first: {PART.example_ids[0]}",
        ),
        (
            RUN.with_part(1, example_ids=PART.example_ids[np.r_[0, 0, 2:N]]),
            Fault.ROWS_DOUBLED,
            1,
            1,
            f"repeat an id of this fold .first: {PART.example_ids[0]}",
        ),
        (
            RUN.with_part(1, example_ids=np.r_[["x", "y"], PART.example_ids[2:]]),
            Fault.ROWS_UNKNOWN,
            1,
            2,
            r"2 rows have ids that are not in the dataset \(first: x, y\)",
        ),
        (
            RUN.with_part(1, example_ids=np.r_[RUN.parts[2].example_ids[:1], PART.example_ids[1:]]),
            Fault.ROWS_DOUBLED,
            1,
            1,
            "are also rows of fold 2",
        ),
        (
            replace(RUN, parts=[replace(RUN.parts[1], fold=0), replace(RUN.parts[0], fold=1), *RUN.parts[2:]]),
            Fault.SEEN_IN_TRAINING,
            0,
            150,
            "held out by fold 1, so this fold's model was trained on them",
        ),
        (
            RUN.with_part(1, trained_on=ids_digest(RUN.example_ids)),
            Fault.SEEN_IN_TRAINING,
            1,
            150,
            "not trained on the 450 rows outside",
        ),
        (
            RUN.with_part(1, class_names=("class 01", "class 00", "class 02", "class 03")),
            Fault.CLASS_ORDER,
            1,
            150,
            "the first difference is 'class 01' instead of 'class 00'",
        ),
        (RUN.with_part(1, class_names=RUN.class_names[:3]), Fault.CLASS_ORDER, 1, 150, "are 3 classes"),
        (RUN.with_part(1, row_digests=PART.row_digests[1:]), Fault.ROWS_ALTERED, 1, 150, "149 digests"),
    ],
)
def test_faults_of_the_partition(run: Run, fault: Fault, fold: int, rows: int, match: str) -> None:
    error = fault_of(run, match)
    assert (error.fault, error.fold, error.rows) == (fault, fold, rows)


def test_rows_seen_in_training_show_by_themselves() -> None:
    run = simulate_run(rows=2000, signal=1.5)
    by_id = dict(zip(run.example_ids, run.labels, strict=True))
    labels = np.array([by_id[i] for i in run.parts[2].example_ids])
    seen = run.with_probs(2, lambda probs: simulate_probs(labels, 4, signal=8.0))
    error = fault_of(seen, "100.0% of its predictions are the given label, but only 69")
    assert (error.fault, error.fold) == (Fault.SEEN_IN_TRAINING, 2)


def test_nothing_learned_anywhere() -> None:
    labels = RUN.labels
    probs = np.random.default_rng(5).dirichlet(np.ones(4), len(labels)).astype(np.float32)
    for nothing in (probs, np.full_like(probs, 0.25)):
        with pytest.raises(IntegrityError, match=r"all 600 rows together .* no better than chance") as caught:
            split_run(labels, nothing, 4).gather()
        assert caught.value.fault == Fault.LEARNED_NOTHING
        assert caught.value.fold is None
        assert "inputs and labels belong together" in caught.value.remedy


def test_columns_exchanged_in_all_folds() -> None:
    probs = simulate_probs(RUN.labels, 4, signal=2.0)[:, [0, 3, 2, 1]]
    error = fault_of(split_run(RUN.labels, probs, 4), "columns of 2 classes")
    assert error.fault == Fault.CLASSES_SWAPPED


def test_notes_on_what_is_odd() -> None:
    labels = RUN.labels
    leak = split_run(labels, simulate_probs(labels, 4, signal=30.0), 4).gather()
    assert leak.notes == ("100.00% of the predictions are the given label. The labels may be among the inputs.",)
    probs = simulate_probs(labels, 4, signal=3.0)
    probs[RUN.fold_of[0] == 1] = simulate_probs(labels, 4, signal=0.6)[RUN.fold_of[0] == 1]
    weak = split_run(labels, probs, 4, fold_of=RUN.fold_of[0]).gather()
    assert len(weak.notes) == 1
    assert weak.notes[0].startswith("Fold 1 agrees with the labels far less than the others (on 4")
    barely = split_run(labels[:200], simulate_probs(labels[:200], 4, signal=0.22, seed=1), 4).gather()
    assert len(barely.notes) == 1
    assert "barely better than chance" in barely.notes[0]


def test_ids_must_be_unique_and_labels_must_fit() -> None:
    with pytest.raises(DatasetError, match=r"1 example ids are not unique \(first: id-000000\)"):
        replace(RUN, example_ids=np.r_[RUN.example_ids[:1], RUN.example_ids[:-1]]).gather()
    with pytest.raises(DatasetError, match="one label per id"):
        replace(RUN, labels=RUN.labels[1:]).gather()


@pytest.mark.parametrize("num_classes", [2, 3, 20])
@pytest.mark.parametrize("scale", ["exact 0 and 1", "near uniform"])
def test_extreme_confidence_is_healthy(num_classes: int, scale: str) -> None:
    labels = np.random.default_rng(3).integers(0, num_classes, 400)
    probs = simulate_probs(labels, num_classes, signal=2.5)
    if scale == "near uniform":
        probs = (1 / num_classes + 1e-3 * (probs - 1 / num_classes)).astype(np.float32)
    else:
        probs = np.eye(num_classes, dtype=np.float32)[probs.argmax(axis=1)]
    run = split_run(labels, probs, 5)
    assert run.gather().notes == ()
    shifted = run.with_probs(4, lambda probs: np.roll(probs, 3, axis=0))
    assert fault_of(shifted).fold == 4


def read_oof(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(path)
    names = json.loads(table.schema.metadata[b"class_names"])
    labels = np.array([names.index(label) for label in table["label"].to_pylist()])
    return labels, np.asarray(table["pred_probs"].combine_chunks().flatten()).reshape(-1, len(names))


@pytest.mark.parametrize("name", ["cifar10n-5k", "cifar10n-aggregate-resnet18", "synthetic-20-40-resnet18"])
def test_real_probabilities(shared_data: Path, name: str) -> None:
    """No false alarm on healthy folds, and each fault in one fold is named, for 3, 5 and 10 folds."""
    if name == "cifar10n-5k":
        given = pq.read_table(shared_data / "cifar10n-5k.parquet", columns=["label"])["label"].to_pylist()
        labels = np.unique(given, return_inverse=True)[1]
        probs = np.load(shared_data / "cifar10n-5k-pred-probs.npy")
    else:
        labels, probs = read_oof(shared_data / "oof" / f"{name}.parquet")
    rng = np.random.default_rng(0)
    for folds in (2, 3, 5, 10) if len(labels) < 10_000 else (3, 10):
        run = split_run(labels, probs, folds, seed=folds, digests=False)
        assert run.gather().notes == ()
        fold = int(rng.integers(folds))
        a, b = rng.choice(10, 2, replace=False)
        exchanged = np.arange(10)
        exchanged[[a, b]] = b, a
        for change, fault in (
            (lambda probs: np.roll(probs, 1, axis=0), Fault.ROWS_SHIFTED),
            (lambda probs, columns=exchanged: probs[:, columns], Fault.CLASSES_SWAPPED),
            (lambda probs: probs[:, ::-1], Fault.CLASSES_SWAPPED),
            (lambda probs: probs[rng.permutation(len(probs))], Fault.LEARNED_NOTHING),
            (lambda probs: np.tile(probs.mean(axis=0), (len(probs), 1)), Fault.LEARNED_NOTHING),
        ):
            error = fault_of(run.with_probs(fold, change))
            assert (error.fault, error.fold) == (fault, fold)


def test_digest_of_stored_rows_survives_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "example_id": PART.example_ids,
            "pred_probs": pa.FixedSizeListArray.from_arrays(PART.pred_probs.ravel(), 4),
            "row_digest": PART.row_digests,
        }
    )
    pq.write_table(table, tmp_path / "part.parquet")
    read = pq.read_table(tmp_path / "part.parquet")
    probs = np.asarray(read["pred_probs"].combine_chunks().flatten()).reshape(-1, 4)
    assert row_digests(read["example_id"].to_pylist(), probs).tolist() == read["row_digest"].to_pylist()
