"""Time and memory of finding near-copies among many rows, and how many of the planted ones are found.

    python benchmarks/copies.py [rows]

Codes of images are drawn around 16 dimensions, and texts from 20,000 words; 1 % of the rows are near-copies of others.
No row equals another one, so exact digests find none of them.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

import numpy as np
import threadpoolctl

from labelaudit.duplicates.close_pairs import ClosePairs, close_pairs
from labelaudit.duplicates.image_codes import CODE_LENGTH
from labelaudit.duplicates.text_codes import MINIMUMS, similar_pairs, text_codes

_ROWS = 1_000_000
_PIECE = 20_000
_WORDS = 40


def main() -> None:
    """Print one row of a table for each kind."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else _ROWS
    chosen = np.random.default_rng(1).choice(rows, rows // 100 * 2, replace=False)
    originals, copies = chosen[::2], chosen[1::2]
    print("| codes of | rows | seconds | planted copies found | other pairs | peak memory |\n|---|---|---|---|---|---|")  # noqa: T201
    with threadpoolctl.threadpool_limits(1):
        report("images", rows, close_pairs, image_like_codes(rows, originals, copies), originals, copies)
        started = time.perf_counter()
        codes = np.empty((rows, MINIMUMS), np.uint16)
        for start, texts in drawn_texts(rows, originals, copies):
            codes[start : start + len(texts)] = text_codes(texts)
        report("texts", rows, similar_pairs, codes, originals, copies, time.perf_counter() - started)


def report(
    name: str,
    rows: int,
    find: object,
    codes: np.ndarray,
    originals: np.ndarray,
    copies: np.ndarray,
    spent: float = 0.0,
) -> None:
    """Print the time to find the pairs, and the share of planted pairs among them."""
    assert callable(find)
    started = time.perf_counter()
    pairs: ClosePairs = find(codes)
    seconds = spent + time.perf_counter() - started
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    planted = {(min(pair), max(pair)) for pair in zip(originals.tolist(), copies.tolist(), strict=True)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    line = f"| {name} | {rows:,} | {seconds:.0f} | {len(found & planted):,} of {len(planted):,} "
    print(f"{line}| {len(found - planted):,} | {peak:,} MiB |", flush=True)  # noqa: T201


def image_like_codes(rows: int, originals: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Return (rows, CODE_LENGTH) float16; copies differ from their originals by 2 % of the spread of each number."""
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(16, CODE_LENGTH)) * np.linspace(1, 0.1, 16)[:, None]
    codes = np.empty((rows, CODE_LENGTH), np.float16)
    for start in range(0, rows, _PIECE):
        count = min(_PIECE, rows - start)
        noise = 0.15 * generator.normal(size=(count, CODE_LENGTH))
        codes[start : start + count] = generator.normal(size=(count, 16)) @ directions + noise
    codes[copies] = codes[originals] + 0.02 * generator.normal(size=(len(copies), CODE_LENGTH))
    return codes


def drawn_texts(rows: int, originals: np.ndarray, copies: np.ndarray) -> Iterator[tuple[int, list[str]]]:
    """Yield texts of 40 words in pieces; copies differ from their originals in one word."""
    letters = np.random.default_rng(0).integers(97, 123, (20_000, 6), np.uint8)
    words = [bytes(word).decode() for word in letters]
    original_of = np.arange(rows)
    original_of[copies] = originals
    for start in range(0, rows, _PIECE):
        yield start, [_text(words, int(original_of[row]), row) for row in range(start, min(rows, start + _PIECE))]


def _text(words: list[str], seed: int, row: int) -> str:
    # A fast generator of the same numbers for the same seed.
    numbers = (np.arange(_WORDS, dtype=np.uint64) + np.uint64(seed * _WORDS)) * np.uint64(0x9E3779B97F4A7C15)
    chosen = [words[number] for number in ((numbers ^ (numbers >> np.uint64(29))) % np.uint64(len(words))).tolist()]
    if row != seed:
        chosen[20] = "changed"
    return " ".join(chosen)


if __name__ == "__main__":
    main()
