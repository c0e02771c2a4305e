"""The codes of all rows of a version, collected while it is read, and the clusters of copies among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from labelaudit.duplicates.close_pairs import ClosePairs, close_pairs
from labelaudit.duplicates.clusters import Clusters, without_templates
from labelaudit.duplicates.image_codes import close_images, image_codes
from labelaudit.duplicates.row_codes import equal_pairs, row_codes
from labelaudit.duplicates.text_codes import similar_pairs, text_table_codes
from labelaudit.nearest import projected
from labelaudit.strings import Strings

_LEAST_DISTANCE = np.float32(1e-4)
_LARGEST = 1e35


class ContentCodes:
    """Collects codes of the inputs of a version, at most 512 bytes per row.

    Args:
        kind: of the inputs; a value of `schemas.InputKind` except `auto`.
    """

    def __init__(self, kind: str) -> None:
        self._method = _METHODS[kind]
        self._parts: list[np.ndarray] = []

    def add(self, inputs: np.ndarray | pa.Table) -> None:
        """Take the inputs of the next rows, as `data.readers.Batch.inputs` has them."""
        self._parts.append(self._method.codes(inputs))

    def clusters(self, digests: Strings, order: np.ndarray, is_readable: np.ndarray) -> Clusters:
        """Return the clusters of exact copies and near-copies, and forget the codes.

        Args:
            digests: N content digests in canonical order.
            order: (N,) int64: row i was added as number order[i].
            is_readable: (N,) bool. Other rows have no copies.
        """
        rows = np.flatnonzero(is_readable)
        if not len(rows):
            self._parts.clear()
            return Clusters.none(len(digests))
        numbers = digests.numbers()[rows]
        # In the order of digests, so that the result depends on the contents alone.
        _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
        near = without_templates(self._method.pairs(self._codes_of(order[rows[first]])), len(first))
        return Clusters.none(len(digests)).joined(copies_of_rows(rows, rows[first], inverse, near))

    def _codes_of(self, numbers: np.ndarray) -> np.ndarray:
        """Return the codes of the rows that were added with these numbers."""
        out = np.empty((len(numbers), self._parts[0].shape[1]), self._parts[0].dtype)
        sorted_at = np.argsort(numbers, kind="stable")
        start = 0
        # One after the other, so that two copies of all codes are never in memory.
        for codes in _popped(self._parts):
            first, last = np.searchsorted(numbers, (start, start + len(codes)), sorter=sorted_at)
            at = sorted_at[first:last]
            out[at] = codes[numbers[at] - start]
            start += len(codes)
        return out


def _popped(parts: list[np.ndarray]) -> Iterator[np.ndarray]:
    parts.reverse()
    while parts:
        yield parts.pop()


def copies_of_rows(rows: np.ndarray, first: np.ndarray, inverse: np.ndarray, near: ClosePairs) -> ClosePairs:
    """Return the pairs of exact copies, each with the first one, and of near-copies of these.

    Args:
        rows: (n,) positions of rows.
        first: (c,) the first row of each of c contents.
        inverse: (n,) the content of each row.
        near: pairs of contents.
    """
    is_copy = first[inverse] != rows
    # Only exact copies have the distance 0.
    distance = np.maximum(near.distance, _LEAST_DISTANCE)
    return ClosePairs(
        np.concatenate([first[inverse][is_copy], first[near.first]]),
        np.concatenate([rows[is_copy], first[near.second]]),
        np.concatenate([np.zeros(int(is_copy.sum()), np.float32), distance]),
    )


def _vector_codes(vectors: np.ndarray) -> np.ndarray:
    # Larger numbers would overflow in the sum of a projection.
    return projected(np.clip(vectors, -_LARGEST, _LARGEST))


@dataclass(frozen=True)
class _Method:
    """How the copies of one kind of input are found.

    Attributes:
        codes: Returns the codes of inputs, (n, w).
        pairs: Returns the pairs of near-copies among codes of different contents.
    """

    codes: Callable[[Any], np.ndarray]
    pairs: Callable[[np.ndarray], ClosePairs]


_METHODS = {
    "image": _Method(image_codes, close_images),
    "text": _Method(text_table_codes, similar_pairs),
    "vector": _Method(_vector_codes, close_pairs),
    "table": _Method(row_codes, equal_pairs),
}
