"""Which values are unusual among others: Tukey's fences, with a spread of its own on each side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Distances between median and quartile beyond the quartile. For symmetric values it is Tukey's fence: the quartile and
# 1.5 times the distance between the quartiles (J. Tukey, "Exploratory data analysis", 1977).
_SPREADS = 3.0
# With fewer rows, what is usual among them is unknown.
FEWEST_VALUES = 20


def lower_fence(values: npt.NDArray[np.floating]) -> float:
    """Return the value below which values are unusually low. NaN do not count; -inf if there are too few values."""
    return -upper_fence(-values)


def upper_fence(values: npt.NDArray[np.floating], spreads: float = _SPREADS) -> float:
    """Return the value above which values are unusually high. NaN do not count; inf if there are too few values."""
    present = values[~np.isnan(values)]
    if len(present) < FEWEST_VALUES:
        return float("inf")
    median, quartile = (float(value) for value in np.quantile(present, (0.5, 0.75)))
    return quartile + spreads * (quartile - median)
