"""The interval of a share that was measured on a random sample of many.

Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A share and its limits, each 0..1, low <= estimate <= high."""

    estimate: float
    low: float
    high: float


def wilson(counted: int, judged: int, confidence: float = CONFIDENCE) -> Interval | None:
    """Share among many of which `judged` were drawn and `counted` count; None where none was judged."""
    if not judged:
        return None
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    share = counted / judged
    middle = (share + z2 / (2 * judged)) / (1 + z2 / judged)
    half = math.sqrt(z2 * (share * (1 - share) / judged + z2 / (4 * judged**2))) / (1 + z2 / judged)
    # At the ends, rounding would miss 0 and 1 by a little.
    low = middle - half if counted else 0.0
    high = middle + half if counted < judged else 1.0
    return Interval(share, min(share, max(0.0, low)), max(share, min(1.0, high)))
