"""Layers of a module by name or position."""

from __future__ import annotations

from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.text import listing


def last_layer(module: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and layer of the class scores: the last linear layer or 1x1 convolution of `module`.

    Raises:
        ConfigError: There is none.
    """
    candidates = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if candidates:
        name, layer = candidates[-1]
        if isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1):
            return name, layer
    raise ConfigError(
        f"Module {type(module).__name__} has no last linear layer or 1x1 convolution. Use a module that ends with one."
    )


def input_width(layer: nn.Linear | nn.Conv2d) -> int:
    """Return the number of features that a layer gets at each position."""
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


def named_layer(module: nn.Module, name: str) -> nn.Module:
    """Return the layer with the name `name` in `module.named_modules()`; "" is `module` itself.

    Raises:
        ConfigError: There is none.
    """
    try:
        return module.get_submodule(name)
    except AttributeError:
        names = [known for known, _ in module.named_modules() if known]
        listed = listing(names, shown=12)
        remedy = f"Use one of its layers: {listed}." if names else "The module has no layers. Leave the name empty."
        raise ConfigError(f"The module has no layer {name!r}. {remedy}") from None
