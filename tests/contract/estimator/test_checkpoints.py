"""A killed fit that is called again resumes, and ends with bit-identical weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict
from torch import nn
from torch.utils.data import Dataset

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.packing import pack
from labelaudit.model.progress import Epoch
from support.toys import Normed, Tied, X, Y, own, same_weights, small, weights

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8)).astype(np.float32) / 255
CLASSES = np.arange(60) % 3
ROW_WEIGHTS = np.random.default_rng(1).random(120)


class Killed(BaseException):
    pass


class Watch:
    """A callback that records epochs, and simulates a kill after epoch `last`."""

    def __init__(self, last: int | None = None) -> None:
        self.trained: list[int] = []
        self.last = last

    def __call__(self, epoch: Epoch, module: nn.Module) -> None:
        self.trained.append(epoch.epoch)
        if epoch.epoch == self.last:
            raise Killed

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        return self


class Convolutional(nn.Module):
    """Channels-last weights, statistics and dropout."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(input_shape[0], 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU())
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(20, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x))
        return logits


def killed(classifier: TorchClassifier, last: int, *data: Any, place: Any = None, **fit: Any) -> Any:
    """Return the place with the checkpoint of a fit that was killed after epoch `last`."""
    place = {} if place is None else place
    with pytest.raises(Killed):
        clone(classifier).set_params(checkpoint=Checkpoints(place, 0), callbacks=[Watch(last)]).fit(*data, **fit)
    return place


def resumed(classifier: TorchClassifier, place: Any, *data: Any, **fit: Any) -> tuple[TorchClassifier, list[int]]:
    """Return a fit that resumes from `place`, and the epochs that it trained."""
    watch = Watch()
    again = clone(classifier).set_params(checkpoint=Checkpoints(place, 0), callbacks=[watch])
    return again.fit(*data, **fit), watch.trained


def assert_same(found: TorchClassifier, expected: TorchClassifier, data: Any) -> None:
    assert same_weights(found, expected)
    np.testing.assert_array_equal(found.predict_proba(data), expected.predict_proba(data))
    assert found.n_iter_ == expected.n_iter_
    assert hasattr(found, "dynamics_") == hasattr(expected, "dynamics_")
    if hasattr(expected, "dynamics_"):
        for name, values in expected.dynamics_.columns().items():
            np.testing.assert_array_equal(found.dynamics_.columns()[name], values)
    timeless = [[{**epoch, "seconds": 0} for epoch in classifier.history_] for classifier in (found, expected)]
    assert timeless[0] == timeless[1]


OPTIMIZERS = [
    *("adamw", "sgd", "muon", torch.optim.Adam, torch.optim.NAdam, torch.optim.RMSprop, torch.optim.ASGD),
    *(torch.optim.Adagrad, torch.optim.Rprop),
]
SETTINGS = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(OPTIMIZERS),
        "precision": st.sampled_from(["float32", "bfloat16", "float64"]),
        "schedule": st.sampled_from(["one_cycle", "triangular", "constant"]),
        "class_weight": st.sampled_from([None, "balanced"]),
        "gradient_clip": st.sampled_from([None, 0.1]),
        "random_state": st.integers(0, 3),
        "module__dropout": st.sampled_from([0.0, 0.4]),
        "record_dynamics": st.booleans(),
    }
)
ENDS = st.sampled_from(
    [
        {},
        {"average_share": 0.6},
        {"early_stopping": True, "n_iter_no_change": 2, "validation_fraction": 0.2},
        {"early_stopping": True, "n_iter_no_change": 20, "validation_fraction": 0.2, "learning_rate": 0.3},
    ]
)


def check(classifier: TorchClassifier, last: int, data: Any, labels: Any, **fit: Any) -> None:
    expected = clone(classifier).fit(data, labels, **fit)
    last = min(last, expected.n_iter_)
    place = killed(classifier, last, data, labels, **fit)
    # What epoch `last` learned is lost: the process ended before it could be written.
    assert len(place) == (1 if last > 1 else 0)
    found, trained = resumed(classifier, place, data, labels, **fit)
    assert trained == list(range(last, expected.n_iter_ + 1))
    assert_same(found, expected, data)
    assert place == {}


@settings(max_examples=40)
@given(SETTINGS, ENDS, st.integers(1, 6), st.booleans())
def test_rows_end_with_the_same_bits(changes: Any, end: Any, last: int, weighted: bool) -> None:
    classifier = small(**{"epochs": 6, "learning_rate": 0.02, **changes, **end})
    check(classifier, last, X, Y, sample_weight=ROW_WEIGHTS if weighted else None)


@settings(max_examples=25)
@given(SETTINGS, ENDS, st.integers(1, 6), st.booleans())
def test_images_end_with_the_same_bits(changes: Any, end: Any, last: int, augmented: bool) -> None:
    views = {"crop_padding": 1, "flip": True} if augmented else {}
    classifier = own(Convolutional, **{"epochs": 6, "learning_rate": 0.02, **changes, **views, **end})
    check(classifier, last, IMAGES, CLASSES)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_on_a_gpu_resumes(optimizer: str, precision: str) -> None:
    """cuDNN repeats itself under `repeatable`, and dropout draws from the generator of the device."""
    settings = {"optimizer": optimizer, "precision": precision, "module__dropout": 0.4, "average_share": 0.5}
    classifier = own(
        Convolutional, epochs=6, device="cuda", crop_padding=1, flip=True, record_dynamics=True, **settings
    )
    check(classifier, 4, IMAGES, CLASSES)


@pytest.mark.parametrize("module", [Tied, Normed])
@pytest.mark.parametrize("changes", [{}, {"compile": {"backend": "eager"}}, {"frozen": ["head.*"]}])
def test_other_modules_resume(module: Any, changes: dict[str, Any]) -> None:
    check(own(module, early_stopping=True, n_iter_no_change=9, **changes), 3, X, Y)


def test_a_warm_start_resumes() -> None:
    first = small(warm_start=True).fit(X, Y)
    expected = first.__deepcopy__({}).fit(X, Y)
    place: dict[str, bytes] = {}
    second = first.__deepcopy__({}).set_params(checkpoint=Checkpoints(place, 0), callbacks=[Watch(4)])
    with pytest.raises(Killed):
        second.fit(X, Y)
    watch = Watch()
    third = first.__deepcopy__({}).set_params(checkpoint=Checkpoints(place, 0), callbacks=[watch]).fit(X, Y)
    assert watch.trained == [4, 5]
    assert third.n_iter_ == 10
    assert_same(third, expected, X)


class Noisy(Dataset[Any]):
    """Rows with noise from torch's global generator."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(X[row]) + torch.rand(6)


def test_random_numbers_of_a_dataset_continue() -> None:
    expected = small().fit(Noisy(), Y)
    found, trained = resumed(small(), killed(small(), 3, Noisy(), Y), Noisy(), Y)
    assert trained == [3, 4, 5]
    assert same_weights(found, expected)


def test_checkpoints_do_not_change_results() -> None:
    for data in (X, Noisy()):
        expected = small(module__dropout=0.5).fit(data, Y)
        found = small(module__dropout=0.5, checkpoint=Checkpoints({}, 0)).fit(data, Y)
        assert same_weights(found, expected)


class Counting(nn.Module):
    """A layer with a state of its own, which torch calls extra state."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], kept: Any = torch.tensor) -> None:
        super().__init__()
        self.head = nn.Linear(input_shape[0], num_classes)
        self.steps, self.kept = 0, kept

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        scores: torch.Tensor = self.head(x) * (1 + self.steps)
        return scores

    def get_extra_state(self) -> Any:
        return self.kept(self.steps)

    def set_extra_state(self, state: Any) -> None:
        self.steps = int(state)


@pytest.mark.parametrize("changes", [{}, {"early_stopping": True, "n_iter_no_change": 2}])
def test_the_extra_state_of_layers_is_restored(changes: dict[str, Any]) -> None:
    check(own(Counting, **changes), 3, X, Y)


class Opaque:
    def __init__(self, steps: int) -> None:
        pass


def test_an_unsupported_state_is_refused_before_the_first_step() -> None:
    watch = Watch()
    classifier = own(Counting, module__kept=Opaque, callbacks=[watch])
    with pytest.raises(ConfigError, match=r"A Opaque cannot be part of a checkpoint, .* Train without a checkpoint"):
        clone(classifier).set_params(checkpoint=Checkpoints({})).fit(X, Y)
    assert watch.trained == []
    classifier.fit(X, Y)


class Growing(nn.Module):
    """Appends to a buffer at every step."""

    def __init__(self, num_classes: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.head = nn.Linear(input_shape[0], num_classes)
        self.register_buffer("seen", torch.zeros(1))
        self.seen: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen = torch.cat([self.seen, torch.ones(1)])
        logits: torch.Tensor = self.head(x)
        return logits


def test_a_module_that_changes_its_shape_starts_from_the_beginning() -> None:
    expected = own(Growing).fit(X, Y)
    place = killed(own(Growing), 3, X, Y)
    with pytest.warns(UserWarning, match=r"The module's seen has shape .*\[9\].* in the checkpoint and .*\[1\].* now"):
        found, trained = resumed(own(Growing), place, X, Y)
    assert trained == [1, 2, 3, 4, 5]
    assert same_weights(found, expected)


LATER = X.copy()
LATER[:, 2] *= 1.001
CHANGES: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({}, (LATER, Y)),
    ({}, (X, np.roll(Y, 1))),
    ({}, (X[:-1], Y[:-1])),
    ({}, (X, Y, ROW_WEIGHTS)),
    ({"random_state": 1}, (X, Y)),
    ({"epochs": 6}, (X, Y)),
    ({"batch_size": 31}, (X, Y)),
    ({"learning_rate": 0.011}, (X, Y)),
    ({"learning_rate_factors": {"layers.1.*": 0.5}}, (X, Y)),
    ({"frozen": ["layers.1.weight"]}, (X, Y)),
    ({"optimizer": torch.optim.Adam}, (X, Y)),
    ({"optimizer__weight_decay": 0.5}, (X, Y)),
    ({"schedule": "cosine"}, (X, Y)),
    ({"label_smoothing": 0.1}, (X, Y)),
    ({"gradient_clip": 1.0}, (X, Y)),
    ({"average_share": 0.5}, (X, Y)),
    ({"early_stopping": True}, (X, Y)),
    ({"class_weight": {0: 2.0, 1: 1.0, 2: 1.0}}, (X, Y)),
    ({"precision": "bfloat16"}, (X, Y)),
    ({"module__hidden": (9,)}, (X, Y)),
]


@pytest.mark.parametrize(("changes", "data"), CHANGES, ids=lambda value: str(value)[:40])
def test_another_training_starts_from_the_beginning(changes: dict[str, Any], data: tuple[Any, ...]) -> None:
    place = killed(small(), 3, X, Y)
    found, trained = resumed(small(**changes), dict(place), *data)
    assert trained[0] == 1
    assert same_weights(found, small(**changes).fit(*data))
    assert resumed(small(), place, X, Y)[1] == [3, 4, 5]


def test_other_first_weights_are_another_training() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 3), nn.Linear(6, 3)
    place = killed(own(first), 3, X, Y)
    assert resumed(own(second), dict(place), X, Y)[1] == [1, 2, 3, 4, 5]
    assert resumed(own(first), dict(place), X, Y)[1] == [3, 4, 5]


def test_settings_without_effect_on_training_do_not_prevent_resuming() -> None:
    assert resumed(small(verbose=True), killed(small(), 3, X, Y), X, Y)[1] == [3, 4, 5]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-9] + b"?" + data[-8:]]
)
def test_a_damaged_checkpoint_is_ignored(damage: Callable[[bytes], bytes]) -> None:
    place = {name: damage(data) for name, data in killed(small(), 3, X, Y).items()}
    with pytest.warns(
        UserWarning,
        match=r"is ignored, so its training starts from the beginning\. The checksum of these \d+ bytes differs",
    ):
        found, trained = resumed(small(), place, X, Y)
    assert trained == [1, 2, 3, 4, 5]
    assert same_weights(found, small().fit(X, Y))
    assert place == {}


@pytest.mark.parametrize("content", [None, {"state": {}}, [1, 2]])
def test_something_else_under_this_name_is_ignored(content: Any) -> None:
    name = next(iter(killed(small(), 3, X, Y)))
    other = next(iter(killed(small(random_state=7), 3, X, Y).values()))
    place = {name: pack(content) if content else other}
    with pytest.warns(UserWarning, match=rf"checkpoint {name} is ignored, .* It belongs to another training"):
        found, _ = resumed(small(), place, X, Y)
    assert same_weights(found, small().fit(X, Y))


class Full(dict[str, bytes]):
    """A disk without room."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __setitem__(self, name: str, data: bytes) -> None:
        raise self.error

    def __delitem__(self, name: str) -> None:
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), StorageError("Access was refused")])
def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(error: Exception) -> None:
    with pytest.warns(UserWarning, match=r"could not be written\. The training continues\. .*(No space|refused)"):
        found = small(checkpoint=Checkpoints(Full(error), 0)).fit(X, Y)
    assert same_weights(found, small().fit(X, Y))


def test_a_folder_contains_the_checkpoint_until_fit_ends(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    killed(small(), 4, X, Y, place=folder)
    (file,) = folder.iterdir()
    assert file.suffix == ".checkpoint"
    _, trained = resumed(small(), str(folder), X, Y)
    assert trained == [4, 5]
    assert list(folder.iterdir()) == []


def test_a_path_is_enough(tmp_path: Path) -> None:
    """The default is every 10 minutes. This fit is too short for a checkpoint, but resumes from an existing one."""
    small(checkpoint=tmp_path / "folder").fit(X, Y)
    assert not (tmp_path / "folder").exists()
    killed(small(), 3, X, Y, place=tmp_path)
    watch = Watch()
    small(checkpoint=str(tmp_path), callbacks=[watch]).fit(X, Y)
    assert watch.trained == [3, 4, 5]


def test_time_decides_when_a_checkpoint_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 60))  # each reading of the clock is a minute later
    monkeypatch.setattr("labelaudit.model.checkpoints.time.monotonic", lambda: float(next(now)))
    written: list[int] = []

    class Place(dict[str, bytes]):
        def __setitem__(self, name: str, data: bytes) -> None:
            written.append(watch.trained[-1])

    watch = Watch()
    small(epochs=12, checkpoint=Checkpoints(Place(), 3), callbacks=[watch]).fit(X, Y)
    assert written == [3, 6, 9]


def test_finished_trainings_are_kept_for_several_that_belong_together() -> None:
    """A killed cross-validation does not train a fold twice."""
    place: dict[str, bytes] = {}
    keeping = Checkpoints(place, 0, finished="keep")

    class Third(Watch):
        def __call__(self, epoch: Epoch, module: nn.Module) -> None:
            super().__call__(epoch, module)
            if self.trained.count(3) == 3:
                raise Killed

    classifier = small(early_stopping=True, n_iter_no_change=9)
    expected = cross_val_predict(classifier, X, Y, cv=4, method="predict_proba")
    with pytest.raises(Killed):
        cross_val_predict(clone(classifier).set_params(checkpoint=keeping, callbacks=[Third()]), X, Y, cv=4)
    assert len(place) == 3
    watch = Watch()
    again = clone(classifier).set_params(checkpoint=keeping, callbacks=[watch])
    found = cross_val_predict(again, X, Y, cv=4, method="predict_proba")
    assert watch.trained == [3, 4, 5, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(found, expected)
    assert len(place) == 4


@pytest.mark.parametrize(
    "changes",
    [{}, {"average_share": 0.5}, {"early_stopping": True, "n_iter_no_change": 1, "learning_rate": 0.5, "epochs": 40}],
)
def test_a_finished_training_that_is_kept_is_not_repeated(changes: dict[str, Any]) -> None:
    place: dict[str, bytes] = {}
    expected = small(**changes, checkpoint=Checkpoints(place, 0, finished="keep")).fit(X, Y)
    found, trained = resumed(small(**changes), place, X, Y)
    assert trained == []
    assert_same(found, expected, X)


def test_what_ended_before_the_time_is_written_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("labelaudit.model.checkpoints.time.monotonic", lambda: clock[0])
    place: dict[str, bytes] = {}
    keeping = Checkpoints(place, 10, finished="keep")
    small(checkpoint=keeping).fit(X, Y)
    assert place == {}
    clock[0] = 600.0
    with pytest.raises(Killed):
        small(random_state=1, checkpoint=keeping, callbacks=[Watch(2)]).fit(X, Y)
    assert len(place) == 2
    assert resumed(small(), place, X, Y)[1] == []
    assert resumed(small(random_state=1), place, X, Y)[1] == [2, 3, 4, 5]


def test_clones_share_place_and_clock() -> None:
    checkpoints = Checkpoints({})
    assert clone(small(checkpoint=checkpoints)).checkpoint is checkpoints
    assert small(checkpoint=checkpoints).__deepcopy__({}).checkpoint is checkpoints


def test_partial_fit_keeps_nothing() -> None:
    place: dict[str, bytes] = {}
    keeping = Checkpoints(place, 0, finished="keep")
    found = small(checkpoint=keeping).partial_fit(X, Y, classes=[0, 1, 2])
    assert place == {}
    assert same_weights(found, small().partial_fit(X, Y, classes=[0, 1, 2]))


def test_a_killed_fit_does_not_change_the_estimator() -> None:
    classifier = small().fit(X, Y)
    before = weights(classifier)
    classifier.set_params(checkpoint=Checkpoints({}, 0), callbacks=[Watch(3)])
    with pytest.raises(Killed):
        classifier.fit(X, Y)
    after = weights(classifier)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_saved_classifier_has_no_checkpoint(tmp_path: Path) -> None:
    small(checkpoint=Checkpoints(tmp_path / "kept")).fit(X, Y).save(tmp_path / "saved")
    assert TorchClassifier.load(tmp_path / "saved").checkpoint is None


def test_a_training_without_a_seed_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"With random_state=None every training is different.* Set random_state to a number"
    ):
        small(checkpoint=Checkpoints({}), random_state=None).fit(X, Y)


def test_the_last_checkpoint_is_left_if_requested() -> None:
    place: dict[str, bytes] = {}
    small(checkpoint=Checkpoints(place, 0, finished="leave")).fit(X, Y)
    found, trained = resumed(small(), place, X, Y)
    assert trained == [5]
    assert same_weights(found, small().fit(X, Y))


def test_unknown_ends_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"value 'burn' of finished is unknown\. Use one of remove, leave, keep"):
        Checkpoints({}, finished="burn")


@pytest.mark.parametrize("minutes", [-1, float("nan")])
def test_negative_minutes_are_refused(minutes: float) -> None:
    with pytest.raises(ConfigError, match=r"minutes between checkpoints are .*\. Use 0 \(after every epoch\)"):
        Checkpoints({}, minutes)


def test_a_file_is_not_a_valid_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"Checkpoints need a folder, but .*file is a file\. Choose another place"):
        small(checkpoint=tmp_path / "file").fit(X, Y)
