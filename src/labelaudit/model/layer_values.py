"""Inputs or outputs of a layer of a module, for many rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from labelaudit.errors import TrainingError
from labelaudit.model.batches import Rows
from labelaudit.model.device import autocast, repeatable
from labelaudit.model.layers import input_width, last_layer
from labelaudit.model.training import prediction_batch_size


@torch.inference_mode()
def layer_values(
    module: nn.Module,
    layer: nn.Module,
    rows: Rows,
    index: torch.Tensor,
    *,
    side: str,
    batch_size: int,
    device: torch.device,
    precision: str,
) -> Iterator[torch.Tensor]:
    """Yield the inputs or outputs of `layer`, batch by batch, in the order of `index` (n,).

    Args:
        side: "input" or "output".
        batch_size: Smallest number of rows at a time.

    Yields:
        (B, features) float32 on the CPU. More dimensions are flattened.

    Raises:
        TrainingError: The layer does not run exactly once per batch, or returns no tensor.
    """
    caught: list[object] = []

    def catch_input(_: nn.Module, inputs: tuple[object, ...], named: dict[str, object]) -> None:
        caught.append(_copied([*inputs, *named.values()][0]))

    def catch_output(_: nn.Module, __: tuple[object, ...], output: object) -> None:
        caught.append(_copied(output))

    if side == "input":
        hook = layer.register_forward_pre_hook(catch_input, with_kwargs=True)
    else:
        hook = layer.register_forward_hook(catch_output)
    module.eval()
    try:
        chunks = torch.split(index.to(rows.numbered_on), prediction_batch_size(rows.shape, batch_size, device))
        for chunk, inputs in zip(chunks, rows.batches(chunks), strict=True):
            with repeatable(device), autocast(device, precision):
                module(inputs)
            yield _features(caught, type(layer).__name__, len(chunk))
            caught.clear()
    finally:
        hook.remove()


def last_layer_features(
    module: nn.Module,
    rows: Rows,
    index: torch.Tensor,
    *,
    batch_size: int,
    device: torch.device,
    precision: str,
) -> torch.Tensor:
    """Return the inputs (n, features) of the last linear layer for the rows `index` (n,), float32 on the CPU.

    If that layer runs at many positions of an example, such as pixels or words, the result is the mean over them.

    Raises:
        ConfigError: The module has no such layer.
        TrainingError: As in `layer_values`.
    """
    layer = last_layer(module)[1]
    values = layer_values(
        module, layer, rows, index, side="input", batch_size=batch_size, device=device, precision=precision
    )
    features = torch.cat(list(values))
    positions = features.shape[1] // input_width(layer)
    if isinstance(layer, nn.Conv2d):
        return features.view(len(features), -1, positions).mean(2)
    return features.view(len(features), positions, -1).mean(1)


def _features(caught: list[object], name: str, batch: int) -> torch.Tensor:
    if len(caught) != 1 or not isinstance(caught[0], torch.Tensor) or len(caught[0]) != batch:
        got = [tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__ for value in caught]
        raise TrainingError(
            f"Layer {name} returned {got or 'nothing'} for a batch of {batch}, but features must be one tensor "
            f"({batch}, ...). Choose another layer."
        )
    return caught[0].flatten(1)


def _copied(value: object) -> object:
    """Copy a tensor to float32 on the CPU, because later layers may write into it."""
    return torch.empty(value.shape, dtype=torch.float32).copy_(value) if isinstance(value, torch.Tensor) else value
