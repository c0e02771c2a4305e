"""Layers of a module by name or position."""

from __future__ import annotations

from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.text import listing


def last_layer(module: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name and layer that gives the class scores: the last linear layer or 1x1 convolution of `module`.

    Raises `ConfigError` where there is none.
    """
    candidates = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if candidates:
        name, layer = candidates[-1]
        if isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1):
            return name, layer
    raise ConfigError(f"{type(module).__name__} has no last linear layer or 1x1 convolution.")


def named_layer(module: nn.Module, name: str) -> nn.Module:
    """The layer that `module.named_modules()` calls `name`; "" is `module` itself.

    Raises `ConfigError` where there is none.
    """
    try:
        return module.get_submodule(name)
    except AttributeError:
        names = [known for known, _ in module.named_modules() if known]
        raise ConfigError(
            f"the module has no layer {name!r}. It has {listing(names, shown=12) or 'no layers'}."
        ) from None
