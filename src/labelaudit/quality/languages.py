"""Texts in another language than the rest, recognised from the other texts alone, without a dictionary.

Two things must agree: its letters follow one another in an unusual way (trigrams, as in W. Cavnar and J. Trenkle,
"N-gram-based text categorization", 1994), and few of its words are common words of the dataset (`the`, `of`). Headlines
and lists of names have few common words, and formulas have unusual letters, but rarely both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from labelaudit.quality.unusual import upper_fence

# Trigrams that a text needs: about eight words.
_FEWEST = 40
# Further from the median than for other measures, because the topics of texts differ too.
_SPREADS = 4.0
# Texts that the trigrams and the common words of the dataset are counted in.
_PROFILED, _READ = 50_000, 2_000
# A word is common if it is in at least this share of the texts.
_COMMON = 0.05
# In prose, a third of all words are common. Below this share, the texts have no common words to recognise.
_LEAST_COMMON = 0.15
# A text in the same language has more than this share of what is usual.
_FEW = 1 / 3
# Three letters of 6 bits each.
_BUCKETS = 2**18
_PIECE = 2**11
_SPACE = 0x20


class OtherLanguages(NamedTuple):
    """The texts whose language differs, and how this shows.

    Attributes:
        rows: (m,) positions.
        common: (m,) the share of common words in each.
        limit: the share below which a text counts.
    """

    rows: npt.NDArray[np.int64]
    common: npt.NDArray[np.float64]
    limit: float


def other_languages(samples: npt.NDArray[np.uint8], surprise: npt.NDArray[np.float64]) -> OtherLanguages:
    """Return the texts in another language than most.

    Args:
        samples: (n, START_BYTES) uint8, the starts of different texts in lower case, padded with zeros. Their order
            matters only if there are more than 2,000.
        surprise: (n,) as of `trigram_surprise`.
    """
    nothing = OtherLanguages(np.empty(0, np.int64), np.empty(0), 0.0)
    suspects = np.flatnonzero(surprise > upper_fence(surprise, _SPREADS))
    if not len(suspects):
        return nothing
    read = _words(samples[:: -(-len(samples) // _READ)])
    frequency = Counter(word for words in read for word in set(words))
    common = {word for word, count in frequency.items() if count >= max(2, _COMMON * len(read))}
    usual = float(np.median([_share(words, common) for words in read]))
    if usual < _LEAST_COMMON:
        return nothing
    shares = np.array([_share(words, common) for words in _words(samples[suspects])])
    is_other = shares <= _FEW * usual
    return OtherLanguages(suspects[is_other], shares[is_other], _FEW * usual)


def trigram_surprise(samples: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return (n,) the mean surprise (-log p, in nats) of the trigrams of each text; NaN if it has too few.

    The probabilities are those of all texts, without the text itself.

    Args:
        samples: as for `other_languages`.
    """
    profile = np.zeros(_BUCKETS, np.int64)
    every = -(-max(1, len(samples)) // _PROFILED)
    for buckets, _ in _trigrams(samples[::every]):
        profile += np.bincount(buckets.ravel(), minlength=_BUCKETS)
    # Only those around a letter count.
    is_used = (np.arange(_BUCKETS) >> 6) & 63 > 0
    profile[~is_used] = 0
    total = max(1, int(profile.sum()))
    # Without one occurrence, that of the text itself.
    surprise_of = np.where(is_used, np.log(total / np.maximum(profile - 1, 0.5)), 0).astype(np.float32)
    found = [np.empty(0)]
    for buckets, count in _trigrams(samples):
        mean = surprise_of[buckets].sum(axis=1) / np.maximum(count, 1)
        found.append(np.where(count >= _FEWEST, mean, np.nan))
    return np.concatenate(found)


def _trigrams(samples: npt.NDArray[np.uint8]) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]]:
    """Yield the numbers of the trigrams of texts, (m, w), and how many are around a letter, (m,), piece by piece."""
    for start in range(0, len(samples), _PIECE):
        codes = _CODES[samples[start : start + _PIECE]]
        first, second, third = codes[:, :-2], codes[:, 1:-1], codes[:, 2:]
        yield (first << np.uint32(12)) | (second << np.uint32(6)) | third, np.count_nonzero(second, axis=1)


def _letter_codes() -> npt.NDArray[np.uint32]:
    """Return (256,) a number below 64 for each byte: 0 unless it is a small ASCII letter or part of another letter."""
    codes = np.zeros(256, np.uint32)
    codes[ord("a") : ord("z") + 1] = np.arange(1, 27)
    codes[0x80:] = 27 + np.arange(128) % 37
    return codes


_CODES = _letter_codes()


def _words(samples: npt.NDArray[np.uint8]) -> list[list[bytes]]:
    letters = np.where(_CODES[samples] > 0, samples, _SPACE).astype(np.uint8)
    # The last word may be cut.
    return [row.tobytes().split()[:-1] for row in letters]


def _share(words: list[bytes], common: set[bytes]) -> float:
    return sum(word in common for word in words) / max(1, len(words))
