"""Digests of inputs, which identify copies in any file."""

from __future__ import annotations

import json
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from labelaudit.data.values import family

DIGEST_BYTES = 16


def digest_bytes(data: bytes) -> str:
    """Return the blake2b-128 of one input, in hex."""
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def digest_rows(table: pa.Table) -> list[str]:
    """Return one digest per row of a table of float64 and string columns.

    Digests depend on the names of columns, not on their order. All missing numbers count as equal.
    """
    names = sorted(table.column_names)
    numbers = [name for name in names if family(table.schema.field(name).type) == "number"]
    categories = [name for name in names if name not in set(numbers)]
    base = blake2b(json.dumps([numbers, categories]).encode(), digest_size=DIGEST_BYTES)
    matrix = np.empty((table.num_rows, len(numbers)), dtype="<f8")
    for index, name in enumerate(numbers):
        matrix[:, index] = table.column(name).to_numpy()
    columns = [_length_prefixed(table.column(name)) for name in categories]
    width = matrix.shape[1] * matrix.itemsize
    data = matrix.tobytes()
    digests = []
    for row in range(table.num_rows):
        hasher = base.copy()
        hasher.update(data[row * width : (row + 1) * width])
        for column in columns:
            hasher.update(column[row])
        digests.append(hasher.hexdigest())
    return digests


def _length_prefixed(column: pa.ChunkedArray) -> np.ndarray:
    """Return (n,) object of bytes: each string after its length; the length is -1 if the string is missing."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    values = [value.encode() for value in encoded.dictionary.to_pylist()]
    prefixed = [len(value).to_bytes(8, "little", signed=True) + value for value in values]
    prefixed.append((-1).to_bytes(8, "little", signed=True))
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    column_bytes: np.ndarray = np.array(prefixed, dtype=object)[indices]
    return column_bytes
