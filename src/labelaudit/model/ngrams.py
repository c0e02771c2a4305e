"""Texts as hashed n-gram counts. Nothing is fitted, so this runs once per machine and not once per fold."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from labelaudit.text import CHINESE_AND_KANA, OTHER_UNSPACED

if TYPE_CHECKING:
    from scipy import sparse

HASHED_FEATURES = 2**18
# All settings that determine the counts. They are part of the key of a cache.
HASHING = {
    "features": HASHED_FEATURES,
    "analyzer": "words, and characters of scripts without spaces",
    "ngrams": [1, 2],
    "characters": [1, 3],
    "lowercase": True,
}
# Longest n-gram of characters. AUC of planted errors: see docs/inputs.md.
_CHARACTERS = 3
# Korean has spaces, but adds particles to its words. AUC with words alone: .58, with characters: .96.
_KOREAN = "\uac00-\ud7a3"
_UNSPACED = CHINESE_AND_KANA + OTHER_UNSPACED + _KOREAN
_RARE_CHINESE = "\U00020000-\U0003ffff"
_RUN = re.compile(f"[{_UNSPACED}{_RARE_CHINESE}]+")
_BASIC_PLANE = 0xFFFF
# Full-width and half-width forms, which Chinese and Japanese texts mix with the usual ones.
_WIDTHS = "\uff01-\uffee"
_WIDTH_FORMS = re.compile(f"[{_WIDTHS}]+")
# Parts of Korean syllables, as some systems store them.
_HANGUL_PARTS = "\u1100-\u11ff"
_PLAIN_WORD = re.compile(r"\w+")
# No word contains it, so n-grams of different sources cannot be equal.
_SEPARATOR, _SHARED = "\0", "\1"
# Marks that are no part of a word: they select how emoji and Chinese characters are drawn.
_SELECTORS = frozenset({*range(0xFE00, 0xFE10), *range(0x20D0, 0x2100), *range(0xE0100, 0xE01F0)})


def hash_texts(*columns: Iterable[str]) -> sparse.csr_matrix:
    """Count the n-grams of each text, in a hashed vocabulary: words, word pairs, and characters without spaces.

    Words are counted in every language. If a script puts no spaces between words (Chinese, Japanese, Thai, Lao, Khmer,
    Burmese) or adds particles to them (Korean), sequences of 1 to 3 characters are counted as well.

    Method: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.

    Args:
        columns: one or several columns of N texts. N-grams of different columns are different features.

    Returns:
        CSR matrix (N, HASHED_FEATURES) of float32 counts, with rows in the order of the texts.
    """
    # Imported here because only texts need it, and the import is slow.
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(HASHED_FEATURES, input_type="string", dtype="float32", alternate_sign=False)
    if len(columns) == 1:
        return hasher.transform(map(text_ngrams, columns[0]))
    return hasher.transform(map(_joint_ngrams, zip(*columns, strict=True)))


def text_ngrams(text: str) -> Iterable[str]:
    """Return the n-grams of one text: words and word pairs, and characters of scripts without spaces."""
    if text.isascii() or not _special().search(text):
        return _word_ngrams(_PLAIN_WORD.findall(text.lower()))
    text = _normalized(text).lower()
    words = _word().findall(_RUN.sub(r" \g<0> ", text))
    return chain(_word_ngrams(words), *map(_character_ngrams, _RUN.findall(text)))


def _joint_ngrams(texts: Sequence[str]) -> Iterator[str]:
    """Yield the n-grams of several texts of one row. Those of the second text and later ones get its number.

    What two neighboring texts share becomes features as well: each n-gram, and the share in steps of a tenth. Without
    them, a linear network cannot see that one question repeats another (AUC of planted errors: .51 without, .93 with).
    """
    before: set[str] = set()
    for number, text in enumerate(texts):
        ngrams = list(text_ngrams(text))
        prefix = f"{number}{_SEPARATOR}" if number else ""
        yield from (prefix + ngram for ngram in ngrams)
        present = set(ngrams)
        shared = present & before
        yield from (f"{prefix}{_SHARED}{ngram}" for ngram in shared)
        tenths = 10 * len(shared) // max(1, min(len(present), len(before)))
        yield from (f"{prefix}{_SHARED}{_SHARED}{step}" for step in range(1, tenths + 1))
        before = present


def _word_ngrams(words: list[str]) -> list[str]:
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]


def _character_ngrams(run: str) -> Iterator[str]:
    """Yield sequences of 1 to 3 characters, each with its vowel signs and tone marks."""
    characters = _character().findall(run)
    for length in range(1, _CHARACTERS + 1):
        for start in range(len(characters) - length + 1):
            yield _SEPARATOR + "".join(characters[start : start + length])


def _normalized(text: str) -> str:
    """Return the text with composed letters, and with usual forms in place of full-width and half-width ones."""
    text = _WIDTH_FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return unicodedata.normalize("NFC", text)


@cache
def _special() -> re.Pattern[str]:
    """Return what plain words do not contain. Most texts have none of it, and one search is quick."""
    # One range above the basic plane, because a set with many of them is searched slowly.
    return re.compile(f"[{_UNSPACED}{_WIDTHS}{_HANGUL_PARTS}{_marks(_BASIC_PLANE)}\U00010000-\U0010ffff]")


@cache
def _word() -> re.Pattern[str]:
    # Marks belong to the word: without its vowel signs a word of Hindi would fall into pieces.
    return re.compile(rf"\w[\w{_marks()}]*")


@cache
def _character() -> re.Pattern[str]:
    return re.compile(f"[^{_marks()}][{_marks()}]*")


@cache
def _marks(last: int = sys.maxunicode) -> str:
    """Return the combining marks of all scripts up to a code point, as ranges for a regular expression."""
    marks = [
        code for code in range(last + 1) if unicodedata.category(chr(code)).startswith("M") and code not in _SELECTORS
    ]
    starts = [code for code, before in zip(marks, [-1, *marks], strict=False) if code != before + 1]
    ends = [code for code, after in zip(marks, [*marks[1:], -1], strict=True) if code + 1 != after]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
