"""Scripts of letters: which bytes of UTF-8 begin a letter, and its script."""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

# Scripts that are written together are one. The first one means no letter.
SCRIPTS = (
    *("none", "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Devanagari", "Bengali", "Gurmukhi"),
    *("Gujarati", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan", "Myanmar"),
    *("Georgian", "Hangul", "Ethiopic", "Khmer", "Chinese or Japanese", "another script"),
)
_NUMBER = {name.upper(): number for number, name in enumerate(SCRIPTS)}
_OTHER = len(SCRIPTS) - 1
_TOGETHER = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"), "CHINESE OR JAPANESE")
# Names of characters for which Unicode puts something before the script.
_BEFORE = ("FULLWIDTH", "HALFWIDTH", "MODIFIER", "COMBINING")


@cache
def script_of_bytes() -> npt.NDArray[np.uint8]:
    """Return (65536,) for each pair of bytes the script of a letter that begins with them, a position in SCRIPTS.

    The pair is 256 times the first byte plus the second. Pairs that begin no letter have 0. Letters of three and four
    bytes share a pair with 63 and 4,095 others, whose first known one decides: nearly all such blocks have one script.
    """
    scripts = np.zeros(2**16, np.uint8)
    for byte in range(128):
        if chr(byte).isalpha():
            scripts[byte << 8 : (byte + 1) << 8] = _NUMBER["LATIN"]
    for start, stop, block in ((0x80, 0x800, 1), (0x800, 0xD800, 64), (0xE000, 0x10000, 64), (0x10000, 0x40000, 4096)):
        for code in range(start, stop, block):
            first, second = chr(code).encode()[:2]
            # Large blocks are looked at coarsely.
            found = map(_script, map(chr, range(code, code + block, max(1, block // 64))))
            scripts[first << 8 | second] = next(filter(None, found), 0)
    return scripts


def _script(character: str) -> int:
    if unicodedata.category(character)[0] not in "LM":
        return 0
    words = unicodedata.name(character, "").split()
    while words and words[0] in _BEFORE:
        words.pop(0)
    if not words:
        return 0
    name = _TOGETHER.get(words[0], words[0])
    # Marks that are used with several scripts say nothing.
    is_mark = unicodedata.category(character)[0] == "M"
    return _NUMBER.get(name, 0 if is_mark else _OTHER)
