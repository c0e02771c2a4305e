"""Text for people: control characters, which terminals obey, replaced."""

from __future__ import annotations

from unicodedata import category

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def is_control(character: str) -> bool:
    """Whether a terminal may obey a character: control, format and bidirectional characters, surrogates, unassigned."""
    return category(character).startswith("C")


def plain(text: str) -> str:
    """Text with a replacement character for each control character."""
    return "".join(REPLACEMENT if is_control(character) else character for character in text)
