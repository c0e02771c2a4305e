"""Builds the module that a network's name in a config stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.construction import call_with_sizes
from labelaudit.model.layers import last_layer
from labelaudit.model.networks import IMAGENET_MEAN, IMAGENET_STD, MLP, Ngrams, Pixels, SmallResNet, UnitPixels
from labelaudit.model.user_modules import import_callable
from labelaudit.model.weights import load_weights
from labelaudit.text import unknown_name

_NETWORKS: dict[str, Callable[..., nn.Module]] = {"cnn": SmallResNet, "mlp": MLP, "ngrams": Ngrams}


class RawPixels(nn.Sequential):
    """A user's module with a conversion of uint8 pixels to float32 in 0..1 before it."""


def build_network(
    name: str,
    *,
    num_classes: int,
    input_shape: Sequence[int],
    network_kwargs: Kwargs | None = None,
) -> nn.Module:
    """Return the module that `name` and `network_kwargs` describe, initialised from torch's global generator.

    Args:
        name: cnn, mlp, ngrams, torchvision:<model> or <module>:<callable>.
        input_shape: Shape of one example: (C, H, W) for images, else (features,).
        network_kwargs: Arguments of the network.

    Raises:
        ConfigError: The name is unknown, cannot be imported or is not callable; the arguments do not fit; or the result
            is not a torch.nn.Module.
    """
    kwargs = dict(network_kwargs or {})
    shape = tuple(int(size) for size in input_shape)
    prefix, colon, rest = name.partition(":")
    if prefix == "torchvision" and colon:
        return _torchvision_classifier(rest, num_classes, shape, kwargs)
    factory = _NETWORKS[name] if name in _NETWORKS else _imported(name)
    try:
        module = call_with_sizes(factory, {"num_classes": num_classes, "input_shape": shape}, kwargs)
    except TypeError as error:
        raise ConfigError(
            f"Network {name!r} cannot be called with num_classes=, input_shape= and model.kwargs {kwargs}: {error}. "
            "Change model.kwargs, or the parameters of the network."
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"Network {name!r} returned a {type(module).__name__}, not a torch.nn.Module. Change what it returns."
        )
    if name not in _NETWORKS and len(shape) == 3:
        return RawPixels(UnitPixels(), module)
    return module


def _imported(name: str) -> Callable[..., nn.Module]:
    if ":" not in name:
        raise ConfigError(unknown_name(f"Network {name!r}", name, [*_NETWORKS, "torchvision:resnet18"]))
    factory: Callable[..., nn.Module] = import_callable(name, subject="Network", example="my_package.nets:build")
    return factory


def _torchvision_classifier(
    name: str, num_classes: int, input_shape: tuple[int, ...], kwargs: dict[str, Any]
) -> nn.Module:
    import torchvision  # takes seconds, and most folds do not need it

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ConfigError(unknown_name(f"Network 'torchvision:{name}'", name, known))
    weights = kwargs.pop("weights", None)
    path = Path(weights) if weights is not None and Path(weights).suffix in {".pt", ".pth", ".safetensors"} else None
    try:
        published = None if weights is None or path else torchvision.models.get_model_weights(name)[weights]
    except KeyError as error:
        names = [entry.name for entry in torchvision.models.get_model_weights(name)]
        raise ConfigError(
            unknown_name(f"The weights name {weights!r} of torchvision:{name}", weights, names)
        ) from error
    try:
        module = torchvision.models.get_model(name, weights=published, **kwargs)
    except TypeError as error:
        raise ConfigError(
            f"Network torchvision:{name} does not accept model.kwargs {kwargs}: {error}. Change model.kwargs."
        ) from error
    if path:
        # The last layer is replaced below, so its number of classes may differ.
        load_weights(module, path, skip_layer=last_layer(module)[0])
    replace_head(module, num_classes)
    return nn.Sequential(Pixels(IMAGENET_MEAN, IMAGENET_STD, channels=3), module)


def replace_head(module: nn.Module, num_classes: int) -> None:
    """Replace the last linear layer or 1x1 convolution by a new one with `num_classes` outputs.

    Raises:
        ConfigError: The module has no such layer.
    """
    name, layer = last_layer(module)
    parent, child = module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
    if isinstance(layer, nn.Linear):
        setattr(parent, child, nn.Linear(layer.in_features, num_classes))
    else:
        setattr(parent, child, nn.Conv2d(layer.in_channels, num_classes, kernel_size=1))
