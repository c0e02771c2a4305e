"""The values of the columns by which rows are divided into slices. They repeat, so each row has a code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.values import to_strings
from labelaudit.errors import DatasetError
from labelaudit.schemas import MISSING_SLICE

# So few values are never too many, however few rows there are.
_FEW = 50


@dataclass(frozen=True)
class SliceValues:
    """The value of each of N rows in one column.

    Attributes:
        names: the different values, sorted by code point.
        code: (N,) int32, position in `names`.
    """

    names: tuple[str, ...]
    code: npt.NDArray[np.int32]

    @classmethod
    def joined(cls, parts: Iterable[pa.Array | pa.ChunkedArray]) -> SliceValues:
        """Return the values of all parts, one after the other. Parts are strings or dictionaries of strings."""
        encoded = [
            part if pa.types.is_dictionary(part.type) else part.dictionary_encode()
            for array in parts
            for part in (array.chunks if isinstance(array, pa.ChunkedArray) else [array])
        ]
        chunked = pa.chunked_array([part.cast(_DICTIONARY) for part in encoded], _DICTIONARY).unify_dictionaries()
        if not chunked.num_chunks:
            return cls((), np.empty(0, np.int32))
        names: list[str] = chunked.chunk(0).dictionary.to_pylist()
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.empty(len(names), np.int32)
        rank[order] = np.arange(len(names), dtype=np.int32)
        code = rank[np.concatenate([part.indices.to_numpy() for part in chunked.chunks])]
        return cls(tuple(names[index] for index in order), code)

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, rows: slice | npt.NDArray[np.generic]) -> SliceValues:
        """Return some of the rows, with the same `names`."""
        return SliceValues(self.names, self.code[rows])

    @property
    def arrow(self) -> pa.DictionaryArray:
        """The values as strings, dictionary-encoded."""
        return pa.DictionaryArray.from_arrays(self.code, pa.array(self.names, pa.string()))


_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def encoded_values(column: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """Return a column as strings, dictionary-encoded. Nulls and blanks are MISSING_SLICE."""
    strings = to_strings(column)
    is_missing = pc.equal(pc.utf8_trim_whitespace(strings), "").fill_null(True)
    return pc.if_else(is_missing, pa.scalar(MISSING_SLICE, strings.type), strings).dictionary_encode()


def check_slices(slices: Mapping[str, SliceValues]) -> None:
    """Check that the values of each column repeat.

    Raises:
        DatasetError: a column has too many values to compare them.
    """
    for name, column in slices.items():
        count = len(column.names)
        if count > max(_FEW, len(column) // 2):
            raise DatasetError(
                f"Column {name!r} (dataset.slices) has {count:,} different values in {len(column):,} rows. A value "
                "needs several rows to be compared with the others. Name a column with fewer values, or add one with "
                "ranges of these values."
            )
