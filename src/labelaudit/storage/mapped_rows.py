"""Rows of a `.npy` file on the local disk, read in pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

# Rows in any order that are read at once, because each maps a page.
_ROWS_AT_ONCE = 2**12


class MappedRows:
    """The rows of an array in a `.npy` file.

    The file is mapped only while rows are copied, because mapped pages count as memory of the process.

    Raises:
        ValueError, EOFError: it is not a `.npy` file of numbers or strings.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        array = _load(path)
        self.shape: tuple[int, ...] = array.shape
        self.dtype = array.dtype
        # np.load parses the header as Python source, which two threads cannot do at once before Python 3.11.8
        # (CPython issue 106905). So it is parsed only here.
        self._offset = array.offset if isinstance(array, np.memmap) else 0
        self._order: Literal["C", "F"] = "F" if array.flags.fnc else "C"

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> npt.NDArray[np.generic]:
        """Return consecutive rows."""
        return np.array(self._open()[start:stop])

    def take(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.generic]:
        """Return rows in any order."""
        taken = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            taken[start : start + _ROWS_AT_ONCE] = self._open()[rows[start : start + _ROWS_AT_ONCE]]
        return taken

    def _open(self) -> npt.NDArray[np.generic]:
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self._path, self.dtype, "r", self._offset, self.shape, self._order)


def _load(path: str | Path) -> npt.NDArray[np.generic]:
    try:
        array: npt.NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        # An empty array cannot be mapped. For other faults, this names the reason.
        array = np.load(path, allow_pickle=False)
    return array


class RowWriter:
    """Writes the rows of a `.npy` file one block after the other."""

    def __init__(self, path: Path, shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._dtype = dtype

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, rows: npt.NDArray[np.floating]) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
