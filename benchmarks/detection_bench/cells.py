"""A cell: labels whose errors are known, and out-of-fold probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from labelaudit.row_dynamics import Dynamics

# stored: a file of probabilities; audit: published by `labelaudit run`; the others: noise that was planted here.
Origin = Literal["stored", "audit", "planted", "planted, new data"]
REAL = ("stored", "audit")
PLANTED = ("planted", "planted, new data")


@dataclass(frozen=True)
class Name:
    """What a cell is, and how its labels became wrong."""

    origin: Origin
    data: str
    model: str
    kind: str  # real, none, or a kind of planted noise
    rate: float = 0.0  # of planted noise, 0..1

    def __str__(self) -> str:
        if self.origin in REAL:
            return f"{self.data} ({self.model})"
        return f"{self.data}-{self.model}-{self.kind}-{round(100 * self.rate):02d}"


@dataclass(frozen=True)
class Cell:
    """M rows of K classes."""

    name: Name
    labels: npt.NDArray[np.int64]  # (M,) as given
    pred_probs: npt.NDArray[np.float32]  # (M, K) out of fold
    truth: npt.NDArray[np.int64]  # (M,) the true labels; -1 for a class that no row is labeled as
    dynamics: Dynamics | None = None  # of the same rows


class MissingDataError(Exception):
    """What a cell needs is not on this machine. The message says what."""
