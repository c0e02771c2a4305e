"""Decodes photographs in other processes. It does not import torch, which each process would load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from labelaudit.data.images import decode_images


def map_pixels(path: Path, count: int, side: int, mode: Literal["r", "r+", "w+"]) -> np.memmap:
    """Return pixels (count, side, side, 3) uint8 in a file that several processes write to."""
    return np.memmap(path, np.uint8, mode, shape=(count, side, side, 3))


def decode_into(path: Path, count: int, side: int, start: int, files: Sequence[Path]) -> int:
    """Decode `files` as rows `start` and following of the pixels in `path`; returns how many.

    Raises `ValueError` if one cannot be decoded.
    """
    decoded, problems = decode_images((file.read_bytes() for file in files), len(files), (side, side), 3)
    if problems:
        raise ValueError(
            f"{len(problems)} of {len(files)} photographs cannot be decoded: {next(iter(problems.values()))}."
        )
    map_pixels(path, count, side, "r+")[start : start + len(files)] = decoded
    return len(files)
