"""Decoded images as inputs of all folds, in memory or memory-mapped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageInputs:
    """Decoded images in reading order, and the position of each row among them.

    Attributes:
        pixels: (M, H, W, C) uint8, often a memory map.
        positions: (N,) int64. Row i in canonical order is `pixels[positions[i]]`.
    """

    pixels: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W), the shape that a network gets."""
        height, width, channels = self.pixels.shape[1:]
        return (len(self.positions), channels, height, width)
