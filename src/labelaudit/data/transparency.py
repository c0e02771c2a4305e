"""Transparent images on a background on which they can be seen."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Pixels with all channels above this cannot be seen on white, and pixels with all channels below the other on black.
NEARLY_WHITE, NEARLY_BLACK = 223, 32
# Most pictures are made for white pages. Black is used if more than this share of a picture vanishes on white.
_VANISHING_SHARE = 0.25


def over_background(image: Image.Image, mode: str) -> Image.Image:
    """Return an image without transparency, on white or, if it would vanish there, on black.

    Black is chosen if more than a quarter of the visible pixels are nearly white and fewer are nearly black. A pixel
    counts by its opacity. So the background depends on the image alone.

    Args:
        image: RGBA.
        mode: L or RGB: the mode in which the image is going to be seen.
    """
    seen = np.asarray(image if mode == "RGB" else image.convert("LA"))
    opacity = seen[..., -1]
    if opacity.min() == 255:
        return image.convert(mode)
    background = "black" if _vanishes_on_white(seen[..., :-1], opacity) else "white"
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def _vanishes_on_white(colours: np.ndarray, opacity: np.ndarray) -> bool:
    """Return whether black is the better background of (H, W, C) uint8 colours with (H, W) uint8 opacity."""
    visible = int(opacity.sum(dtype=np.int64))
    white = int(opacity[colours.min(axis=-1) > NEARLY_WHITE].sum(dtype=np.int64))
    black = int(opacity[colours.max(axis=-1) < NEARLY_BLACK].sum(dtype=np.int64))
    return white > visible * _VANISHING_SHARE and white > black
