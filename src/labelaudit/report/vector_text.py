"""What people see of a vector: its length, its norm and its first numbers."""

from __future__ import annotations

import numpy as np

# Numbers on a card, and in a preview.
_SHOWN_ON_CARD, _SHOWN_IN_PREVIEW = 6, 64


def vector_excerpt(vector: np.ndarray) -> str:
    """Return a vector (d,) for a card: `384 numbers, norm 1.02: 0.0312, -0.117, …`."""
    return f"{_summary(vector)}: {_first_numbers(vector, _SHOWN_ON_CARD)}"


def vector_description(vector: np.ndarray) -> str:
    """Return a vector (d,) for a preview, with its smallest and largest number, and more of its first numbers."""
    low, high = float(vector.min()), float(vector.max())
    return f"{_summary(vector)}, from {low:.3g} to {high:.3g}\n\n{_first_numbers(vector, _SHOWN_IN_PREVIEW)}"


def _summary(vector: np.ndarray) -> str:
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    return f"{len(vector):,} numbers, norm {norm:.3g}"


def _first_numbers(vector: np.ndarray, count: int) -> str:
    shown = ", ".join(f"{number:.3g}" for number in vector[:count].tolist())
    return f"{shown}, \N{HORIZONTAL ELLIPSIS}" if len(vector) > count else shown
