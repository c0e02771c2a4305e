"""Verdicts on a random sample of the scored rows, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class JudgedSample:
    """n judged rows, drawn at random from H strata of the M scored rows, or some of these rows."""

    positions: npt.NDArray[np.int64]  # (n,) of the judged rows among the scored rows
    is_wrong: npt.NDArray[np.bool_]  # (n,) whether the label was judged wrong; an ambiguous one was not
    stratum: npt.NDArray[np.int64]  # (n,) 0..H-1
    rows: npt.NDArray[np.int64]  # (H,) rows of each stratum
    judged: npt.NDArray[np.int64]  # (H,) judged rows of each stratum, also those that are left out here
    is_removed: npt.NDArray[np.bool_]  # (n,) that a person wants to remove; their label was not judged wrong

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """(n,) how many rows a judged row stands for."""
        found: npt.NDArray[np.float64] = self.rows[self.stratum] / self.judged[self.stratum]
        return found

    def among(self, is_kept: npt.NDArray[np.bool_]) -> JudgedSample:
        """Return some of the rows, (n,) bool. Each stands for as many rows as before."""
        return replace(
            self,
            positions=self.positions[is_kept],
            is_wrong=self.is_wrong[is_kept],
            stratum=self.stratum[is_kept],
            is_removed=self.is_removed[is_kept],
        )

    def is_drawn_by(self, numbers: npt.NDArray[np.int64]) -> bool:
        """Return whether these (M,) numbers of strata are those of the sample."""
        return np.array_equal(np.bincount(numbers, minlength=len(self.rows)), self.rows) and np.array_equal(
            numbers[self.positions], self.stratum
        )
