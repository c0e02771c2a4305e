"""What a fold is trained on: rows of one kind, held in memory or memory-mapped, shared by all folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageInputs:
    """Decoded images in reading order, and where each row of the canonical order lies among them.

    `pixels` (M, H, W, C) uint8, often a memory map; `positions` (N,) int64: row i is `pixels[positions[i]]`.
    """

    pixels: np.ndarray
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W): the shape that a network sees."""
        height, width, channels = self.pixels.shape[1:]
        return (len(self.positions), channels, height, width)
