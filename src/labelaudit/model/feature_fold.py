"""One fold of the views that learn from stored features: what they are given, and what they return."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from labelaudit.model.fold import FoldFit, training_targets


@dataclass(frozen=True, eq=False)
class FeatureFold:
    """The features of a dataset, and how one fold divides its rows.

    Attributes:
        features: (N, d) float16 or float32, such as a memory map. Only read.
        labels: (N,) int64 in 0..num_classes-1 at `train_rows`. Other entries are ignored.
        num_classes: K.
        train_rows: (n,) numbers of the rows to learn from, ascending. They are sorted if they are not.
        held_out_rows: (m,) numbers of the rows to predict.
        groups: (N,) any type. Rows of a group never help to choose a setting for each other. None if each row is a
            group of its own.
    """

    features: np.ndarray
    labels: np.ndarray
    num_classes: int
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "train_rows", np.sort(self.train_rows))

    def targets(self) -> np.ndarray:
        """Return the labels of the training rows (n,).

        Raises:
            TrainingError: A class has no training row.
        """
        return training_targets(self.labels, self.num_classes, self.train_rows)

    def training_groups(self) -> np.ndarray:
        """Return numbers (n,) int64 that are equal for training rows of one group."""
        if self.groups is None:
            return np.arange(len(self.train_rows))
        numbers: np.ndarray = np.unique(self.groups[self.train_rows], return_inverse=True)[1]
        return numbers


def some_rows(count: int, limit: int, generator: np.random.Generator) -> np.ndarray:
    """Return at most `limit` of the numbers below `count`, ascending: all, or random ones."""
    if count <= limit:
        return np.arange(count)
    return np.sort(generator.choice(count, limit, replace=False))


def feature_fit(
    pred_probs: np.ndarray,
    losses: list[float],
    chosen: dict[str, float],
    *,
    started: float,
    device: torch.device,
    seed: int,
) -> FoldFit:
    """Return the result of one model without epochs.

    Args:
        losses: The loss after each iteration.
        started: `time.monotonic()` when the fold was started.
    """
    return FoldFit(
        pred_probs=pred_probs,
        dynamics=None,
        training_loss=losses[-1],
        losses=losses,
        epochs=len(losses),
        members=1,
        seconds=time.monotonic() - started,
        device=str(device),
        precision="float32",
        threads=torch.get_num_threads(),
        seed=seed,
        chosen=chosen,
    )
