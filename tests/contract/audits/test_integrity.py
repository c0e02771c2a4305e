"""The first promise: eight faults in a real stored fold give eight named errors."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.tree import DecisionTreeClassifier

from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.probabilities import GatheredFolds
from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.audits.version import load_version
from labelaudit.config import AuditConfig
from labelaudit.detection.rows import row_digests
from labelaudit.errors import Fault, IntegrityError, StorageError
from labelaudit.pipeline.detect import detect
from labelaudit.pipeline.gather import gather
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import train_and_commit
from labelaudit.schemas import pred_probs_schema
from labelaudit.storage.manifest import sha256_hex
from labelaudit.storage.store import Store
from support.audits import audit, fruit, settings, write_fruit
from support.simulated import all_rows

CLASSES = ("apple", "pear", "plum")
DAMAGED = 1  # the fold that is damaged, of three


class Fold:
    """A stored fold to damage: its rows, and its file and record in storage."""

    def __init__(self, reference: PlanReference, fold: FoldReference) -> None:
        self._store = Store(reference.output_url)
        (self._key,) = fold.keys
        self.record = json.loads(self._store.read(self._key))
        table = pq.read_table(io.BytesIO(self._store.read(self.record["key"])))
        self.ids = table["example_id"].to_numpy().copy()
        self.pred_probs = np.array(table["pred_probs"].to_pylist(), np.float32)
        self.class_names = CLASSES
        self.digests: np.ndarray | None = table["row_digest"].to_numpy()

    def keep(self, rows: Any) -> None:
        """Keep these rows, in this order, each with its digest."""
        self.ids, self.pred_probs = self.ids[rows], self.pred_probs[rows]
        assert self.digests is not None
        self.digests = self.digests[rows]

    def save(self, *, is_forged: bool) -> None:
        """Write the damaged file. A forged one has matching digests and checksums, so that only its numbers can
        reveal it."""
        digests = row_digests(self.ids, self.pred_probs) if is_forged else self.digests
        table = pa.Table.from_arrays(
            [
                pa.array(self.ids, pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(self.pred_probs.ravel()), 3),
                pa.array(digests),
            ],
            schema=pred_probs_schema(self.class_names),
        )
        sink = io.BytesIO()
        pq.write_table(table, sink)
        self._store.write(self.record["key"], sink.getvalue())
        self.record["sha256"] = sha256_hex(sink.getvalue())
        self._store.write(self._key, json.dumps(self.record).encode())


@dataclass(frozen=True)
class Trained:
    """Return a prepared version with all folds committed and not gathered yet."""

    reference: PlanReference
    folds: list[FoldReference]

    def copied(self, output: Path) -> Trained:
        """Return a copy in another output folder, to damage there."""
        shutil.copytree(self.reference.output_url, output)
        return replace(self, reference=replace(self.reference, output_url=str(output)))

    def damaged(self, output: Path, damage: Callable[[Fold], None], *, is_forged: bool) -> Trained:
        copy = self.copied(output)
        fold = Fold(copy.reference, copy.folds[DAMAGED])
        damage(fold)
        fold.save(is_forged=is_forged)
        return copy


def _train(config: AuditConfig) -> Trained:
    reference = prepare(config)
    return Trained(reference, [train_and_commit(reference, fold) for fold in range(3)])


def _nan_row(fold: Fold) -> None:
    fold.pred_probs[[5, 9]] = np.nan


def _zero_row(fold: Fold) -> None:
    fold.pred_probs[7] = 0


def _rows_missing(fold: Fold) -> None:
    fold.keep(slice(3, None))


def _rows_doubled(fold: Fold) -> None:
    fold.keep(np.r_[0 : len(fold.ids), 4])


def _rows_shifted(fold: Fold) -> None:
    fold.pred_probs = np.roll(fold.pred_probs, 1, axis=0)


def _class_names_swapped(fold: Fold) -> None:
    fold.class_names = ("pear", "apple", "plum")


def _columns_swapped(fold: Fold) -> None:
    fold.pred_probs = np.ascontiguousarray(fold.pred_probs[:, [1, 0, 2]])


def _learned_nothing(fold: Fold) -> None:
    fold.pred_probs = np.random.default_rng(0).dirichlet(np.ones(3), len(fold.ids)).astype(np.float32)


def _record_names_its_rows(fold: Fold) -> None:
    fold.record["trained_on"] = "0" * len(fold.record["trained_on"])


def _not_a_distribution(fold: Fold) -> None:
    fold.pred_probs[2] *= 1.5


FAULTS: dict[str, tuple[Callable[[Fold], None], Fault, int]] = {
    "a NaN row": (_nan_row, Fault.NOT_FINITE, 2),
    "an all-zero row": (_zero_row, Fault.ALL_ZERO, 1),
    "no distribution": (_not_a_distribution, Fault.NOT_A_DISTRIBUTION, 1),
    "rows missing": (_rows_missing, Fault.ROWS_MISSING, 3),
    "rows doubled": (_rows_doubled, Fault.ROWS_DOUBLED, 1),
    "rows shifted": (_rows_shifted, Fault.ROWS_SHIFTED, 300),
    "class names swapped": (_class_names_swapped, Fault.CLASS_ORDER, 300),
    "columns swapped": (_columns_swapped, Fault.CLASSES_SWAPPED, 300),
    "learned nothing": (_learned_nothing, Fault.LEARNED_NOTHING, 300),
    "another training set": (_record_names_its_rows, Fault.SEEN_IN_TRAINING, 300),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fruit(tmp_path_factory.mktemp("data") / "fruit.parquet", fruit(rows=900))


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return _train(settings(dataset, tmp_path_factory.mktemp("trained")))


@pytest.mark.parametrize("is_forged", [False, True], ids=["damaged", "forged"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_fold_is_a_named_error(trained: Trained, tmp_path: Path, name: str, is_forged: bool) -> None:
    damage, fault, rows = FAULTS[name]
    damaged = trained.damaged(tmp_path / "out", damage, is_forged=is_forged)
    with pytest.raises(IntegrityError) as caught:
        gather(damaged.reference, damaged.folds)
    error = caught.value
    assert error.fault is fault
    assert error.fold == DAMAGED
    assert error.rows == rows
    assert error.remedy in str(error)
    assert f"fold {DAMAGED}: " in str(error)
    if rows < 300:
        assert error.example_ids
        assert all(example_id in str(error) for example_id in error.example_ids[:5])


def test_rows_scored_by_a_model_that_saw_them(tmp_path: Path) -> None:
    """Only statistics detect it: ids, digests and training record are those of a correct fold."""
    frame = fruit(rows=900)
    # Harder than the fruit: if every fold agrees with 95 % of labels, memorized rows add too little to detect.
    hard = np.random.default_rng(1).random(900) < 0.3
    frame.loc[hard, "label"] = np.random.default_rng(2).permutation(frame.label[hard].to_numpy())
    path = write_fruit(tmp_path / "fruit.parquet", frame)

    def damage(fold: Fold) -> None:
        features = ["weight", "length", "colour", "noise"]
        known = frame.set_index("id")
        tree = DecisionTreeClassifier(random_state=0).fit(known[features], known.label)
        fold.pred_probs = tree.predict_proba(known.loc[fold.ids, features]).astype(np.float32)

    trained = _train(settings(path, tmp_path / "trained"))
    damaged = trained.damaged(tmp_path / "out", damage, is_forged=True)
    with pytest.raises(IntegrityError, match=r"\[seen-in-training\] fold 1: "):
        gather(damaged.reference, damaged.folds)


def test_changes_too_small_for_statistics_are_seen_by_row_digests(trained: Trained, tmp_path: Path) -> None:
    def exchange(fold: Fold) -> None:
        fold.pred_probs[[0, 1]] = fold.pred_probs[[1, 0]]

    def alter(fold: Fold) -> None:
        fold.pred_probs[3] = (0.25, 0.25, 0.5)

    exchanged = trained.damaged(tmp_path / "exchanged", exchange, is_forged=False)
    with pytest.raises(IntegrityError, match=r"\[rows-shifted\] fold 1: 2 of 300 rows are shifted"):
        gather(exchanged.reference, exchanged.folds)
    altered = trained.damaged(tmp_path / "altered", alter, is_forged=False)
    with pytest.raises(IntegrityError, match=r"\[rows-altered\] fold 1: ") as caught:
        gather(altered.reference, altered.folds)
    assert caught.value.rows == 1


def test_untouched_folds_pass(trained: Trained, tmp_path: Path) -> None:
    sound = trained.damaged(tmp_path / "out", lambda fold: None, is_forged=False)
    assert gather(sound.reference, sound.folds).sha256


def test_rounded_probabilities_are_normalised_and_reported(trained: Trained, tmp_path: Path) -> None:
    def round_(fold: Fold) -> None:
        fold.pred_probs *= np.float32(1.0001)

    rounded = trained.damaged(tmp_path / "out", round_, is_forged=True)
    files = gather(rounded.reference, rounded.folds)
    store = Store(rounded.reference.output_url)
    notes = json.loads(store.read(f"{files.folder}/health.json"))["notes"]
    assert any("300" in note and "rounding" in note for note in notes), notes
    rows = load_version(rounded.reference, load_plan(rounded.reference))
    opened = GatheredFolds.load(store, files).open(store, rows.fold_of_scored)
    assert all_rows(opened.probabilities).sum(axis=1) == pytest.approx(np.ones(900), abs=1e-6)


def test_a_fold_that_changes_after_it_was_checked(trained: Trained, tmp_path: Path) -> None:
    copied = trained.copied(tmp_path / "out")
    files = gather(copied.reference, copied.folds)
    pq.write_table(pq.read_table(_file_of(copied)), _file_of(copied), compression="gzip")
    with pytest.raises(StorageError, match=r"was changed after it was checked\. Remove it and run the audit again\."):
        detect(copied.reference, files)


def _file_of(trained: Trained) -> Path:
    files = Path(trained.reference.output_url).rglob(f"fold={DAMAGED}-*.parquet")
    return next(file for file in files if ".dynamics." not in file.name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 no more", "is not the Parquet file that was committed"),
        (None, r"\[rows-missing\] fold 1: all 300 rows are missing"),
    ],
)
def test_a_fold_whose_file_is_destroyed(trained: Trained, tmp_path: Path, content: bytes | None, message: str) -> None:
    destroyed = trained.copied(tmp_path / "out")
    file = _file_of(destroyed)
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(IntegrityError, match=message):
        gather(destroyed.reference, destroyed.folds)


def test_a_file_that_was_rewritten_with_the_same_numbers(trained: Trained, tmp_path: Path) -> None:
    rewritten = trained.copied(tmp_path / "out")
    pq.write_table(pq.read_table(_file_of(rewritten)), _file_of(rewritten), compression="gzip")
    with pytest.raises(IntegrityError, match="does not have the checksum of its record"):
        gather(rewritten.reference, rewritten.folds)


def test_the_remedy_works(dataset: Path, trained: Trained, tmp_path: Path) -> None:
    """A damaged fold publishes nothing. After its files are removed, only this fold is trained again, and
    the bytes are the same."""
    damaged = trained.damaged(tmp_path / "out", _nan_row, is_forged=True)
    with pytest.raises(IntegrityError, match="not-finite"):
        audit(settings(dataset, tmp_path / "out"))
    assert not list(tmp_path.rglob("manifest.json"))
    folds = tmp_path / "out" / "dataset=fruit" / "_work" / "folds"
    sound_files = [path for path in folds.rglob("*.*") if f"fold={DAMAGED}" not in path.name]
    before = {path: path.stat().st_mtime_ns for path in sound_files}
    assert len(before) == 6
    for path in folds.rglob(f"fold={DAMAGED}*"):
        path.unlink()
    mended = audit(settings(dataset, tmp_path / "out"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    store = Store(trained.reference.output_url)
    for fold in damaged.folds:
        sound = store.read(json.loads(store.read(fold.keys[0]))["key"])
        assert (Path(mended.audit_url) / f"pred_probs/fold={fold.fold}/part.parquet").read_bytes() == sound
