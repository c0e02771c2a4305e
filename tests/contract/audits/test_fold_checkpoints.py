"""Folds that are killed during training resume from their last checkpoint and commit the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from labelaudit.audit import fold_references
from labelaudit.audits.audit_plan import load_plan, output_store
from labelaudit.audits.jobs import EpochEnded, FoldJob, Job, JobProgress
from labelaudit.audits.references import PlanReference
from labelaudit.config import build_config
from labelaudit.errors import ConfigError, StorageUnavailableError, WorkerDiedError
from labelaudit.local.workers import LocalWorkers, Slot
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import train_and_commit
from labelaudit.storage.folder import StoredFolder
from labelaudit.storage.layout import fold_checkpoints_folder
from labelaudit.storage.manifest import read_json
from labelaudit.storage.store import Store
from support.audits import settings, write_fruit, write_reviews

EPOCHS, MEMBERS = 12, 3  # of the recipe for tables
# The Parquet files of a fold, and its losses.
Committed = tuple[bytes, bytes, list[float]]
OnEpoch = Callable[[int, int, float], None]


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fruit(tmp_path_factory.mktemp("data") / "fruit.parquet")


def reference_to(data: Path, output: object, minutes: float | None = 0, **training: Any) -> PlanReference:
    workers = {"checkpoint_minutes": minutes}
    return prepare(settings(data, output, workers=workers, training={"epochs": EPOCHS, **training}))


def unfinished(reference: PlanReference, fold: int = 0) -> StoredFolder:
    plan = load_plan(reference)
    [view] = plan.views
    folder = fold_checkpoints_folder(plan.dataset, view.training_key, fold)
    return StoredFolder(output_store(reference), folder)


def committed(reference: PlanReference, key: str) -> Committed:
    """Return the Parquet files of a fold, and its losses."""
    store = output_store(reference)
    record = read_json(store, key)
    return store.read(record["key"]), store.read(record["dynamics_key"]), record["losses"]


def killed_at(last: int) -> OnEpoch:
    def on_epoch(epoch: int, epochs: int, loss: float) -> None:
        if epoch == last:
            raise Killed

    return on_epoch


def train(reference: PlanReference) -> tuple[str, list[int]]:
    """Return the key of the record of fold 0 and the epochs that were trained for it."""
    heard: list[int] = []
    key = train_and_commit(reference, 0, lambda epoch, epochs, loss: heard.append(epoch)).keys[0]
    return key, heard


def leave(reference: PlanReference, last: int) -> None:
    """Train fold 0 until epoch `last`, counted over all members."""
    with pytest.raises(Killed):
        train_and_commit(reference, 0, killed_at(last))


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Committed:
    reference = reference_to(data, tmp_path_factory.mktemp("undisturbed"), None)
    key, heard = train(reference)
    assert heard == list(range(1, EPOCHS * MEMBERS + 1))
    return committed(reference, key)


# During the first member, during the second, and at the first epoch of the last one.
@pytest.mark.slow
@pytest.mark.new_interpreters
def test_the_next_worker_resumes_from_a_killed_one(data: Path, tmp_path: Path, undisturbed: Committed) -> None:
    """A fold is killed in each of its members."""
    reference = reference_to(data, tmp_path / "out")
    heard: list[int] = []
    kill_at: list[int] = []

    def on_progress(job: Job, progress: JobProgress) -> None:
        assert isinstance(progress, EpochEnded)
        heard.append(progress.epoch)
        if kill_at and progress.epoch >= kill_at[0]:
            kill_at.clear()
            # Other tests leave helper processes next to the worker, and some have ended.
            for child in psutil.Process().children():
                with suppress(psutil.ZombieProcess):
                    if "labelaudit.local.worker_process" in child.cmdline():
                        child.kill()

    ended = 0
    with LocalWorkers([Slot(None, 1)], on_progress) as workers:
        for last in (5, EPOCHS + 5, 2 * EPOCHS + 1):
            kill_at.append(last)
            with pytest.raises(WorkerDiedError, match="signal SIGKILL"):
                workers.work_on(FoldJob(reference, 0))
            assert heard[0] <= ended + 1
            # The worker may have continued while it was being killed.
            assert heard == list(range(heard[0], heard[-1] + 1))
            ended = heard[-1]
            heard.clear()
        workers.work_on(FoldJob(reference, 0))
    assert 2 * EPOCHS + 1 <= heard[0] <= ended + 1
    assert heard == list(range(heard[0], EPOCHS * MEMBERS + 1))
    [done] = fold_references(reference, [0])
    assert committed(reference, done.keys[0]) == undisturbed
    assert list(unfinished(reference)) == []


def check_that_a_fold_goes_on(data: Path, output: object, undisturbed: Committed, last: int) -> None:
    reference = reference_to(data, output)
    leave(reference, last)
    # One for each member that ended or finished its first epoch.
    assert len(unfinished(reference)) == (last - 1) // EPOCHS + ((last - 1) % EPOCHS > 0)
    key, heard = train(reference)
    assert heard == list(range(last, EPOCHS * MEMBERS + 1))
    assert committed(reference, key) == undisturbed
    assert len(unfinished(reference)) == 0


@pytest.mark.parametrize("last", [1, 2, EPOCHS, EPOCHS + 1, EPOCHS * MEMBERS])
def test_a_fold_resumes(data: Path, tmp_path: Path, undisturbed: Committed, last: int) -> None:
    check_that_a_fold_goes_on(data, tmp_path, undisturbed, last)


def test_a_fold_resumes_in_s3(data: Path, s3: str, undisturbed: Committed) -> None:
    check_that_a_fold_goes_on(data, s3, undisturbed, EPOCHS + 5)


def test_a_fold_of_one_member_resumes(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.jsonl")
    expected = committed(alone := reference_to(reviews, tmp_path / "alone"), train(alone)[0])
    reference = reference_to(reviews, tmp_path / "out")
    leave(reference, EPOCHS)
    key, heard = train(reference)
    assert heard == [EPOCHS]
    assert committed(reference, key) == expected
    assert list(unfinished(reference)) == []


def test_short_folds_write_no_checkpoint(data: Path, tmp_path: Path) -> None:
    reference = prepare(settings(data, tmp_path))
    assert reference.checkpoint_minutes == 10
    leave(reference, 9)
    assert not list(tmp_path.rglob("*checkpoint*"))


def test_null_means_no_checkpoints(data: Path, tmp_path: Path) -> None:
    reference = reference_to(data, tmp_path, None)
    leave(reference, 9)
    assert not list(tmp_path.rglob("*checkpoint*"))
    assert train(reference)[1][0] == 1


def test_minutes_do_not_change_keys(data: Path, tmp_path: Path) -> None:
    always, never = (reference_to(data, tmp_path, minutes) for minutes in (0, None))
    assert replace(always, checkpoint_minutes=None) == never


def change_each(place: StoredFolder, change: Callable[[bytes], bytes]) -> None:
    for name in place:
        place[name] = change(place[name])


@pytest.mark.parametrize(
    "change",
    [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:-4] + b"\0\0\0\1"],
    ids=["cut", "empty", "changed"],
)
def test_damaged_checkpoints_are_not_trusted(
    data: Path, tmp_path: Path, undisturbed: Committed, change: Callable[[bytes], bytes]
) -> None:
    reference = reference_to(data, tmp_path)
    leave(reference, EPOCHS + 3)
    change_each(unfinished(reference), change)
    with pytest.warns(UserWarning, match="is ignored, so its training starts from the beginning"):
        key, heard = train(reference)
    assert heard[0] == 1
    assert committed(reference, key) == undisturbed


def test_checkpoints_of_another_fold_are_not_trusted(data: Path, tmp_path: Path, undisturbed: Committed) -> None:
    reference = reference_to(data, tmp_path)
    leave(reference, 5)
    with pytest.raises(Killed):
        train_and_commit(reference, 1, killed_at(5))
    (foreign,) = unfinished(reference, 1).values()
    change_each(unfinished(reference), lambda _: foreign)
    with pytest.warns(UserWarning, match="is ignored, .* It belongs to another training"):
        key, heard = train(reference)
    assert heard[0] == 1
    assert committed(reference, key) == undisturbed


def test_another_seed_has_its_own_checkpoints(data: Path, tmp_path: Path) -> None:
    leave(reference_to(data, tmp_path), 5)
    assert train(reference_to(data, tmp_path, seed=1))[1][0] == 1


def test_checkpoints_left_after_a_commit_are_removed(data: Path, tmp_path: Path) -> None:
    reference = reference_to(data, tmp_path)
    leave(reference, 5)
    left = dict(unfinished(reference))
    train(reference)
    unfinished(reference).update(left)
    assert train(reference)[1] == []
    assert list(unfinished(reference)) == []


def test_two_workers_of_one_fold_do_no_harm(data: Path, tmp_path: Path, undisturbed: Committed) -> None:
    """The second one starts while the first one trains, resumes from its checkpoint, and commits before it."""
    reference = reference_to(data, tmp_path)
    heard: list[int] = []

    def second(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 7:
            heard.extend(train(reference)[1])

    key = train_and_commit(reference, 0, second).keys[0]
    assert heard == list(range(7, EPOCHS * MEMBERS + 1))
    assert committed(reference, key) == undisturbed
    assert list(unfinished(reference)) == []


class Silent(Store):
    """Imitate a store that does not answer."""

    def read(self, key: str) -> bytes:
        raise StorageUnavailableError("The storage did not answer.")


def test_storage_that_does_not_answer_is_not_a_missing_checkpoint(tmp_path: Path) -> None:
    place = StoredFolder(Silent(str(tmp_path)), "folder")
    with pytest.raises(StorageUnavailableError, match="did not answer"):
        place.get("name")


def test_a_stored_folder_is_a_mapping(s3: str, tmp_path: Path) -> None:
    for url in (s3, str(tmp_path)):
        place = StoredFolder(Store(url), "a/folder")
        assert dict(place) == {}
        assert "one" not in place
        place["two"] = b"2"
        place["one"] = b"1"
        Store(url).write("a/folderless", b"another")
        assert dict(place) == {"one": b"1", "two": b"2"}
        assert place.pop("two") == b"2"
        assert len(place) == 1
        place.clear()
        assert dict(place) == {}
        assert Store(url).read("a/folderless") == b"another"


@pytest.mark.parametrize(("given", "expected"), [(None, 10), (0, 0), (0.5, 0.5), ("null", None)])
def test_the_setting(given: Any, expected: float | None) -> None:
    workers = {} if given is None else {"checkpoint_minutes": None if given == "null" else given}
    config = build_config({"dataset": {"url": "data"}, "workers": workers})
    assert config.workers.checkpoint_minutes == expected


def test_negative_minutes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"workers\.checkpoint_minutes: Input should be greater than or equal to 0"):
        build_config({"dataset": {"url": "data"}, "workers": {"checkpoint_minutes": -1}})
