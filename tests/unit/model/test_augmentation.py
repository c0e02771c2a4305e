"""Crops, flips and views of images, checked on pixels that carry their own position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.model.augmentation import crop_and_flip, views


def numbered(batch: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Images whose pixels are all different."""
    return torch.arange(batch * channels * height * width).reshape(batch, channels, height, width)


def shifted_by_hand(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    _, height, width = image.shape
    out = torch.empty_like(image)
    for row in range(height):
        for column in range(width):
            source = (min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1))
            out[:, row, column] = image[:, *source]
    return out


def test_without_padding_and_flip_nothing_changes() -> None:
    images = numbered(3, 3, 4, 5)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(crop_and_flip(images, padding=0, flip=False, generator=generator), images)


@given(seed=st.integers(0, 1000), padding=st.integers(1, 3), flip=st.booleans(), channels=st.sampled_from([1, 3]))
def test_each_image_is_shifted_and_maybe_mirrored(seed: int, padding: int, flip: bool, channels: int) -> None:
    images = numbered(4, channels, 5, 6)
    moved = crop_and_flip(images, padding=padding, flip=flip, generator=torch.Generator().manual_seed(seed))
    shifts = range(-padding, padding + 1)
    for image, result in zip(images, moved, strict=True):
        possible = [shifted_by_hand(image, down, right) for down in shifts for right in shifts]
        if flip:
            possible += [candidate.flip(2) for candidate in possible]
        assert any(torch.equal(result, candidate) for candidate in possible)


def test_all_shifts_and_both_sides_occur() -> None:
    images = numbered(1, 1, 5, 5).expand(400, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    plain = crop_and_flip(images, padding=1, flip=False, generator=generator)
    assert len(torch.unique(plain, dim=0)) == 9
    both = crop_and_flip(images, padding=1, flip=True, generator=generator)
    assert len(torch.unique(both, dim=0)) == 18


def test_dtype_and_layout_are_kept_and_the_input_is_not_changed() -> None:
    images = numbered(2, 3, 4, 4).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    moved = crop_and_flip(images, padding=2, flip=True, generator=torch.Generator().manual_seed(0))
    assert moved.dtype == torch.uint8
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_the_same_generator_state_gives_the_same_images() -> None:
    images = numbered(8, 3, 6, 6)
    first, again = (
        crop_and_flip(images, padding=2, flip=True, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first, again)


@pytest.mark.parametrize(("padding", "flip", "count"), [(0, False, 1), (0, True, 2), (3, False, 5), (4, True, 10)])
def test_views(padding: int, flip: bool, count: int) -> None:
    image = numbered(1, 3, 6, 7)
    seen = list(views(image, padding=padding, flip=flip))
    assert len(seen) == count
    assert torch.equal(seen[0], image)
    step = (padding + 1) // 2
    corners = [(-step, -step), (-step, step), (step, -step), (step, step)] if step else []
    expected = [image[0], *(shifted_by_hand(image[0], *corner) for corner in corners)]
    for wanted, view in zip(expected, seen[:: 2 if flip else 1], strict=True):
        assert torch.equal(view[0], wanted)
    if flip:
        for straight, mirrored in zip(seen[::2], seen[1::2], strict=True):
            assert torch.equal(mirrored, straight.flip(3))
