"""Measures of texts: length, letters, their script, and a sample that shows the language."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.quality.scripts import SCRIPTS, script_of_bytes

# Bytes at the start of a text that are looked at and kept: about 25 words, which show the language.
START_BYTES = 160
_FEW_LETTERS = 20
# Texts that are looked at together.
_PIECE = 2**11


class TextMeasures(NamedTuple):
    """Measures of n texts.

    Attributes:
        length: (n,) float32, bytes of the whole text.
        letters: (n,) float32, letters in the sample; in the whole text if the sample has hardly any.
        script: (n,) uint8, the most frequent script of these letters, a position in SCRIPTS; 0 without letters.
        sample: (n, START_BYTES) uint8, the start of the text in lower case, padded with zeros.
    """

    length: npt.NDArray[np.float32]
    letters: npt.NDArray[np.float32]
    script: npt.NDArray[np.uint8]
    sample: npt.NDArray[np.uint8]


def text_measures(table: pa.Table) -> TextMeasures:
    """Return the measures of rows of text columns without nulls, joined in the order of their names."""
    names = sorted(table.column_names)
    columns = [table[name].cast(pa.large_string()) for name in names]
    texts = pc.binary_join_element_wise(*columns, pa.scalar("\n", pa.large_string())) if names[1:] else columns[0]
    length = pc.binary_length(texts).to_numpy().astype(np.float32)
    starts = pc.utf8_lower(pc.utf8_slice_codeunits(texts, 0, START_BYTES)).cast(pa.large_binary())
    found = [_of_piece(starts.slice(at, _PIECE)) for at in range(0, len(starts), _PIECE)]
    empty = TextMeasures(
        np.empty(0, np.float32),
        np.empty(0, np.float32),
        np.empty(0, np.uint8),
        np.empty((0, START_BYTES), np.uint8),
    )
    letters, script, sample = (np.concatenate(parts) for parts in zip(*[empty[1:], *found], strict=True))
    # A long text may begin with a line of dashes or numbers.
    again = np.flatnonzero((letters < _FEW_LETTERS) & (length > START_BYTES))
    letters[again] = pc.count_substring_regex(texts.take(pa.array(again)), r"\pL").to_numpy()
    return TextMeasures(length, letters, script, sample)


def _of_piece(
    starts: pa.ChunkedArray,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    # One byte more, so that each byte has a next one.
    padded = _matrix(starts, START_BYTES + 1)
    pairs = padded[:, :-1].astype(np.uint16) << 8 | padded[:, 1:]
    script = script_of_bytes()[pairs]
    letters = np.count_nonzero(script, axis=1)
    return letters.astype(np.float32), _most_frequent(script), padded[:, :-1].copy()


def _most_frequent(script: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (n,) the most frequent script of (n, w) letters; 0 if there are none."""
    found = np.asarray(script.max(axis=1), np.uint8)
    others = np.flatnonzero(found > 1)
    if len(others):
        counts = np.stack([np.count_nonzero(script[others] == one, axis=1) for one in range(1, len(SCRIPTS))], axis=1)
        found[others] = 1 + counts.argmax(axis=1)
    return found


def _matrix(values: pa.ChunkedArray, width: int) -> npt.NDArray[np.uint8]:
    """Return (n, width) uint8: the first bytes of large_binary values, padded with zeros."""
    array = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    count = len(array)
    if not count:
        return np.zeros((0, width), np.uint8)
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + count + 1]
    if data is None or bounds[-1] == bounds[0]:
        return np.zeros((count, width), np.uint8)
    # Bytes that are read beyond the last value are masked.
    padded = np.concatenate([np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]], np.zeros(width, np.uint8)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    is_inside = np.arange(width) < (bounds[1:] - bounds[:-1])[:, None]
    return np.where(is_inside, windows[bounds[:-1] - bounds[0]], 0).astype(np.uint8)
