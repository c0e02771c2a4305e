"""Random crops and flips of a batch of images, with all images of the batch at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from labelaudit.model.device import sent


def crop_and_flip(images: torch.Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to `padding` pixels, and mirror half of them where `flip`.

    `images` (B, C, H, W) of any dtype; the result has the same shape, dtype and memory format. What is
    shifted in repeats the border pixel, so that no artificial frame appears whatever the background. The
    shifts come from `generator`, on the CPU, so that they are the same on every device.
    """
    batch, _, height, width = images.shape
    device = images.device
    shifts = sent(torch.randint(-padding, padding + 1, (2, batch, 1), generator=generator), device)
    rows = (torch.arange(height, device=device) + shifts[0]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=device) + shifts[1]).clamp_(0, width - 1)
    if flip:
        mirrored = sent(torch.randint(0, 2, (batch, 1), generator=generator, dtype=torch.bool), device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    flat = (rows * width)[:, :, None] + columns[:, None, :]
    return _pick(images, flat)


def views(images: torch.Tensor, *, padding: int, flip: bool) -> Iterator[torch.Tensor]:
    """The images (B, C, H, W) as they are and as training may have shown them, for an averaged prediction.

    Moved by half of `padding` towards each corner, and all of these mirrored where `flip`.
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
        mirrored = moved.flip(3) if flip else None  # before a module may write into `moved`
        yield moved
        if mirrored is not None:
            yield mirrored


def _pick(images: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    batch, _, height, width = images.shape
    # Channels last: one pixel is C neighbouring values, so one gather moves whole pixels.
    pixels = images.permute(0, 2, 3, 1).reshape(batch * height * width, -1)
    offsets = torch.arange(batch, device=images.device)[:, None, None] * (height * width)
    picked = pixels.index_select(0, flat.add_(offsets).flatten())  # 8 bytes per pixel: not held twice
    return picked.view(batch, height, width, -1).permute(0, 3, 1, 2)
