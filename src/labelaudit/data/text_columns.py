"""Which columns of strings contain texts, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from labelaudit.text import CHINESE_AND_KANA, OTHER_UNSPACED

TEXT_NAMES = (
    "text",
    "sentence",
    "content",
    "review",
    "comment",
    "body",
    "document",
    "message",
    "tweet",
    "utterance",
)
# Fewer words are probably a name or an address.
MIN_WORDS = 5
# Letters of one word, in scripts without spaces between words. Low, because short titles are texts as well.
_CHINESE_WORD = 1.2
_OTHER_WORD = 3.0
# Columns that people read together to decide on a label.
_PAIRS = (
    ("premise", "hypothesis"),
    ("question", "answer"),
    ("question", "sentence"),
    ("query", "passage"),
    ("query", "document"),
    ("prompt", "response"),
    *(("title", other) for other in ("text", "body", "content", "abstract", "description", "review")),
    *(("subject", other) for other in ("body", "text", "message", "content")),
)
# sentence1 and sentence2, text_a and text_b
_NUMBERED = re.compile(r"(?P<stem>.*[^\W\d_])[ _-]?(?P<number>[1-9]|(?<=[ _-])[ab])")
_CHINESE = re.compile(f"[{CHINESE_AND_KANA}]")
_OTHER = re.compile(f"[{OTHER_UNSPACED}]")


def typical_words(values: Iterable[str]) -> float:
    """Return the median number of words. In scripts without spaces it is estimated from the letters."""
    counts = [_words(value) for value in values]
    return float(np.median(counts)) if counts else 0.0


def contains_sentences(values: Sequence[str]) -> bool:
    """Return whether most values have several words, even if the same values occur many times."""
    return typical_words(values) >= MIN_WORDS


def are_mostly_distinct(values: Sequence[str]) -> bool:
    """Return whether more than half of the values are different ones. Categories repeat more often."""
    return len(set(values)) * 2 > len(values)


def joint_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that are known to belong together, in their usual order: the first such group, or none."""
    by_name = {name.lower(): name for name in names}
    for pair in _PAIRS:
        if by_name.keys() >= set(pair):
            return tuple(by_name[name] for name in pair)
    groups: dict[str, dict[str, str]] = {}
    for lower, name in by_name.items():
        if found := _NUMBERED.fullmatch(lower):
            groups.setdefault(found["stem"], {})[found["number"]] = name
    for group in groups.values():
        if len(group) > 1:
            return tuple(group[number] for number in sorted(group))
    return ()


def _words(value: str) -> float:
    if value.isascii():
        return len(value.split())
    chinese, other = len(_CHINESE.findall(value)), len(_OTHER.findall(value))
    spaced = _OTHER.sub(" ", _CHINESE.sub(" ", value)).split()
    return sum(any(map(str.isalnum, word)) for word in spaced) + chinese / _CHINESE_WORD + other / _OTHER_WORD
