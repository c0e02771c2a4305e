"""The folds' probabilities as one stream of rows, without a copy of them in memory."""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from labelaudit.detection.probability_blocks import Block, Positions, PredProbs, ProbabilityBlocks, spans


@dataclass(frozen=True)
class PlacedRows:
    """The rows of one fold, and their positions among all rows."""

    probabilities: ProbabilityBlocks  # n rows
    positions: Positions  # (n,)

    def blocks(self) -> Iterator[Block]:
        """Read the rows with their positions among all rows."""
        for positions, pred_probs in self.probabilities.blocks():
            yield Block(self.positions[positions], pred_probs)


@dataclass(frozen=True)
class JoinedFolds:
    """The rows of all folds; of several repeats, the mean of each row.

    The rows of several repeats are added in a temporary file, because their order differs. The file exists as long as
    the value does.
    """

    folds: tuple[PlacedRows, ...]  # in the order of fold numbers
    rows: int
    repeats: int
    _means: list[_RowFile] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def num_classes(self) -> int:
        return self.folds[0].probabilities.num_classes

    def __len__(self) -> int:
        return self.rows

    def blocks(self) -> Iterator[Block]:
        if self.repeats == 1:
            for fold in self.folds:
                yield from fold.blocks()
            return
        if not self._means:
            self._means.append(self._mean_of_repeats())
        yield from self._means[0].blocks()

    def _mean_of_repeats(self) -> _RowFile:
        means = _RowFile(self.rows, self.num_classes)
        for fold in self.folds:
            for positions, pred_probs in fold.blocks():
                means.add(positions, pred_probs / np.float32(self.repeats))
        return means


class _RowFile:
    """Rows of float32 in a temporary file. Only pieces are in memory."""

    # Rows changed at once: each may be on a page of its own.
    _ROWS = 2**12

    def __init__(self, rows: int, num_classes: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed with this value
        weakref.finalize(self, self._file.close)
        self._file.truncate(max(1, rows * num_classes * 4))
        self._shape = rows, num_classes

    def add(self, positions: Positions, pred_probs: PredProbs) -> None:
        """Add to rows. Each is named at most once."""
        with self._mapped() as rows:
            for start in range(0, len(positions), self._ROWS):
                rows[positions[start : start + self._ROWS]] += pred_probs[start : start + self._ROWS]

    def blocks(self) -> Iterator[Block]:
        for start, stop in spans(*self._shape):
            with self._mapped() as rows:
                block = rows[start:stop].copy()
            yield Block(np.arange(start, stop), block)

    @contextmanager
    def _mapped(self) -> Iterator[PredProbs]:
        """Map the file for a short time, because mapped pages count as memory of the process."""
        with mmap.mmap(self._file.fileno(), 0) as mapped:
            rows = np.ndarray(self._shape, np.float32, mapped)
            yield rows
            del rows
