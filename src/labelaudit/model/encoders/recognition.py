"""Which architecture a file of weights belongs to, by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from labelaudit.errors import ConfigError
from labelaudit.model.encoders.optional_packages import is_installed, require_package
from labelaudit.model.encoders.packaged_encoders import LITE0
from labelaudit.model.layers import last_layer
from labelaudit.model.weights import read_weights
from labelaudit.text import listing

_REMEDY = "Name the architecture: model.encoder: torchvision:<model> (or timm:<model>) with encoder_kwargs.weights."


def recognise_architecture(path: Path) -> str:
    """Return the encoder whose network fits a file of weights, such as "torchvision:resnet50".

    The last layer, which gives class scores, may have any size or be missing.

    Raises:
        ConfigError: The file cannot be read, or it fits no known network, or more than one.
    """
    state = read_weights(path)
    networks = _networks()
    likely = _of_same_size(state)
    # Building all of them takes several seconds.
    fitting = _fitting({name: networks[name] for name in likely if name in networks}, state) or _fitting(
        networks, state
    )
    if not fitting:
        raise ConfigError(
            f"The weights file {str(path)!r} fits no classification network of torchvision and not {LITE0}. {_REMEDY}"
        )
    if len(fitting) > 1:
        raise ConfigError(f"The weights file {str(path)!r} fits {listing(fitting)}. {_REMEDY}")
    return fitting[0]


def _networks() -> dict[str, Callable[[], nn.Module]]:
    """Return functions that build the known networks, by name."""
    models = require_package("torchvision", "torchvision").models

    def build(name: str) -> Callable[[], nn.Module]:
        # Two networks fill all weights with random numbers, which takes half a minute.
        slow = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return lambda: models.get_model(name, weights=None, **slow)

    networks = {f"torchvision:{name}": build(name) for name in models.list_models(module=models)}
    if is_installed("efficientnet_lite_pytorch"):
        package = require_package("efficientnet_lite_pytorch", LITE0)
        networks[LITE0] = lambda: package.EfficientNet.from_name(LITE0)
    return networks


def _of_same_size(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Return EfficientNet-Lite0 and the networks of torchvision with as many parameters as the file.

    A network that is not in the result may still fit, for example if the file has no last layer.
    """
    models = require_package("torchvision", "torchvision").models
    parameters = [tensor for name, tensor in state.items() if tensor.is_floating_point() and "running_" not in name]
    total = sum(tensor.numel() for tensor in parameters)
    # Each matrix may be the last layer; the published one has 1,000 classes.
    published = {total + (1000 - len(weight)) * (weight[0].numel() + 1) for weight in parameters if weight.ndim > 1}
    return [
        LITE0,
        *(
            f"torchvision:{name}"
            for name in models.list_models(module=models)
            if models.get_model_weights(name).DEFAULT.meta["num_params"] in published
        ),
    ]


def _fitting(networks: Mapping[str, Callable[[], nn.Module]], state: Mapping[str, torch.Tensor]) -> list[str]:
    return [name for name, build in networks.items() if _fits(build, state)]


def _fits(build: Callable[[], nn.Module], state: Mapping[str, torch.Tensor]) -> bool:
    with _WeightsWithoutMemory():
        module = build()
    head = last_layer(module)[0]
    expected = {name: tensor.shape for name, tensor in module.state_dict().items() if not _is_in(name, head)}
    found = {name: tensor.shape for name, tensor in state.items() if not _is_in(name, head)}
    return expected == found


def _is_in(name: str, layer: str) -> bool:
    return name.startswith(f"{layer}.")


class _WeightsWithoutMemory(TorchFunctionMode):
    """Creates the weights of layers on the meta device, so that large networks need neither memory nor time.

    torch.device("meta") would also do that to small tables whose values some networks read.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)
