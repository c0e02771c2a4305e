"""Writers of the files of a cache entry. They write batch by batch, so only one batch is in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelaudit.data.columns import Columns
from labelaudit.model.ngrams import HASHED_FEATURES, hash_texts

# N-gram counts, and numbers of vectors, that are put into canonical order at a time.
_SORTED_COUNTS = 2**21
_ARROW_TYPES = {"number": pa.float64(), "category": pa.large_string()}


class Writer(Protocol):
    """Writes the inputs of a version, which arrive in reading order, to the folder of a cache entry.

    Inputs that are cheap to read in any order are stored in reading order, with `positions.npy` as their index.
    """

    def append(self, inputs: Any) -> None: ...

    def finish(self, positions: np.ndarray) -> None:
        """Complete the files. `positions` (N,) int64 maps the canonical order to the reading order."""

    def close(self) -> None:
        """Close the files, even if the version could not be read to the end."""


class _ImageWriter:
    """`pixels.bin`: (N, H, W, C) uint8 in reading order."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        self._shape = (*columns.image_size, columns.image_channels)
        self._file: BinaryIO = open(folder / "pixels.bin", "wb")  # noqa: SIM115 (by close)

    def append(self, inputs: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(inputs).data)

    def close(self) -> None:
        self._file.close()

    def finish(self, positions: np.ndarray) -> None:
        self.close()
        np.save(self._folder / "positions.npy", positions)
        (self._folder / "shape.json").write_text(json.dumps([len(positions), *self._shape]))


class _VectorWriter:
    """`vectors.npy`: (N, d) float32 in canonical order."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        self._length = columns.vector_length
        self._file: BinaryIO = open(folder / "vectors.unsorted", "wb")  # noqa: SIM115 (by close)

    def append(self, inputs: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(inputs, np.float32).data)

    def close(self) -> None:
        self._file.close()

    def finish(self, positions: np.ndarray) -> None:
        self.close()
        shape = (len(positions), self._length)
        step = max(1, _SORTED_COUNTS // self._length)
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
        with open(self._folder / "vectors.npy", "wb") as ordered:
            np.lib.format.write_array_header_1_0(ordered, header)
            for start in range(0, len(positions), step):
                # Map the file again for each part, so that the pages of the previous part can be freed.
                unsorted = np.memmap(self._file.name, np.float32, "r", shape=shape)
                ordered.write(unsorted[positions[start : start + step]].data)
        Path(self._file.name).unlink()


class _TableWriter:
    """`table.arrow`: the input columns in reading order."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        types = zip(columns.inputs, columns.input_types, strict=True)
        schema = pa.schema([(name, _ARROW_TYPES[type]) for name, type in types])
        self._file = pa.ipc.new_file(folder / "table.arrow", schema)

    def append(self, inputs: pa.Table) -> None:
        self._file.write_table(inputs)

    def close(self) -> None:
        self._file.close()

    def finish(self, positions: np.ndarray) -> None:
        self.close()
        np.save(self._folder / "positions.npy", positions)


class _TextWriter:
    """`texts.arrow`: texts in reading order; `data`, `indices`, `indptr`: their n-gram counts in canonical order."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        self._schema = pa.schema([(name, pa.large_string()) for name in columns.inputs])
        self._texts = pa.ipc.new_file(folder / "texts.arrow", self._schema)
        self._values = open(folder / "data.unsorted", "wb")  # noqa: SIM115 (by close)
        self._indices = open(folder / "indices.unsorted", "wb")  # noqa: SIM115 (by close)
        self._lengths: list[np.ndarray] = [np.empty(0, np.int64)]

    def append(self, inputs: pa.Table) -> None:
        self._texts.write_table(inputs.cast(self._schema))
        counts = hash_texts(*(column.to_pylist() for column in inputs.columns))
        self._values.write(counts.data.astype(np.float32, copy=False).data)
        self._indices.write(counts.indices.astype(np.int32, copy=False).data)
        self._lengths.append(np.diff(counts.indptr).astype(np.int64))

    def close(self) -> None:
        for file in (self._texts, self._values, self._indices):
            file.close()

    def finish(self, positions: np.ndarray) -> None:
        self.close()
        np.save(self._folder / "positions.npy", positions)
        lengths = np.concatenate(self._lengths)
        starts = (np.cumsum(lengths) - lengths)[positions]
        ends = np.append(0, np.cumsum(lengths[positions]))
        # scipy needs the same type for both index arrays, otherwise it copies them.
        index_type = np.int32 if ends[-1] <= np.iinfo(np.int32).max else np.int64
        np.save(self._folder / "indptr.npy", ends.astype(index_type))
        _sort_counts(self._values.name, np.float32, self._folder / "data.npy", np.float32, starts, ends)
        _sort_counts(self._indices.name, np.int32, self._folder / "indices.npy", index_type, starts, ends)
        (self._folder / "shape.json").write_text(json.dumps([len(positions), HASHED_FEATURES]))


class Nowhere:
    """Writes nothing, for callers that need only the rows."""

    def append(self, inputs: object) -> None: ...

    def finish(self, positions: np.ndarray) -> None: ...

    def close(self) -> None: ...


WRITERS: dict[str, Callable[[Path, Columns], Writer]] = {
    "image": _ImageWriter,
    "text": _TextWriter,
    "vector": _VectorWriter,
    "table": _TableWriter,
}


def _sort_counts(
    unsorted: str, type: npt.DTypeLike, path: Path, sorted_type: npt.DTypeLike, starts: np.ndarray, ends: np.ndarray
) -> None:
    """Copy the values of a file to an array at `path` in canonical order, and delete the file.

    Row i starts at `starts[i]` of the file. In the array it is `ends[i]` to `ends[i + 1]`.
    """
    total = int(ends[-1])
    ordered = np.lib.format.open_memmap(path, "w+", sorted_type, (total,))
    cuts = np.append(np.searchsorted(ends, np.arange(0, total, _SORTED_COUNTS)), len(starts))
    for first, last in pairwise(cuts):
        new = np.arange(ends[first], ends[last])
        moved = np.repeat(starts[first:last] - ends[first:last], ends[first + 1 : last + 1] - ends[first:last])
        # Map the file again for each part, so that the pages of the previous part can be freed.
        ordered[ends[first] : ends[last]] = np.memmap(unsorted, type, "r")[new + moved]
    Path(unsorted).unlink()
