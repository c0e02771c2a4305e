"""Random shifts and flips of images, for a whole batch at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from labelaudit.model.device import send


def crop_and_flip(images: torch.Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to `padding` pixels, and mirror half of the images if `flip`.

    Border pixels are repeated, so that no artificial frame appears.

    Args:
        images: (B, C, H, W), any dtype.
        generator: CPU generator, so that the shifts are the same on every device.

    Returns:
        A tensor with the same shape, dtype and memory format as `images`.
    """
    batch, _, height, width = images.shape
    device = images.device
    shifts = send(torch.randint(-padding, padding + 1, (2, batch, 1), generator=generator), device)
    rows = (torch.arange(height, device=device) + shifts[0]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=device) + shifts[1]).clamp_(0, width - 1)
    if flip:
        mirrored = send(torch.randint(0, 2, (batch, 1), generator=generator, dtype=torch.bool), device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    flat = (rows * width)[:, :, None] + columns[:, None, :]
    return _pick(images, flat)


def views(images: torch.Tensor, *, padding: int, flip: bool) -> Iterator[torch.Tensor]:
    """Yield the images (B, C, H, W) unchanged and shifted by half of `padding` towards each corner.

    With `flip`, also yield each of these mirrored. Predictions are averaged over the views.
    """
    step = (padding + 1) // 2
    shifts = [(0, 0), *itertools.product((-step, step), repeat=2)] if step else [(0, 0)]
    height, width = images.shape[2:]
    rows = torch.arange(-step, height + step, device=images.device).clamp_(0, height - 1)
    columns = torch.arange(-step, width + step, device=images.device).clamp_(0, width - 1)
    padded = images.index_select(2, rows).index_select(3, columns)
    for down, right in shifts:
        top, left = step + down, step + right
        shown = padded[:, :, top : top + height, left : left + width]
        moved = shown.clone(memory_format=torch.contiguous_format)
        mirrored = moved.flip(3) if flip else None  # before a module can write into `moved`
        yield moved
        if mirrored is not None:
            yield mirrored


def _pick(images: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    batch, _, height, width = images.shape
    # In channels-last order the C values of a pixel are neighbours, so one gather moves whole pixels.
    pixels = images.permute(0, 2, 3, 1).reshape(batch * height * width, -1)
    offsets = torch.arange(batch, device=images.device)[:, None, None] * (height * width)
    picked = pixels.index_select(0, flat.add_(offsets).flatten())  # in place: 8 bytes per pixel
    return picked.view(batch, height, width, -1).permute(0, 3, 1, 2)
