"""Random pictures with structure at all scales, as photographs have it."""

from __future__ import annotations

import numpy as np


def photographs(count: int, side: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return (count, side, side, channels) uint8, whose amplitudes fall with the frequency."""
    spectrum = np.random.default_rng(seed).normal(size=(count, side, side, channels))
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    falling = 1 / (np.hypot(rows, columns) + 1 / side)
    pictures = np.fft.ifft2(np.fft.fft2(spectrum, axes=(1, 2)) * falling[None, :, :, None], axes=(1, 2)).real
    pictures -= pictures.min(axis=(1, 2, 3), keepdims=True)
    return np.asarray(255 * pictures / pictures.max(axis=(1, 2, 3), keepdims=True), np.uint8)
