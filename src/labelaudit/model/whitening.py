"""Filters for the first convolution of an image network, computed from the images."""

from __future__ import annotations

import torch
from torch.nn import functional

# Directions with less than this share of the largest variance are noise, and are not amplified.
_SMALLEST_VARIANCE = 0.01


def whitening_filters(images: torch.Tensor, *, count: int, size: int) -> torch.Tensor:
    """Return filters whose responses to patches of `images` are uncorrelated.

    They are the leading principal directions of the patches, scaled to unit variance, and their negatives (so a
    rectifier loses nothing). With them a network need not learn edges and colours first. See Coates & Ng, "Learning
    Feature Representations with K-means", 2012, and Page, "How to train your ResNet", 2018.

    Args:
        images: (n, C, H, W) float32, standardised training images. A few hundred are enough.
        count: Largest number of filters.
        size: Height and width of a filter.

    Returns:
        (at most `count`, C, size, size) float32.
    """
    patches = functional.unfold(images, size, stride=2).transpose(1, 2).flatten(0, 1)
    patches = patches - patches.mean(0)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
    kept = min(count // 2, len(variances))
    scaled = directions / (variances + _SMALLEST_VARIANCE * variances[0].clamp_min(1e-6)).sqrt()
    filters = scaled[:, :kept].T.reshape(kept, images.shape[1], size, size)
    return torch.cat([filters, -filters])
