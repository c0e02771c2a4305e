"""The answers of several annotators to the rows of an audit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from labelaudit.detection.probability_blocks import ProbabilityBlocks

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """The answers to M rows, ordered by row and annotator, A in all. An annotator answers a row at most once.

    Attributes:
        row: (A,) int64, the position of the row in 0..M-1.
        annotator: (A,) int32 in 0..J-1.
        label: (A,) int32 in 0..K-1.
        annotators: J names.
        rows: M.
        num_classes: K.
    """

    row: _Ints
    annotator: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    annotators: tuple[str, ...]
    rows: int
    num_classes: int

    def __len__(self) -> int:
        return len(self.row)

    def among(self, counted: npt.NDArray[np.bool_]) -> Answers:
        """Return the answers to some of the M rows, (M,) bool, and the annotators who gave them."""
        chosen = counted[self.row]
        present, annotator = np.unique(self.annotator[chosen], return_inverse=True)
        return replace(
            self,
            row=self.row[chosen],
            annotator=annotator.astype(np.int32),
            label=self.label[chosen],
            annotators=tuple(self.annotators[number] for number in present),
        )

    @cached_property
    def number(self) -> _Ints:
        """(M,) the number of answers to each row."""
        return np.bincount(self.row, minlength=self.rows)

    @cached_property
    def cells(self) -> Cells:
        """The different answers to each row."""
        keys, of_answer = np.unique(self.row * self.num_classes + self.label, return_inverse=True)
        row, label = np.divmod(keys, self.num_classes)
        return Cells(row, label.astype(np.int32), of_answer, self.rows)

    def per_annotator(self, values: npt.NDArray[np.generic] | None = None) -> _Floats:
        """Return (J,) the sum of a value of each answer, by annotator; without values, the number of answers."""
        return np.bincount(self.annotator, values, len(self.annotators)).astype(np.float64)


@dataclass(frozen=True)
class Cells:
    """C pairs of a row and a label that at least one annotator gave to it, ordered by row and label."""

    row: _Ints  # (C,)
    label: npt.NDArray[np.int32]  # (C,)
    of_answer: _Ints  # (A,) the cell of each answer
    rows: int  # M

    @cached_property
    def starts(self) -> _Ints:
        """(R,) the first cell of each row that has answers."""
        return np.flatnonzero(np.r_[True, self.row[1:] != self.row[:-1]]) if len(self.row) else np.zeros(0, np.int64)

    @property
    def answered(self) -> _Ints:
        """(R,) the rows that have answers."""
        return self.row[self.starts]

    def sums(self, values: npt.NDArray[np.generic] | None = None) -> _Floats:
        """Return (C,) the sum of a value of each answer, by cell; without values, the number of answers."""
        return np.bincount(self.of_answer, values, len(self.row)).astype(np.float64)

    def per_row(self, values: npt.NDArray[np.generic]) -> _Floats:
        """Return (M,) the sum of a value of each cell, by row."""
        return np.bincount(self.row, values, self.rows).astype(np.float64, copy=False)

    def largest(self, values: _Floats) -> _Floats:
        """Return (M,) the largest value of the cells of each row; -inf without answers."""
        largest = np.full(self.rows, -np.inf)
        if len(self.row):
            largest[self.answered] = np.maximum.reduceat(values, self.starts)
        return largest


def probabilities_of_cells(cells: Cells, probabilities: ProbabilityBlocks) -> npt.NDArray[np.float32]:
    """Return (C,) the probability of the label of each cell, in one pass over all blocks."""
    values = np.empty(len(cells.row), np.float32)
    counts = np.bincount(cells.row, minlength=cells.rows)
    ends = np.cumsum(counts)
    for block in probabilities.blocks():
        count = counts[block.positions]
        total = int(count.sum())
        in_block = np.repeat(np.arange(len(count)), count)
        # The cells of a row are consecutive.
        offset = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
        cell = np.repeat(ends[block.positions] - count, count) + offset
        values[cell] = block.pred_probs[in_block, cells.label[cell]]
    return values
