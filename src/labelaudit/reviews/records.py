"""What a JSON object of storage must be before it counts as a verdict or a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelaudit.errors import ReviewError


def checked_fields(record: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The named fields of a record, each of its kind, which is what `isinstance` takes.

    Raises `ReviewError` where one is missing, of another kind, or no text that UTF-8 holds.
    """
    if not isinstance(record, dict):
        raise ReviewError(f"a {type(record).__name__} stands where an object belongs")
    for name, kind in kinds.items():
        if name not in record:
            raise ReviewError(f"{name} is missing")
        value = record[name]
        if not isinstance(value, kind):
            raise ReviewError(f"{name} is a {type(value).__name__}, not {getattr(kind, '__name__', kind)}")
        if isinstance(value, str) and not is_text(value):
            raise ReviewError(f"{name} is {value[:40]!r}, which is no text in UTF-8")
    return {name: record[name] for name in kinds}


def is_text(text: str) -> bool:
    """Whether UTF-8 holds it: escapes in JSON, and bytes on a command line, make halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
