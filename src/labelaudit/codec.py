"""The codec of stored dataclasses: from values to JSON records and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import AliasChoices, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic import JsonValue as Json

__all__ = ["Json", "JsonObject", "formerly", "from_record", "to_record"]

_T = TypeVar("_T")

JsonObject = dict[str, Json]

# Kept, because building one takes milliseconds.
_ADAPTERS: dict[type[object], TypeAdapter[Any]] = {}


def to_record(value: object) -> JsonObject:
    """Return a dataclass as a JSON object with the names of its fields."""
    record: JsonObject = _adapter(type(value)).dump_python(value, mode="json")
    return record


def from_record(kind: type[_T], record: Mapping[str, object]) -> _T:
    """Return the dataclass in a record that `to_record` made. Unknown keys are ignored.

    Raises:
        ValueError: a key is missing, or a value has another type.
    """
    try:
        value: _T = _adapter(kind).validate_python(dict(record))
    except ValidationError as error:
        raise ValueError(_problem(error)) from error
    return value


def formerly(name: str, earlier: str, upgrade: Callable[[Json], Json]) -> tuple[object, object]:
    """Return the annotations of a field that had another name and type in earlier releases.

    Args:
        name: the name of the field.
        earlier: its name in records of earlier releases.
        upgrade: returns the record of today from the value of either release.
    """
    return Field(validation_alias=AliasChoices(name, earlier)), BeforeValidator(upgrade)


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{place} is missing"
    given = repr(first["input"])
    return f"{place} is {given if len(given) <= 40 else given[:39] + '…'} ({first['msg']})"


def _adapter(kind: type[object]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
