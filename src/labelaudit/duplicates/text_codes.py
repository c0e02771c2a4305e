"""Codes of texts that agree in proportion to the passages that two texts share (MinHash).

A text counts as the set of its passages of 5 bytes, in lower case and with single spaces. Two texts are near-copies if
at least 80 % of the passages of both together are in both (Jaccard similarity). Minimums of hashes estimate this share:
A. Broder, "On the resemblance and containment of documents", 1997. Only 16 bits of each minimum are kept, as by P. Li
and A. König, "b-bit minwise hashing", 2010.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from labelaudit.duplicates.close_pairs import NEIGHBOURS, ClosePairs

# Minimums of a text, and as many of them as are in one band. Texts with one equal band are compared: with a similarity
# of 0.8, 99.98 % are; with 0.3, 12 %.
MINIMUMS, _BAND = 64, 4
MIN_SIMILARITY = 0.8
_PASSAGE = 5
# Bytes of a text that are used. Longer texts that begin alike are near-copies.
_MAX_BYTES = 20_000
# A similarity that texts of one template have.
_ALIKE = 0.5
# In a bucket, each text is compared with so many that follow: more than are needed to recognise a template.
_COMPARED = 32
# Bytes of texts that are hashed at once, which fit into the processor's cache.
_PIECE_BYTES = 2**16
# Pairs that are compared at once.
_BLOCK = 2**18
_FUNCTIONS = np.random.default_rng(0).integers(0, 2**32, (MINIMUMS, 2), np.uint32) | np.uint32(1)
# After each text, so that there is a bound after its last passage.
_PADDING = b"\0" * _PASSAGE
_POWERS = np.array([31**power for power in range(_PASSAGE)], np.uint32)


def text_codes(texts: Sequence[str]) -> np.ndarray:
    """Return the minimums of the passages of texts under 64 hash functions.

    Returns:
        (n, 64) uint16; zeros if a text is blank.
    """
    parts = [_normal(text) for text in texts]
    codes = np.zeros((len(parts), MINIMUMS), np.uint16)
    lengths = np.array([len(part) for part in parts], np.int64)
    present = np.flatnonzero(lengths)
    pieces = np.cumsum(lengths[present]) // _PIECE_BYTES
    for rows in np.split(present, np.flatnonzero(np.diff(pieces)) + 1):
        if len(rows):
            codes[rows] = _minimums([parts[row] for row in rows])
    return codes


def _minimums(parts: Sequence[bytes]) -> np.ndarray:
    """Return the 64 minimums of texts that are not empty, (n, 64) uint16."""
    # Each text is padded, so that its last passage does not reach into the next text, even if it is shorter than one.
    data = np.frombuffer(b"".join(part.ljust(_PASSAGE, b"\0") + _PADDING for part in parts), np.uint8)
    passages_at = np.lib.stride_tricks.sliding_window_view(data.astype(np.uint32), _PASSAGE)
    hashes = _mixed(passages_at @ _POWERS)
    passages = np.array([max(1, len(part) - _PASSAGE + 1) for part in parts])
    lengths = np.array([max(_PASSAGE, len(part)) + len(_PADDING) for part in parts])
    starts = np.cumsum(lengths) - lengths
    # `reduceat` takes the minimum between consecutive bounds. Every second part is padding.
    bounds = np.stack([starts, starts + passages], axis=1).ravel()
    minimums = np.empty((len(parts), MINIMUMS), np.uint32)
    for number, (multiplier, mask) in enumerate(_FUNCTIONS):
        minimums[:, number] = np.minimum.reduceat((hashes ^ mask) * multiplier, bounds)[::2]
    return np.asarray(minimums ^ (minimums >> np.uint32(16)), np.uint32).astype(np.uint16)


def text_table_codes(table: pa.Table) -> np.ndarray:
    """Return the codes of rows of text columns without nulls. The order of columns does not matter."""
    columns = [table[name].to_pylist() for name in sorted(table.column_names)]
    return text_codes(["\n".join(row) for row in zip(*columns, strict=True)])


def _normal(text: str) -> bytes:
    return " ".join(text[:_MAX_BYTES].lower().split()).encode("utf-8", "surrogatepass")[:_MAX_BYTES]


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Return hashes whose high bits depend on all bits (the end of MurmurHash3)."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    return np.asarray(hashes ^ (hashes >> np.uint32(13)), np.uint32)


def similar_pairs(codes: np.ndarray) -> ClosePairs:
    """Return the pairs of texts with a similarity of at least 0.8.

    The similarity is the share of equal minimums, whose standard error is at most 0.06. The distance is 1 minus it. A
    text with more than 20 others that have a similarity of 0.5 or more comes from a template, and is in no pair.

    Args:
        codes: (n, 64) of `text_codes`, of different texts.
    """
    rows = np.flatnonzero(codes.any(axis=1))
    count = len(rows)
    bands = np.ascontiguousarray(codes[rows]).view(np.uint64)
    is_template = np.zeros(count, bool)
    pairs = np.empty(0, np.int64)  # each as first * count + second
    for band in bands.T:
        found = _bucketed(band)
        # A template in all rows would give many pairs in each band.
        found = found[~(is_template[found // max(1, count)] & is_template[found % max(1, count)])]
        found = found[_similarity(codes, rows, found) >= _ALIKE]
        pairs = np.unique(np.concatenate([pairs, found]))
        first, second = pairs // max(1, count), pairs % max(1, count)
        is_template |= np.bincount(np.concatenate([first, second]), minlength=count) > NEIGHBOURS
        pairs = pairs[~(is_template[first] & is_template[second])]
    pairs = pairs[~(is_template[pairs // max(1, count)] | is_template[pairs % max(1, count)])]
    similarity = _similarity(codes, rows, pairs)
    is_close = similarity >= MIN_SIMILARITY
    first, second = pairs[is_close] // max(1, count), pairs[is_close] % max(1, count)
    return ClosePairs(rows[first], rows[second], 1 - similarity[is_close])


def _similarity(codes: np.ndarray, rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return (P,) float32, the share of equal minimums of pairs of `rows`."""
    similarity = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        part = pairs[start : start + _BLOCK]
        first, second = rows[part // len(rows)], rows[part % len(rows)]
        similarity[start : start + _BLOCK] = (codes[first] == codes[second]).mean(axis=1)
    return similarity


def _bucketed(band: np.ndarray) -> np.ndarray:
    """Return the pairs of rows with the same value, each as first * n + second, first < second."""
    count = len(band)
    order = np.argsort(band, kind="stable")
    values = band[order]
    found = [np.empty(0, np.int64)]
    for step in range(1, min(_COMPARED, count)):
        at = np.flatnonzero(values[step:] == values[:-step])
        if not len(at):
            break
        found.append(order[at] * count + order[at + step])
    return np.concatenate(found)
