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


def listing(names: Iterable[object], *, shown: int = 5, separator: str = ", ") -> str:
    """Return the first names as text, with the number of the others: `a, b and 3 more`."""
    texts = list(map(str, names))
    text = separator.join(texts[:shown])
    more = len(texts) - shown
    return f"{text}{separator.lstrip(',')}and {more:,} more" if more > 0 else text


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a mistyped one; None if none is close."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)


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
