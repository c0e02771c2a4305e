"""Batch norms folded into the convolutions before them, which saves a pass over the memory of each layer."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Folding changes only the rounding of float32, and this much is far below the rounding of float16 features.
_TOLERANCE = 1e-4


def fold_batch_norms(module: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a copy of a module in eval mode whose batch norms are part of the convolutions before them.

    The pairs are found by running the module once. If the result then differs by more than rounding, for example
    because the output of a convolution is also used elsewhere, the module itself is returned.

    Args:
        module: Any module from images to features.
        example: A batch that it accepts.
    """
    copied = copy.deepcopy(module)
    before, pairs = _pairs(copied, example)
    if not pairs:
        return module
    names = {layer: name for name, layer in copied.named_modules()}
    for convolution, norm in pairs:
        _replace(copied, names[convolution], fuse_conv_bn_eval(convolution, norm))
        _replace(copied, names[norm], nn.Identity())
    after = copied(example)
    is_same = bool((after - before).norm() <= _TOLERANCE * before.norm())
    return copied if is_same else module


def _pairs(module: nn.Module, example: torch.Tensor) -> tuple[torch.Tensor, list[tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """Run a module; return its result, and each convolution with the batch norm that got its output."""
    outputs: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    calls: dict[nn.Module, int] = {}

    def after_convolution(layer: nn.Conv2d, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls[layer] = calls.get(layer, 0) + 1
        outputs[id(output)] = layer, output  # the tensor is kept, so that its id stays unique

    def before_norm(layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        calls[layer] = calls.get(layer, 0) + 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], layer))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            handles.append(layer.register_forward_hook(after_convolution))
        elif type(layer) is nn.BatchNorm2d and layer.track_running_stats:
            handles.append(layer.register_forward_pre_hook(before_norm))
    try:
        result: torch.Tensor = module(example)
    finally:
        for handle in handles:
            handle.remove()
    return result, [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]


def _replace(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, layer)
