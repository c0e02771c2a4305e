"""Text for people: lists that are cut short, close matches, and characters that must not be shown as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import category

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# HTML does not allow these, and UTF-8 cannot encode surrogates. Format characters stay: emoji and Persian need them.
_NOT_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# XML 1.0 allows DEL and C1, which occur in class names that were decoded as Latin-1, but not U+FFFE and U+FFFF.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# These change the direction of all text that follows them.
_BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069]")

# Letters of scripts that put no spaces between words, as ranges of a regular expression: Chinese characters, kana and
# bopomofo; then Thai, Lao, Khmer and Burmese.
CHINESE_AND_KANA = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3100-\u312f\u31a0-\u31bf"
)
OTHER_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf"
    "\u1780-\u17d3\u17d7\u17dc\u17dd"
    "\u1000-\u103f\u1050-\u108f\u109a-\u109d\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"
)


def listing(names: Iterable[object], *, shown: int = 5, separator: str = ", ") -> str:
    """Return the first names as text, with the number of the others: `a, b and 3 more`."""
    texts = list(map(str, names))
    text = separator.join(texts[:shown])
    more = len(texts) - shown
    return f"{text}{separator.lstrip(',')}and {more:,} more" if more > 0 else text


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a mistyped one; None if none is close."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)


def unknown_name(subject: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not among the known ones, with a close match if there is one."""
    names = list(known)
    close = closest(name, names)
    hint = f" Did you mean {close!r}?" if close else ""
    return f"{subject} is unknown.{hint} Use one of {listing(names, shown=12)}."


def is_control(character: str) -> bool:
    """Return whether a terminal may act on a character: Unicode category C (control, format, unassigned, …)."""
    return category(character).startswith("C")


def plain(text: str) -> str:
    """Return text for a terminal, with each control character replaced."""
    return "".join(REPLACEMENT if is_control(character) else character for character in text)


def for_html(text: str) -> str:
    """Return text with each character replaced that HTML does not allow."""
    return _NOT_HTML.sub(REPLACEMENT, text)


def for_xml(text: str) -> str:
    """Return text with each character replaced that XML does not allow."""
    return _NOT_XML.sub(REPLACEMENT, text)


def in_one_direction(text: str) -> str:
    """Return text with each bidirectional control replaced, so that it cannot reverse what follows it."""
    return _BIDIRECTIONAL.sub(REPLACEMENT, text)
