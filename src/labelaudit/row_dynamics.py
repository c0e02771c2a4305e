"""What the trainings that saw a row say about it: four numbers per row, and their mean over several trainings.

They describe how a label was learned: quickly and with a large margin, or slowly and with doubt. Augmentation, dropout
and label smoothing make them noisy, because they come from the batches of the training itself.

Sources: area under the margin (Pleiss et al. 2020, arXiv 2001.10528), mean and variability of p(given) (Swayamdipta et
al. 2020, dataset cartography, arXiv 2009.10795), epochs until learned (Toneva et al. 2019, arXiv 1812.05159).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

_FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dynamics:
    """The training dynamics of n rows, 16 bytes per row. They are about the given label.

    Attributes:
        margin: (n,) mean over epochs of the logit of the given label minus the largest other logit.
        p_given: (n,) mean over epochs of the probability of the given label, 0..1.
        spread: (n,) standard deviation over epochs of that probability, 0..0.5.
        epochs: (n,) share of the epochs before the first one in which the given label was predicted, 0..1. 1: never.
    """

    margin: _FloatArray
    p_given: _FloatArray
    spread: _FloatArray
    epochs: _FloatArray

    def __len__(self) -> int:
        return len(self.margin)

    def columns(self) -> dict[str, _FloatArray]:
        """Return the four arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, positions: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Self:
        """Return the dynamics of some rows."""
        return type(self)(**{name: values[positions] for name, values in self.columns().items()})

    def at_rows(self, positions: npt.NDArray[np.integer] | None, rows: int) -> Dynamics:
        """Return the dynamics of all `rows`, if these are those at `positions` (None: all); NaN elsewhere."""
        if positions is None:
            return self
        spread_out = MeanDynamics(rows)
        spread_out.add(self, positions)
        return spread_out.result()


class MeanDynamics:
    """The mean over the trainings that saw each row. Memory: 18 bytes per row.

    The spread is the standard deviation over the epochs of all trainings together. Its square is the mean of the
    squared spreads plus the variance of the trainings' mean probabilities (the law of total variance, with equal
    weights). So a row on which trainings contradict each other has a high spread, even if each of them was certain.
    """

    def __init__(self, rows: int) -> None:
        self._margin, self._p_given, self._squares, self._epochs = np.zeros((4, rows), np.float32)
        self._trainings = np.zeros(rows, np.int16)

    def add(self, dynamics: Dynamics, positions: npt.NDArray[np.integer] | slice = slice(None)) -> None:
        """Add one training. `positions` (n,) are those of its rows, each once."""
        before = self._trainings[positions].astype(np.float32)
        share = 1 / (before + 1)
        difference = dynamics.p_given - self._p_given[positions]
        self._p_given[positions] += share * difference
        self._squares[positions] += dynamics.spread**2 + difference**2 * before * share
        self._margin[positions] += share * (dynamics.margin - self._margin[positions])
        self._epochs[positions] += share * (dynamics.epochs - self._epochs[positions])
        self._trainings[positions] += 1

    def result(self) -> Dynamics:
        """Return the mean of each row; NaN if no training saw it."""
        is_missing = self._trainings == 0
        spread = np.sqrt(self._squares / np.maximum(self._trainings, 1), dtype=np.float32)
        columns = (self._margin, self._p_given, spread, self._epochs)
        return Dynamics(*(np.where(is_missing, np.float32(np.nan), column) for column in columns))
