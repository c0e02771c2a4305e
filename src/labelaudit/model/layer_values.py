"""What goes into a layer of a module, or comes out of it, for many rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from labelaudit.errors import TrainingError
from labelaudit.model.batches import Rows
from labelaudit.model.device import autocast, repeatable
from labelaudit.model.training import predicted_batch


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
    """What goes into ("input") or comes out of ("output") `layer`, batch by batch, in the order of `index` (n,).

    Each batch is (B, features) float32 on the CPU; what has more dimensions is flattened. Raises
    `TrainingError` where the layer is not run exactly once per batch, or gives no tensor.
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
        chunks = torch.split(index.to(rows.numbered_on), predicted_batch(rows.shape, batch_size, device))
        for chunk, inputs in zip(chunks, rows.batches(chunks), strict=True):
            with repeatable(device), autocast(device, precision):
                module(inputs)
            yield _features(caught, type(layer).__name__, len(chunk))
            caught.clear()
    finally:
        hook.remove()


def _features(caught: list[object], name: str, batch: int) -> torch.Tensor:
    if len(caught) != 1 or not isinstance(caught[0], torch.Tensor) or len(caught[0]) != batch:
        got = [tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__ for value in caught]
        raise TrainingError(
            f"the layer {name} gave {got or 'nothing'} for a batch of {batch}; features must be one tensor "
            f"({batch}, ...). Name another layer."
        )
    return caught[0].flatten(1)


def _copied(value: object) -> object:
    """A tensor as float32 on the CPU, of its own: later layers may write into what they get."""
    return torch.empty(value.shape).copy_(value) if isinstance(value, torch.Tensor) else value
