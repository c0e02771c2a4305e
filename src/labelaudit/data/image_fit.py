"""How an image of any shape becomes an image of one size: cropped or, if too much would be lost, letterboxed."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageOps

# An image that would lose a larger share is letterboxed. Cropping 3:2 to a square loses a third.
MAX_CROPPED = 1 / 3
# Longer shapes are letterboxed, because a network needs more than a few lines.
MAX_ASPECT = 16.0


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an L or RGB image with exactly this size.

    It is scaled until it fills the size, and what is over is cropped evenly at both ends. If that is more than a
    third of the image, it is scaled until all of it is inside, on the median colour of its edges.

    Args:
        image: L or RGB.
        size: (width, height).
    """
    if image.size == size:
        return image
    if cropped_share(image.size, size) <= MAX_CROPPED + 1e-9:
        return ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)
    scale = min(size[0] / image.width, size[1] / image.height)
    inside = image.resize((_side(image.width * scale), _side(image.height * scale)), Image.Resampling.BILINEAR)
    result = Image.new(image.mode, size, _edge_colour(inside))
    result.paste(inside, ((size[0] - inside.width) // 2, (size[1] - inside.height) // 2))
    return result


def cropped_share(size: tuple[int, int], target: tuple[int, int]) -> float:
    """Return the share of an image that does not fit if it fills a target of another shape; (width, height) each."""
    ratio = (size[0] * target[1]) / (size[1] * target[0])
    return 1 - min(ratio, 1 / ratio)


def shaped_size(aspect: float, side: int) -> tuple[int, int]:
    """Return (width, height) with an aspect ratio (width / height) and about as many pixels as a square.

    It is the square itself if an image of this ratio would lose at most a third of itself there.
    """
    if 1 - min(aspect, 1 / aspect) <= MAX_CROPPED + 1e-9:
        return side, side
    root = math.sqrt(min(max(aspect, 1 / MAX_ASPECT), MAX_ASPECT))
    return round(side * root), round(side / root)


def _side(length: float) -> int:
    return max(round(length), 1)


def _edge_colour(image: Image.Image) -> int | tuple[int, ...]:
    pixels = np.asarray(image)
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(edges, axis=0).round().astype(int)
    return int(colour) if image.mode == "L" else tuple(int(value) for value in colour)
