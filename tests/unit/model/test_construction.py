"""Modules from functions and classes with any signature, lazy modules, and modules without values."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18

from labelaudit.errors import ConfigError, InputError, TrainingError
from labelaudit.model.build import build_network
from labelaudit.model.checkpoints import Checkpoints
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.construction import call_with_sizes, complete, copied, float32_by_default
from labelaudit.model.features import TorchFeatures
from support.toys import X, Y, own, same_weights

SIZES = {"num_classes": 3, "input_shape": (6,)}


def received(**arguments: Any) -> dict[str, Any]:
    return arguments


def one(num_classes: int) -> dict[str, Any]:
    return {"num_classes": num_classes}


def forwards(**kwargs: Any) -> dict[str, Any]:
    return one(**kwargs)


def forwards_named(num_classes: int, **kwargs: Any) -> dict[str, Any]:
    return {"num_classes": num_classes, **received(**kwargs)}


def positional(num_classes: int, /, **kwargs: Any) -> dict[str, Any]:
    return {"first": num_classes, **kwargs}


class Callable1:
    def __call__(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        return {"input_shape": input_shape}


@pytest.mark.parametrize(
    ("factory", "arguments", "expected"),
    [
        (received, {}, SIZES),
        (one, {}, {"num_classes": 3}),
        (forwards, {}, {"num_classes": 3}),
        (forwards_named, {}, SIZES),
        (lambda: {}, {}, {}),
        (dict, {}, {}),
        (Callable1(), {}, {"input_shape": (6,)}),
        (partial(forwards, num_classes=5), {}, {"num_classes": 5}),
        (partial(one, num_classes=5), {}, {"num_classes": 5}),
        (partial(forwards_named, 5), {}, {"num_classes": 5, "input_shape": (6,)}),
        (partial(positional, 5), {}, {"first": 5, **SIZES}),
        (forwards, {"num_classes": 7}, {"num_classes": 7}),
    ],
)
def test_a_callable_gets_the_sizes_that_it_accepts(
    factory: Callable[..., Any], arguments: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert call_with_sizes(factory, SIZES, arguments) == expected


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [
        (forwards, {"hidden": 3}, r"unexpected keyword argument 'hidden'"),
        (one, {"hidden": 3}, r"unexpected keyword argument 'hidden'"),
        (partial(nn.Linear, 6), {}, r"missing 1 required positional argument: 'out_features'"),
    ],
)
def test_other_arguments_that_are_refused_are_errors(
    factory: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        call_with_sizes(factory, SIZES, arguments)


def test_a_repeated_call_draws_the_same_weights() -> None:
    def late(**kwargs: Any) -> nn.Module:
        layer = nn.Linear(6, kwargs.pop("num_classes"))
        nn.Flatten(**kwargs)  # refuses input_shape after the weights were drawn
        return layer

    torch.manual_seed(0)
    found = call_with_sizes(late, SIZES, {})
    torch.manual_seed(0)
    assert isinstance(found, nn.Linear)
    assert torch.equal(found.weight, nn.Linear(6, 3).weight)


@pytest.mark.parametrize("model", [resnet18, partial(resnet18, weights=None), mobilenet_v3_small])
def test_models_of_torchvision_are_trained_as_they_are(model: Callable[..., nn.Module]) -> None:
    labels = np.arange(6) % 3
    images = np.random.default_rng(0).random((6, 3, 32, 32), np.float32)
    trained = own(model, epochs=1).fit(images, labels)
    assert trained.predict_proba(images).shape == (6, 3)

    def by_hand(num_classes: int) -> nn.Module:
        return model(num_classes=num_classes)

    assert same_weights(trained, own(by_hand, epochs=1).fit(images, labels))


def test_a_network_of_a_config_need_not_take_the_shape_of_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_without_shape.py").write_text(
        "from torch import nn\ndef build(num_classes): return nn.Linear(6, num_classes)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    network = build_network("nets_without_shape:build", num_classes=3, input_shape=(6,))
    assert network(torch.zeros(2, 6)).shape == (2, 3)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (nn.Linear, ConfigError, r"cannot be built with no arguments of its own: .*missing 2 required.* module__ arg"),
        (partial(nn.Linear, 6, 9), TrainingError, r"of shape \(8, 9\), but 3 classes need \(8, 3\)"),
        (
            nn.Linear(5, 3),
            TrainingError,
            r"Linear cannot process a batch of shape \(8, 6\) and type torch.float32: ",
        ),
        (nn.GRU(6, 3), TrainingError, r"returned a tuple of \(8, 3\), \(1, 3\) for a batch of 8, not one tensor"),
    ],
)
def test_modules_that_do_not_fit_the_data_are_refused(module: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        own(module).fit(X, Y)


def test_arguments_that_a_module_does_not_take_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot be built with module__in_features, .*module__depth: .*'depth'"):
        own(nn.Linear, module__in_features=6, module__out_features=3, module__depth=1).fit(X, Y)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Dropout(0.2), nn.ReLU(), nn.LazyLinear(3))


def test_a_lazy_module_is_trained_like_one_with_shapes() -> None:
    assert own(lazy(), epochs=60).fit(X, Y).score(X, Y) > 0.75
    assert same_weights(own(lazy()).fit(X, Y), own(lazy).fit(X, Y))


@pytest.mark.parametrize("duplicate", [clone, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_lazy_module_can_be_copied(duplicate: Callable[[TorchClassifier], TorchClassifier]) -> None:
    classifier = own(lazy())
    trained = duplicate(classifier).fit(X, Y)
    assert same_weights(trained, classifier.fit(X, Y))
    np.testing.assert_array_equal(copy.deepcopy(trained).predict(X), trained.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(trained)).predict(X), trained.predict(X))


def test_a_lazy_module_of_images_is_saved_and_loaded(tmp_path: Path) -> None:
    def convolutional(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(num_classes))

    images, labels = X.reshape(120, 1, 2, 3).repeat(3, 2), Y
    classifier = own(convolutional, epochs=1).fit(images, labels)
    classifier.save(tmp_path)
    again = TorchClassifier.load(tmp_path, module=convolutional)
    np.testing.assert_array_equal(again.predict_proba(images), classifier.predict_proba(images))


def test_a_lazy_module_resumes() -> None:
    place: dict[str, bytes] = {}

    def stop(epoch: Any, module: nn.Module) -> None:
        if epoch.epoch == 3:
            raise KeyError

    classifier = own(lazy(), checkpoint=Checkpoints(place, minutes=0), callbacks=[stop])
    with pytest.raises(KeyError):
        classifier.fit(X, Y)
    assert len(place) == 1
    assert same_weights(classifier.set_params(callbacks=[]).fit(X, Y), own(lazy()).fit(X, Y))


def test_features_of_a_lazy_module() -> None:
    assert TorchFeatures(lazy(), layer="0", device="cpu").fit(X).transform(X).shape == (120, 8)


def test_a_copy_of_a_lazy_module_is_completed_alone() -> None:
    original = lazy()
    complete(copied(original), torch.zeros(2, 6))
    assert isinstance(original[0], nn.LazyLinear)  # type: ignore[index]


def test_lazy_layers_that_do_not_run_are_refused() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.LazyLinear(3), nn.LazyLinear(3)

        def forward(self, x: torch.Tensor) -> Any:
            return self.used(x)

    with pytest.raises(ConfigError, match=r"lazy layers of Half have no shapes .*: unused.weight, unused.bias"):
        own(Half()).fit(X, Y)


def on_meta(num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Linear(6, num_classes)


def lazy_on_meta() -> nn.Module:
    with torch.device("meta"):
        return nn.LazyLinear(3)


@pytest.mark.parametrize(
    "module", [on_meta(3), on_meta, nn.Sequential(nn.Linear(6, 6), on_meta(3)), lazy_on_meta(), lazy_on_meta]
)
def test_modules_on_the_meta_device_are_refused(module: Any) -> None:
    for estimator in (own(module), TorchFeatures(partial(module, 3) if module is on_meta else module, device="cpu")):
        with pytest.raises(
            ConfigError, match=r"module \w+ is on the meta device, so .*weight, .*bias have no values\. .*to_empty"
        ):
            estimator.fit(X, Y)


def test_tensors_on_the_meta_device_are_refused() -> None:
    data = torch.empty(120, 6, device="meta")
    for classifier, rows in ((own(lazy()), data), (own(lazy(), dataset=data), np.arange(120))):
        with pytest.raises(InputError, match=r"tensor is on the meta device\. Pass a tensor of real numbers"):
            classifier.fit(rows, Y)


def test_the_default_device_and_dtype_do_not_matter() -> None:
    expected = own(lazy).fit(X, Y)
    with torch.device("meta"):
        assert same_weights(own(lazy).fit(X, Y), expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert same_weights(own(lazy).fit(X, Y), expected)
        with float32_by_default():
            assert torch.zeros(1).dtype == torch.float32
        assert torch.get_default_dtype() == torch.float64
        assert expected.transform(X).dtype == np.float32
    finally:
        torch.set_default_dtype(torch.float32)
