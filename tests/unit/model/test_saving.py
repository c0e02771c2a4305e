"""Classifiers on disk and in pickles: they predict the same after loading, or an error explains why not."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from labelaudit.errors import ConfigError, StorageError, TrainingError
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.networks import MLP, SmallResNet
from labelaudit.model.saving import DESCRIPTION, FORMAT, WEIGHTS
from labelaudit.model.schedules import cosine
from support.toys import Normed, Tied, X, Y, own, same_weights, small

NAMES = np.array(["ant", "bee", "cat"])


def through_joblib(classifier: TorchClassifier, folder: Path) -> TorchClassifier:
    joblib.dump(classifier, folder / "classifier.joblib")
    again: TorchClassifier = joblib.load(folder / "classifier.joblib")
    return again


def through_folder(classifier: TorchClassifier, folder: Path) -> TorchClassifier:
    classifier.save(folder / "deep" / "folder")
    return TorchClassifier.load(folder / "deep" / "folder")


WAYS: dict[str, Callable[[TorchClassifier, Path], TorchClassifier]] = {
    "pickle": lambda classifier, _: pickle.loads(pickle.dumps(classifier)),
    "joblib": through_joblib,
    "deepcopy": lambda classifier, _: copy.deepcopy(classifier),
    "folder": through_folder,
}
LABELS: dict[str, Any] = {
    "str": NAMES[Y],
    "object": NAMES[Y].astype(object),
    "bool": Y > 0,
    "int": Y - 1,
    "int8": Y.astype(np.int8),
    "float": Y.astype(float),
}


def assert_same(first: TorchClassifier, second: TorchClassifier, data: Any = X) -> None:
    np.testing.assert_array_equal(first.predict_proba(data), second.predict_proba(data))
    np.testing.assert_array_equal(first.predict(data), second.predict(data))
    assert first.classes_.dtype == second.classes_.dtype
    for name in ("history_", "n_iter_", "input_shape_", "precision_", "device_"):
        assert getattr(first, name) == getattr(second, name)
        assert type(getattr(first, name)) is type(getattr(second, name))
    for name in ("n_features_in_", "feature_names_in_"):
        assert hasattr(first, name) == hasattr(second, name)
        np.testing.assert_array_equal(getattr(first, name, 0), getattr(second, name, 0))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("labels", LABELS)
def test_labels_predictions_and_history_are_restored(way: str, labels: str, tmp_path: Path) -> None:
    classifier = small().fit(X, LABELS[labels])
    assert_same(WAYS[way](classifier, tmp_path), classifier)


@pytest.mark.parametrize("way", WAYS)
def test_names_of_columns_are_restored(way: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    classifier = small().fit(frame, Y)
    again = WAYS[way](classifier, tmp_path)
    assert_same(again, classifier, frame)
    with pytest.raises(ValueError, match=r"feature names should match"):
        again.predict(frame.rename(columns={"a": "z"}))


@pytest.mark.parametrize("way", [*WAYS])
@pytest.mark.parametrize("settings", [{"precision": "float64"}, {"precision": "bfloat16"}, {"early_stopping": True}])
def test_precision_and_early_stopping_are_restored(way: str, settings: dict[str, Any], tmp_path: Path) -> None:
    classifier = small(**settings).fit(X, Y)
    assert_same(WAYS[way](classifier, tmp_path), classifier)


def test_parameters_are_restored(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "class_weight": {"ant": 2.0},
        "learning_rate_factors": {"layers.1.*": 0.5},
        "frozen": ["layers.1.bias"],
        "optimizer": torch.optim.Adam,
        "optimizer__betas": [0.8, 0.9],
        "optimizer__weight_decay": np.float64(0.25),
        "gradient_clip": 1.0,
        "schedule": "cosine",
        "random_state": 3,
        "warm_start": True,
    }
    classifier = small(**given).fit(X, NAMES[Y])
    again = through_folder(classifier, tmp_path)
    expected = classifier.get_params()
    found = again.get_params()
    assert {**found, "module__hidden": (8,), "frozen": list(found["frozen"]), "callbacks": ()} == {
        **expected,
        "frozen": list(expected["frozen"]),
    }
    assert found["module__hidden"] == [8]
    assert same_weights(again.fit(X, NAMES[Y]), classifier.fit(X, NAMES[Y]))


def test_keys_of_class_weights_keep_their_type(tmp_path: Path) -> None:
    classifier = small(class_weight={np.int64(0): 2.0, 1: 3.0}).fit(X, Y)
    assert through_folder(classifier, tmp_path).class_weight == {0: 2.0, 1: 3.0}


def test_a_random_state_is_not_saved(tmp_path: Path) -> None:
    classifier = small(random_state=np.random.RandomState(0)).fit(X, Y)
    assert through_folder(classifier, tmp_path).random_state == 0


def test_data_and_callbacks_are_not_saved(tmp_path: Path) -> None:
    classifier = small(dataset=X, callbacks=[lambda epoch, module: None]).fit(np.arange(120), Y)
    again = through_folder(classifier, tmp_path)
    assert again.dataset is None
    assert tuple(again.callbacks) == ()
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(np.arange(120)))
    bound = TorchClassifier.load(tmp_path / "deep" / "folder", dataset=X)
    np.testing.assert_array_equal(bound.predict(np.arange(9)), classifier.predict(np.arange(9)))


@pytest.mark.parametrize("way", ["pickle", "joblib", "deepcopy"])
def test_tied_weights_stay_tied(way: str, tmp_path: Path) -> None:
    classifier = own(Tied).fit(X, Y)
    again = WAYS[way](classifier, tmp_path)
    assert_same(again, classifier)
    assert again.module_.first.weight is again.module_.second.weight


def test_tied_weights_stay_tied_in_a_folder(tmp_path: Path) -> None:
    classifier = own(Tied).fit(X, Y)
    classifier.save(tmp_path)
    again = TorchClassifier.load(tmp_path, module=Tied)
    assert_same(again, classifier)
    assert again.module_.first.weight is again.module_.second.weight


def test_statistics_of_normalisation_and_convolutions_are_restored(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8)
    classifier = own(SmallResNet, module__widths=(4, 8), precision="bfloat16").fit(images, np.arange(40) % 2)
    assert_same(through_folder(classifier, tmp_path), classifier, images)


def test_what_was_learned_can_be_learned_further(tmp_path: Path) -> None:
    classifier = small(warm_start=True, frozen=["layers.1.weight"]).fit(X, Y)
    again = through_folder(classifier, tmp_path)
    assert same_weights(again.fit(X, Y), classifier.fit(X, Y))
    assert again.n_iter_ == 10
    other = through_folder(small().fit(X, Y), tmp_path)
    assert same_weights(other.partial_fit(X, Y), small().fit(X, Y).partial_fit(X, Y))
    assert other.n_iter_ == 6


def test_parameters_that_a_module_does_not_train_stay_untrained(tmp_path: Path) -> None:
    module = nn.Linear(6, 3)
    module.bias.requires_grad_(False)
    classifier = own(module, warm_start=True).fit(X, Y)
    classifier.save(tmp_path)
    again = TorchClassifier.load(tmp_path, module=partial(nn.Linear, 6, 3))
    before = again.module_.bias.detach().clone()
    assert torch.equal(again.fit(X, Y).module_.bias, before)


def test_saving_again_replaces_files_and_leaves_no_others(tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    second = small(module__hidden=(3,)).fit(X, Y)
    second.save(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([WEIGHTS, DESCRIPTION])
    assert_same(TorchClassifier.load(str(tmp_path)), second)


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    before = torch.get_rng_state()
    TorchClassifier.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (Normed, "toys:Normed"),
        (lambda num_classes: nn.Linear(6, num_classes), "test_saving:<lambda>"),
        (partial(nn.Linear, 6, 3), "functools:partial"),
        (nn.Linear(6, 3), "torch.nn.modules.linear:Linear"),
    ],
)
def test_modules_of_the_user_must_be_given_again(module: Any, name: str, tmp_path: Path) -> None:
    classifier = own(module).fit(X, Y)
    classifier.save(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"saved with module = .*{name}, which is not part of the files\. Pass it again, as load"
    ):
        TorchClassifier.load(tmp_path)
    assert_same(TorchClassifier.load(tmp_path, module=module), classifier)


def test_an_instance_of_a_network_of_labelaudit_must_be_given_again_too(tmp_path: Path) -> None:
    module = MLP(3, (6,), hidden=(5,), dropout=0.5)
    classifier = own(module).fit(X, Y)
    classifier.save(tmp_path)
    with pytest.raises(ConfigError, match=r"saved with module = .*labelaudit\.model\.networks:MLP.* Pass it again"):
        TorchClassifier.load(tmp_path)
    assert_same(TorchClassifier.load(tmp_path, module=module), classifier)


def test_functions_must_be_passed_again_at_any_nesting(tmp_path: Path) -> None:
    small(schedule=lambda progress: 1.0).fit(X, Y).save(tmp_path)
    with pytest.raises(ConfigError, match=r"saved with schedule = .*lambda.*load\(folder, schedule=\.\.\.\)"):
        TorchClassifier.load(tmp_path)
    assert TorchClassifier.load(tmp_path, schedule="constant").schedule == "constant"


def test_functions_of_labelaudit_are_restored(tmp_path: Path) -> None:
    small(schedule=cosine).fit(X, Y).save(tmp_path)
    assert TorchClassifier.load(tmp_path).schedule is cosine


def test_an_optimizer_of_torch_is_restored(tmp_path: Path) -> None:
    small(optimizer=torch.optim.RMSprop).fit(X, Y).save(tmp_path)
    assert TorchClassifier.load(tmp_path).optimizer is torch.optim.RMSprop


def test_a_module_of_other_sizes_is_refused(tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    with pytest.raises(StorageError, match=r"weights\.safetensors do not fit the module MLP \("):
        TorchClassifier.load(tmp_path, module__hidden=(9,))
    edit(tmp_path, lambda description: description["params"].pop("module__hidden"))
    with pytest.raises(StorageError, match=r"do not fit the module Linear \("):
        TorchClassifier.load(tmp_path, module=nn.Linear(6, 3))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    description = json.loads((folder / DESCRIPTION).read_text())
    change(description)
    (folder / DESCRIPTION).write_text(json.dumps(description))


def test_weights_of_another_save_are_refused(tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path / "one")
    small(random_state=1).fit(X, Y).save(tmp_path / "two")
    (tmp_path / "two" / WEIGHTS).replace(tmp_path / "one" / WEIGHTS)
    with pytest.raises(
        StorageError, match=r"does not belong to classifier\.json: its checksum differs\. Save the classifier again"
    ):
        TorchClassifier.load(tmp_path / "one")


@pytest.mark.parametrize("missing", [WEIGHTS, DESCRIPTION])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(StorageError, match=rf"does not contain a saved classifier .*{missing}"):
        TorchClassifier.load(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere does not contain a saved classifier"):
        TorchClassifier.load(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "", "\x00"])
def test_a_description_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(StorageError, match=r"does not contain a saved classifier"):
        TorchClassifier.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": 2}', '{"format": "1"}', "null"])
def test_another_format_is_refused(text: str, tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(StorageError, match=rf"does not have format {FORMAT}, which this version reads"):
        TorchClassifier.load(tmp_path)


@pytest.mark.parametrize("missing", ["weights_sha256", "params", "classes", "input_shape", "history", "trainable"])
def test_a_description_without_an_entry_is_refused(missing: str, tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    edit(tmp_path, lambda description: description.pop(missing))
    with pytest.raises(StorageError, match=rf"lacks {missing}"):
        TorchClassifier.load(tmp_path)


@pytest.mark.parametrize("name", ["os:system", "toys:Normed", "antigravity:fly", "labelaudit.model.networks:torch"])
@pytest.mark.parametrize("param", ["module", "optimizer", "schedule", "module__hidden"])
def test_what_a_file_names_is_never_imported(name: str, param: str, tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    edit(tmp_path, lambda description: description["params"].update({param: {"object": name}}))
    with pytest.raises(ConfigError, match=rf"saved with {param} = {name}, which is not part of the files"):
        TorchClassifier.load(tmp_path)
    assert "antigravity" not in sys.modules


def test_nothing_in_a_folder_is_a_pickle(tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))
    json.loads((tmp_path / DESCRIPTION).read_text())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_classifier_of_a_gpu_needs_one_or_another_device(tmp_path: Path) -> None:
    classifier = small().fit(X, Y)
    classifier.save(tmp_path)
    edit(tmp_path, lambda description: description["params"].update(device="cuda"))
    with pytest.raises(TrainingError, match=r"Device 'cuda' was requested, but torch .* finds 0 CUDA devices here"):
        TorchClassifier.load(tmp_path)
    again = TorchClassifier.load(tmp_path, device="cpu")
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    small().fit(X, Y).save(tmp_path)
    with pytest.raises(TypeError, match=r"TorchClassifier has no parameter 'speed'"):
        TorchClassifier.load(tmp_path, speed=3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_gpu_learned_predicts_on_a_cpu(stream: bool, tmp_path: Path) -> None:
    classifier = small(device="cuda", precision="float32")
    classifier = classifier.partial_fit(X, Y, classes=[0, 1, 2]) if stream else classifier.fit(X, Y)
    expected = classifier.predict_proba(X)
    state = classifier.__getstate__()
    assert {parameter.device.type for parameter in state["module_"].parameters()} == {"cpu"}
    moved = pickle.loads(pickle.dumps(classifier)).set_params(device="cpu")
    np.testing.assert_allclose(moved.predict_proba(X), expected, atol=1e-4)
    moved.partial_fit(X, Y)
    classifier.save(tmp_path)
    loaded = TorchClassifier.load(tmp_path, device="cpu")
    np.testing.assert_allclose(loaded.predict_proba(X), expected, atol=1e-4)
