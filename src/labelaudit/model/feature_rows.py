"""Rows of stored features as float32 tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from labelaudit.errors import InputError

# Numbers in a block of features: 32 MiB in float32.
_BLOCK_NUMBERS = 2**23


def float_rows(features: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return features of `rows` (n, d) float32 on `device`, the only copy of them.

    Raises:
        InputError: A feature is missing or infinite.
    """
    result = torch.empty(len(rows), features.shape[1], dtype=torch.float32, device=device)
    for part, block in row_blocks(features, rows, device):
        result[part] = block
    return result


def row_blocks(
    features: np.ndarray, rows: np.ndarray, device: torch.device, *, num_classes: int = 1
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield the features of `rows` in blocks (b, d) float32, each with its place among `rows`.

    Blocks are so small that (b, num_classes) float32 has a bounded size too.

    Raises:
        InputError: A feature is missing or infinite.
    """
    size = max(1, _BLOCK_NUMBERS // max(1, features.shape[1], num_classes))
    for start in range(0, len(rows), size):
        picked = rows[start : start + size]
        block = torch.from_numpy(features[picked]).to(device).float()
        finite = block.isfinite().all(1)
        if not finite.all():
            first = picked[int((~finite).nonzero()[0])]
            raise InputError(
                f"The features of row {first} contain missing or infinite values, but all must be finite. Compute the "
                "features of this row again."
            )
        yield slice(start, start + len(picked)), block


def column_means(features: torch.Tensor) -> torch.Tensor:
    """Return the mean of each column (d,) float32 of features (n, d), summed in float64."""
    sums = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for start in range(0, len(features), 2**12):
        block = features[start : start + 2**12]
        sums += block.sum(0, dtype=torch.float64)
    return (sums / len(features)).float()
