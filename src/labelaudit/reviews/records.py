"""Reading JSON from storage as values of this package."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from labelaudit.errors import ReviewError

_T = TypeVar("_T")


def from_json(adapter: TypeAdapter[_T], data: bytes) -> _T:
    """Return the value that a JSON document contains. Fields that the type does not have are ignored.

    Raises:
        ReviewError: if the document does not match the type. The message is a clause that names the first problem.
    """
    try:
        return adapter.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ReviewError(f"{place}: {problem}" if place else problem) from error


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can encode the text. Escapes in JSON and bytes in arguments can give lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
