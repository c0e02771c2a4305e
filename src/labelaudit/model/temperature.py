"""The temperature that calibrates logits (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""

from __future__ import annotations

import math

import torch

# Outside, the logits are useless or exact, and a more extreme temperature would rest on few rows.
_LOWEST, _HIGHEST = 0.05, 20.0
# Halvings of the interval of logarithms: the result is exact to 5 digits.
_HALVINGS = 20
# Enough for 3 digits, and little memory.
_MAX_NUMBERS = 2**24


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the T in 0.05..20 that minimises the mean log loss of softmax(logits / T); 1 if there are no rows.

    One more row counts as having each class in equal parts. So a few rows that are all right do not make every
    prediction certain.

    Args:
        logits: (m, K) float, of rows that were not trained on.
        targets: (m,) int64 in 0..K-1.
    """
    if not len(logits):
        return 1.0
    step = -(-logits.numel() // _MAX_NUMBERS)
    logits, targets = logits[::step].double(), targets[::step, None]
    given = (logits.gather(1, targets).sum() + logits.mean()) / (len(logits) + 1)
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # The loss is convex in 1 / T, and its slope is the difference of these two.
        expected = ((logits * math.exp(-middle)).softmax(1) * logits).sum(1).mean()
        low, high = (middle, high) if expected > given else (low, middle)
    return math.exp((low + high) / 2)


def probabilities_at(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return softmax(logits / temperature) (m, K) float32. Rows sum to 1 within float32 precision."""
    return (logits.double() / temperature).softmax(1).float()
