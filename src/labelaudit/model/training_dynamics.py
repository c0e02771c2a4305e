"""Training dynamics: how each training row was learned, from the scores that training computes anyway."""

from __future__ import annotations

import torch

from labelaudit.model.aliases import State
from labelaudit.row_dynamics import Dynamics

# Scores that wait to be reduced at once. A GPU needs as long for few as for many, and a CPU keeps them in its cache.
_WAITING_NUMBERS = {"cpu": 2**18, "cuda": 2**22}


class TrainingDynamics:
    """Sums over the epochs of one training, 16 bytes per row on the device of the training.

    The scores (B, K) of a batch wait in a list. The sums are updated when there are enough of them, and at the end of
    an epoch. So a GPU never waits for the CPU, and its only kernel per batch is a copy of the scores.

    Args:
        rows: Number of training rows. Every epoch sees each of them once.
        num_classes: Number of scores of a row.
        device: Device of the training.
    """

    def __init__(self, rows: int, num_classes: int, device: torch.device) -> None:
        # Sum of margins, mean of p(given), sum of its squared deviations, number of epochs before it was learned.
        self._sums = torch.zeros(4, rows, device=device)
        self._most_rows = _WAITING_NUMBERS[device.type] // num_classes
        self._epoch = 0
        self._order = self._targets = torch.empty(0, dtype=torch.int64, device=device)
        self._waiting: list[torch.Tensor] = []
        self._waiting_rows = self._reduced_rows = 0

    def begin_epoch(self, number: int, order: torch.Tensor, targets: torch.Tensor) -> None:
        """Begin an epoch that sees the rows in the given order.

        Args:
            number: Number of the epoch, from 1.
            order: (n,) int64, positions of the rows, in the order of the scores that follow.
            targets: (n,) int64 on the device, their classes.
        """
        self._epoch = number
        self._order, self._targets = order.to(self._sums.device), targets
        self._waiting, self._waiting_rows, self._reduced_rows = [], 0, 0

    def add_batch(self, scores: torch.Tensor) -> None:
        """Add the scores (B, K) of the next rows: log-probabilities up to a constant per row."""
        scores = scores.detach()
        # A module compiled with CUDA graphs overwrites its outputs in the next step.
        self._waiting.append(scores.clone() if scores.is_cuda else scores)
        self._waiting_rows += len(scores)
        if self._waiting_rows >= self._most_rows:
            self._reduce()

    def end_epoch(self) -> None:
        """Update the sums with the scores that still wait."""
        if self._waiting:
            self._reduce()

    def result(self) -> Dynamics:
        """Return the dynamics of all rows after the last epoch that ended."""
        epochs = max(1, self._epoch)
        margin, p_given, squares, unlearned = self._sums.cpu()
        columns = (margin / epochs, p_given, (squares / epochs).sqrt(), unlearned / epochs)
        return Dynamics(*(column.numpy() for column in columns))

    def state(self) -> State:
        return {"sums": self._sums, "epoch": self._epoch}

    def restore(self, state: State) -> None:
        self._sums.copy_(state["sums"])
        self._epoch = state["epoch"]

    def _reduce(self) -> None:
        """Update the sums with the scores that wait."""
        scores = torch.cat(self._waiting).float()
        part = slice(self._reduced_rows, self._reduced_rows + self._waiting_rows)
        positions, targets = self._order[part], self._targets[part, None]
        self._waiting, self._waiting_rows, self._reduced_rows = [], 0, part.stop
        # Relative to the given class. This is much faster than logsumexp or softmax of short rows, and as exact.
        relative = scores.sub_(scores.gather(1, targets))
        p_given = relative.exp().sum(1).reciprocal_()
        margin = relative.scatter_(1, targets, -torch.inf).amax(1).neg_()
        margins, mean, squares, unlearned = self._sums.index_select(1, positions)
        is_unlearned = (unlearned == self._epoch - 1) & (margin <= 0)
        deviation = p_given - mean
        mean = mean + deviation / self._epoch
        updated = (
            margins + margin,
            mean,
            squares + deviation * (p_given - mean),  # Welford's method, exact even if p(given) hardly changes
            unlearned + is_unlearned,
        )
        self._sums.index_copy_(1, positions, torch.stack(updated))
