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
_PROFILED, _READ = 50_000, 5_000
# A word is common if it is in at least this share of the texts.
_COMMON = 0.05
# In prose, a third of all words are common. Below this share, the texts have no common words to recognise.
_LEAST_COMMON = 0.15
# A text in the same language has more than this share of what is usual.
_FEW = 1 / 3
_BUCKETS = 2**16
_PIECE = 2**14
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


def other_languages(samples: npt.NDArray[np.uint8]) -> OtherLanguages:
    """Return the texts in another language than most.

    Args:
        samples: (n, SAMPLE_BYTES) uint8, the starts of different texts in lower case, padded with zeros. Their order
            matters only if there are more than 50,000.
    """
    nothing = OtherLanguages(np.empty(0, np.int64), np.empty(0), 0.0)
    surprise = trigram_surprise(samples)
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
    """
    profile = np.zeros(_BUCKETS, np.int64)
    every = -(-max(1, len(samples)) // _PROFILED)
    for buckets, is_used in _trigrams(samples[::every]):
        profile += np.bincount(buckets[is_used], minlength=_BUCKETS)
    total = max(1, int(profile.sum()))
    # Without one occurrence, that of the text itself.
    surprise_of = np.log(total / np.maximum(profile - 1, 0.5)).astype(np.float32)
    found = [np.empty(0)]
    for buckets, is_used in _trigrams(samples):
        count = is_used.sum(axis=1)
        mean = np.where(is_used, surprise_of[buckets], 0).sum(axis=1, dtype=np.float64) / np.maximum(count, 1)
        found.append(np.where(count >= _FEWEST, mean, np.nan))
    return np.concatenate(found)


def _trigrams(samples: npt.NDArray[np.uint8]) -> Iterator[tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]]:
    """Yield the buckets of the trigrams around letters, (m, w) uint16, and which of them are used, piece by piece."""
    for start in range(0, len(samples), _PIECE):
        letters = _letters(samples[start : start + _PIECE]).astype(np.uint32)
        before, middle, after = letters[:, :-2], letters[:, 1:-1], letters[:, 2:]
        hashes = (before * 0x9E3779B1) ^ (middle * 0x85EBCA6B) ^ (after * 0xC2B2AE35)
        buckets = ((hashes ^ (hashes >> 15)) * np.uint32(0x2C1B3C6D)) >> 16
        yield buckets.astype(np.uint16), middle != _SPACE


def _letters(samples: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return samples with a space in place of each byte that is neither an ASCII letter nor part of another one."""
    is_letter = ((samples >= ord("a")) & (samples <= ord("z"))) | (samples >= 0x80)
    return np.where(is_letter, samples, _SPACE).astype(np.uint8)


def _words(samples: npt.NDArray[np.uint8]) -> list[list[bytes]]:
    # The last word may be cut.
    return [row.tobytes().split()[:-1] for row in _letters(samples)]


def _share(words: list[bytes], common: set[bytes]) -> float:
    return sum(word in common for word in words) / max(1, len(words))
