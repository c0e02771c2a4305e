"""Measures of images: brightness, sharpness, shades, colour, shape and size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IMAGE_MEASURES = ("light", "shade", "brightness", "edge_width", "shades", "colour", "aspect_ratio", "side")
# Integer weights of red, green and blue in the brightness (ITU-R BT.601), of 256.
_WEIGHTS = (77, 150, 29)
# Images are shrunk to less than twice this side before edges are measured, so that noise and size count less.
_SIDE = 64
# Grey levels that count as one shade, so that noise in a single colour is not information.
_LEVELS_PER_SHADE = 8
# Mean squared difference between neighbours below which an image has no edges: less than one of 256 levels.
_NO_EDGES = 0.25
# Images that are measured at once, so that the intermediate results fit into the processor's cache.
_PIECE_PIXELS = 2**19


def image_measures(pixels: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return the measures of images.

    Args:
        pixels: (n, height, width, 1 or 3) uint8.
        sizes: (n, 2) original width and height; zeros if unknown.

    Returns:
        (n, 8) float32, the columns of IMAGE_MEASURES:
            light: the brightness that 1 % of the pixels exceed, 0..1. Low if the image is dark.
            shade: the brightness that 95 % of the pixels exceed, 0..1. High if the image is overexposed.
            brightness: the mean.
            edge_width: the standard deviation of the blur that would turn steps into these edges, as a share of
                the shorter side; NaN if there are no edges.
            shades: the effective number of shades of grey, 2 to the power of the entropy of 32 shades; 1..32.
            colour: the mean difference between the largest and the smallest of red, green and blue, 0..1.
            aspect_ratio: original width / height; NaN if unknown.
            side: square root of the original number of pixels; NaN if unknown.
    """
    count, height, width, _ = pixels.shape
    step = max(1, _PIECE_PIXELS // (height * width))
    found = [_pixel_measures(pixels[start : start + step]) for start in range(0, count, step)]
    known = np.where(sizes > 0, sizes, np.nan).astype(np.float64)
    shape = np.stack([known[:, 0] / known[:, 1], np.sqrt(known[:, 0] * known[:, 1])], axis=1).astype(np.float32)
    return np.concatenate([np.concatenate([np.empty((0, 6), np.float32), *found]), shape], axis=1)


def _pixel_measures(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    grey = _grey(pixels)
    count = len(grey)
    rows = np.arange(0, 256 * count, 256, dtype=np.int64)[:, None]
    histogram = np.bincount((grey.reshape(count, -1) + rows).ravel(), minlength=256 * count).reshape(count, 256)
    shares = histogram / histogram.sum(axis=1, keepdims=True)
    below = np.cumsum(shares, axis=1)
    light = (below < 0.99 - 1e-9).sum(axis=1) / 255
    shade = (below < 0.05 - 1e-9).sum(axis=1) / 255
    brightness = shares @ np.arange(256) / 255
    measures = (light, shade, brightness, _edge_width(grey), _shades(shares), _colour(pixels))
    return np.stack(measures, axis=1).astype(np.float32)


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if pixels.shape[3] == 1:
        return pixels[..., 0]
    red, green, blue = (pixels[..., channel].astype(np.uint16) for channel in range(3))
    # At most 256 * 255, which fits into 16 bits.
    return ((red * _WEIGHTS[0] + green * _WEIGHTS[1] + blue * _WEIGHTS[2]) >> 8).astype(np.uint8)


def _colour(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    if pixels.shape[3] == 1:
        return np.zeros(len(pixels))
    red, green, blue = (pixels[..., channel] for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.asarray(spread.reshape(len(pixels), -1).mean(axis=1) / 255)


def _shades(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shades = shares.reshape(len(shares), -1, _LEVELS_PER_SHADE).sum(axis=2)
    entropy = -(shades * np.log2(np.where(shades > 0, shades, 1))).sum(axis=1)
    return np.asarray(2**entropy)


def _edge_width(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return (n,) widths of the edges, as a share of the shorter side; NaN if there are none.

    An edge that a Gaussian of standard deviation s has blurred has the squared gradient A^2 / (2 sqrt(pi) s), summed
    across it, and the squared Laplacian A^2 / (4 sqrt(pi) s^3). Half their ratio is s^2: neither contrast nor the
    number of edges matters. (The variance of the Laplacian alone, as in J. Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy", 2000, depends on both.)
    """
    small = _shrunk(grey)
    side = min(small.shape[1:])
    if side < 3:
        return np.full(len(grey), np.nan)
    inner = small[:, 1:-1, 1:-1]
    left, right, up, down = small[:, 1:-1, :-2], small[:, 1:-1, 2:], small[:, :-2, 1:-1], small[:, 2:, 1:-1]
    gradients = _energy(right - inner) + _energy(down - inner)
    curvatures = _energy(4 * inner - left - right - up - down)
    has_edges = gradients >= _NO_EDGES
    width = np.sqrt(gradients / np.maximum(2 * curvatures, 1e-6)) / side
    return np.where(has_edges, np.minimum(width, 1), np.nan)


def _shrunk(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the means of square blocks of pixels, float32; the images themselves if they are small."""
    count, height, width = grey.shape
    factor = max(1, min(height, width) // _SIDE)
    if factor == 1:
        return grey.astype(np.float32)
    rows, columns = height // factor, width // factor
    blocks = grey[:, : rows * factor, : columns * factor].reshape(count, rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))


def _energy(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    energy = np.einsum("nij,nij->n", values, values).astype(np.float64)
    return np.asarray(energy / (values.shape[1] * values.shape[2]))
