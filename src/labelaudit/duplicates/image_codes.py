"""Codes of images that stay nearly the same if an image is scaled, compressed, brightened or slightly cropped."""

from __future__ import annotations

from functools import cache

import numpy as np

from labelaudit.duplicates.close_pairs import ClosePairs, close_pairs

# Frequencies in each direction: of the brightness, and of each of two colour differences.
_BRIGHTNESS, _COLOUR = 8, 4
CODE_LENGTH = _BRIGHTNESS**2 - 1 + 2 * _COLOUR**2
# Brightness and colour differences of RGB (JPEG's YCbCr).
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
# Variation in brightness below which an image shows nothing: one step of 256.
_FLAT = 1.0


def image_codes(pixels: np.ndarray) -> np.ndarray:
    """Return the lowest frequencies of images, the discrete cosine transform of brightness and colour.

    The mean brightness is left out, and codes are scaled to length 1, so brightness and contrast do not matter.

    Args:
        pixels: (n, height, width, 1 or 3) uint8.

    Returns:
        (n, CODE_LENGTH) float16; zeros if an image has a single colour.
    """
    count, height, width, channels = pixels.shape
    if not count:
        return np.zeros((0, CODE_LENGTH), np.float16)
    # The transform is linear, so colours can be exchanged afterwards, when only few numbers are left.
    lines = pixels.reshape(count, height, width * channels).astype(np.float32)
    halved = (_cosines(height, _BRIGHTNESS) @ lines).reshape(count, _BRIGHTNESS, width, channels)
    frequencies = np.einsum("nfwc,gw->nfgc", halved, _cosines(width, _BRIGHTNESS), optimize=True)
    codes = np.zeros((count, CODE_LENGTH), np.float32)
    if channels == 3:
        frequencies = frequencies @ _TO_YCC.T
        codes[:, _BRIGHTNESS**2 - 1 :] = frequencies[:, :_COLOUR, :_COLOUR, 1:].reshape(count, -1)
    codes[:, : _BRIGHTNESS**2 - 1] = frequencies[..., 0].reshape(count, -1)[:, 1:]
    lengths = np.linalg.norm(codes, axis=1, keepdims=True)
    is_flat = lengths < _FLAT * np.sqrt(height * width)
    return np.where(is_flat, 0, codes / np.maximum(lengths, 1e-6)).astype(np.float16)


def close_images(codes: np.ndarray) -> ClosePairs:
    """Return the pairs of images that are too close to be chance. Images of a single colour are in none.

    Args:
        codes: (n, CODE_LENGTH), of different images.
    """
    rows = np.flatnonzero(codes.any(axis=1))
    pairs = close_pairs(codes[rows])
    return ClosePairs(rows[pairs.first], rows[pairs.second], pairs.distance)


@cache
def _cosines(length: int, count: int) -> np.ndarray:
    """Return (count, length) the first rows of the orthonormal discrete cosine transform (DCT-II)."""
    frequencies = np.arange(count)[:, None]
    cosines = np.cos(np.pi * (np.arange(length) + 0.5) * frequencies / length) * np.sqrt(2 / length)
    cosines[0] /= np.sqrt(2)
    return np.asarray(cosines, np.float32)
