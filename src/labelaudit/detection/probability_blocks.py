"""Probabilities of many rows, read block by block, so that memory does not grow with rows times classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

PredProbs = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

# Values of a block: 8 MiB of float32. Larger blocks do not fit into caches, smaller ones cost more calls.
_BLOCK_VALUES = 2**21
# Blocks of few classes are not longer than this, because each row also has numbers of its own.
_BLOCK_ROWS = 2**16


class Block(NamedTuple):
    """Some of the rows of `ProbabilityBlocks`."""

    positions: Positions  # (m,) the position of each row among all rows
    pred_probs: PredProbs  # (m, K)


class ProbabilityBlocks(Protocol):
    """M rows of probabilities of K classes, which can be read any number of times.

    All blocks together contain each position 0..M-1 once, in any order.
    """

    @property
    def num_classes(self) -> int:
        """K."""
        ...

    def __len__(self) -> int:
        """M."""
        ...

    def blocks(self) -> Iterator[Block]:
        """Read all rows. A block is valid until the next one is read, and must not be changed."""
        ...


class RawBlocks(Protocol):
    """Rows as they were read, before they are checked: of any type and width. Positions are those of the rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, K) if they can be probabilities."""
        ...

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of the values."""
        ...

    def blocks(self) -> Iterator[RawBlock]:
        """Read all rows. A block is valid until the next one is read, and must not be changed."""
        ...


class RawBlock(NamedTuple):
    """Some of the rows of `RawBlocks`."""

    positions: Positions  # (m,)
    values: npt.NDArray[np.floating]  # (m, K)


@dataclass(frozen=True)
class RawArray:
    """Unchecked rows in memory."""

    values: npt.NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.values.dtype

    def blocks(self) -> Iterator[RawBlock]:
        for start, stop in spans(*self.shape):
            yield RawBlock(np.arange(start, stop), np.asarray(self.values[start:stop]))


@dataclass(frozen=True)
class ArrayBlocks:
    """Probabilities in memory, (M, K) float32."""

    pred_probs: PredProbs

    @property
    def num_classes(self) -> int:
        return int(self.pred_probs.shape[1])

    def __len__(self) -> int:
        return len(self.pred_probs)

    def blocks(self) -> Iterator[Block]:
        for start, stop in spans(len(self), self.num_classes):
            yield Block(np.arange(start, stop), self.pred_probs[start:stop])


def rows_per_block(num_classes: int) -> int:
    """Return the number of rows of a block."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // max(1, num_classes)))


def spans(rows: int, num_classes: int) -> Iterator[tuple[int, int]]:
    """Return the first row of each block of consecutive rows, and the row after its last."""
    length = rows_per_block(num_classes)
    for start in range(0, rows, length):
        yield start, min(rows, start + length)


def read_rows(probabilities: ProbabilityBlocks, positions: Positions) -> PredProbs:
    """Return the probabilities of a few rows, (n, K), in the order of `positions`, which are distinct."""
    found = np.empty((len(positions), probabilities.num_classes), np.float32)
    index_of = np.full(len(probabilities), -1, np.int64)
    index_of[positions] = np.arange(len(positions))
    for block in probabilities.blocks():
        index = index_of[block.positions]
        is_wanted = index >= 0
        if is_wanted.any():
            found[index[is_wanted]] = block.pred_probs[is_wanted]
    return found
