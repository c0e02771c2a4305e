"""A column of many strings in Arrow, which needs a fraction of the memory of Python strings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Strings that are Python objects at a time.
_PIECE = 2**16


class Strings(Sequence[str]):
    """N strings, indexed like an array of NumPy. Rows without a value are None.

    Attributes:
        arrow: large_string, or null if no row has a value.
    """

    __slots__ = ("arrow",)

    def __init__(self, values: Iterable[str | None] | pa.Array | pa.ChunkedArray) -> None:
        if isinstance(values, pa.ChunkedArray):
            self.arrow: pa.Array = pa.concat_arrays([pa.array([], values.type), *values.chunks])
        else:
            self.arrow = values if isinstance(values, pa.Array) else pa.array(values, pa.large_string())
        if self.arrow.type not in (pa.large_string(), pa.null()):
            self.arrow = self.arrow.cast(pa.large_string())

    @classmethod
    def joined(cls, parts: Iterable[Strings]) -> Strings:
        """Return the strings of all parts, one after the other."""
        arrays = (part.arrow.cast(pa.large_string()) for part in parts)
        return cls(pa.concat_arrays([pa.array([], pa.large_string()), *arrays]))

    @classmethod
    def missing(cls, count: int) -> Strings:
        """Return rows without values, which need no memory."""
        return cls(pa.nulls(count))

    def __len__(self) -> int:
        return len(self.arrow)

    @property
    def shape(self) -> tuple[int]:
        return (len(self.arrow),)

    @overload
    def __getitem__(self, index: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[np.generic]) -> Strings: ...
    def __getitem__(self, index: int | np.integer | slice | Sequence[int] | npt.NDArray[np.generic]) -> str | Strings:
        if isinstance(index, slice):
            return Strings(self.arrow[index])
        if isinstance(index, int | np.integer):
            value: str = self.arrow[int(index)].as_py()
            return value
        chosen = np.asarray(index)
        if chosen.dtype == bool and chosen.all():
            return self  # without a copy
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64, copy=False)
        return Strings(self.arrow.take(pa.array(rows)))

    def __iter__(self) -> Iterator[str]:
        pieces = (self.arrow[start : start + _PIECE] for start in range(0, len(self), _PIECE))
        return chain.from_iterable(piece.to_pylist() for piece in pieces)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.object_]:
        return np.asarray(self.arrow.to_numpy(zero_copy_only=False))

    def tolist(self) -> list[str]:
        """Return Python strings."""
        return list(self)

    def order(self) -> npt.NDArray[np.int64]:
        """Return the positions of the strings in the order of their code points; stable."""
        return np.asarray(pc.sort_indices(self.arrow)).view(np.int64)

    def repeats(self, order: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.bool_]:
        """Return (N,) whether each string equals the one before it, in an order of the strings."""
        repeats = np.zeros(len(self), bool)
        for start in range(1, len(self), _PIECE):
            rows = slice(start - 1, start + _PIECE)
            piece = (self[rows] if order is None else self[order[rows]]).arrow
            repeats[start : start + _PIECE] = pc.equal(piece[1:], piece[:-1]).fill_null(False)
        return repeats

    def numbers(self) -> npt.NDArray[np.int64]:
        """Return (N,) a number for each string, from 0, which equal strings share."""
        order = self.order()
        numbers = np.empty(len(self), np.int64)
        numbers[order] = np.cumsum(~self.repeats(order)) - 1
        return numbers

    def positions_of(self, others: Strings) -> npt.NDArray[np.int64]:
        """Return the position of each of the other strings in this column, -1 if it is not there."""
        found = pc.index_in(others.arrow, value_set=self.arrow).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def find(self, wanted: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the positions of strings that are among a few wanted ones, ascending."""
        is_wanted = pc.is_in(self.arrow, value_set=pa.array(wanted, self.arrow.type))
        return np.flatnonzero(is_wanted.to_numpy(zero_copy_only=False))
