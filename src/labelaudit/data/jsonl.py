"""JSON Lines files, and JSON files with one array of objects, as streams of Arrow tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

from labelaudit.codec import Json, JsonObject
from labelaudit.data.compression import open_decompressed
from labelaudit.data.formats import FileSurvey, reading
from labelaudit.data.json_items import Item, read_items, short
from labelaudit.data.source import Source
from labelaudit.data.values import number_string
from labelaudit.errors import DatasetError

# The type of objects, and of lists of other things than numbers, in a schema. Columns of this type cannot be used.
NESTED = pa.list_(pa.null())
VECTOR = pa.list_(pa.float64())
# Whole numbers beyond 64 bits are exact as decimals of this type.
WIDE = pa.decimal256(76, 0)
# What the values of a key are, as a set of bits.
INT, WIDE_INT, FLOAT, BOOL, TEXT, COMPOUND, NUMBERS = (1 << bit for bit in range(7))
_KIND_OF_TYPE = {int: INT, float: FLOAT, bool: BOOL, str: TEXT, list: COMPOUND, dict: COMPOUND, type(None): 0}


def survey_file(source: Source, path: str) -> FileSurvey:
    """Return the columns of all rows of one file, and their number; a column of several types is a string.

    Raises:
        DatasetError: a line is not a JSON object, or it has a key twice.
    """
    kinds: dict[str, int] = {}
    count = 0
    first: JsonObject = {}
    with open_decompressed(source, path) as handle, reading(path, "JSONL"):
        for item in read_items(handle, path, checks_keys=True):
            count += 1
            first = first or item.record
            for name, value in item.record.items():
                kinds[name] = kinds.get(name, 0) | _kind(value)
    if count == 1:
        _check_rows(first, path)
    return FileSurvey(pa.schema([(name, _type_of(kind)) for name, kind in kinds.items()]), count)


def read_tables(
    source: Source,
    path: str,
    columns: Sequence[str],
    *,
    label: str | None,
    max_rows: int,
    max_bytes: int,
    wanted: np.ndarray | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of one file in order; a key that a line does not have is null.

    Values of several types in one column become strings. In the column `label` they are an error. Only the rows with
    the numbers in `wanted` are yielded, if it is given. Lines of others are not parsed.

    Raises:
        DatasetError: a line is not a JSON object, or labels are of several types.
    """
    with open_decompressed(source, path) as handle, reading(path, "JSONL"):
        batch: list[Item] = []
        size = 0
        for item in read_items(handle, path, wanted=None if wanted is None else set(wanted.tolist())):
            batch.append(item)
            size += item.size
            if len(batch) >= max_rows or size >= max_bytes:
                yield _to_table(batch, columns, label, path)
                batch, size = [], 0
        if batch:
            yield _to_table(batch, columns, label, path)


def _check_rows(record: JsonObject, path: str) -> None:
    """Check that the only object of a file is a row, and not a table in another form.

    Raises:
        DatasetError: it contains a list of rows, or an object for each column as pandas writes.
    """
    rows = next((key for key, value in record.items() if isinstance(value, list) and _is_objects(value)), None)
    if rows is not None:
        raise DatasetError(
            f"{path} is one JSON object, and its rows are in {rows!r}. Write one object per line "
            f"(`jq -c '.{rows}[]'` converts it)."
        )
    if len(record) > 1 and _is_objects(list(record.values())):
        raise DatasetError(
            f"{path} is one JSON object with an object for each column, which is the default of pandas. "
            "Write it with to_json(orient='records', lines=True)."
        )


def _is_objects(values: list[Json]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)


def _to_table(batch: list[Item], columns: Sequence[str], label: str | None, path: str) -> pa.Table:
    arrays = {}
    for name in columns:
        values = [item.record.get(name) for item in batch]
        if name == label:
            _check_one_type(name, values, [item.place for item in batch], path)
        arrays[name] = _to_array(values)
    return pa.table(arrays)


def _check_one_type(name: str, values: list[Json], places: list[str], path: str) -> None:
    seen: tuple[str, Json, str] | None = None
    for value, place in zip(values, places, strict=True):
        family = _FAMILIES[_kind(value)]
        if family == "nested":
            raise DatasetError(
                f"Column {name!r} cannot be the label: it is {short(value)} in {path}, {place}. "
                "Labels must be strings, numbers or booleans."
            )
        if family == "null":
            continue
        if seen is not None and seen[0] != family:
            raise DatasetError(
                f"Labels in column {name!r} have several types: {short(seen[1])} ({path}, {seen[2]}) "
                f"and {short(value)} ({place}). Write all of them as strings."
            )
        seen = seen or (family, value, place)


# What a vector may contain; null is a missing number.
_NUMBER_TYPES = {int, float, type(None)}
_FAMILIES = {
    **{0: "null", INT: "number", WIDE_INT: "number", FLOAT: "number"},
    **{BOOL: "bool", TEXT: "string", COMPOUND: "nested", NUMBERS: "nested"},
}


def _kind(value: Json) -> int:
    """Return the bit of a value; 0 for null and NaN, which pandas writes for a missing value."""
    kind = _KIND_OF_TYPE[type(value)]
    if kind == INT and not -(2**63) <= value < 2**63:  # type: ignore[operator]
        return WIDE_INT if abs(value) < 10**WIDE.precision else FLOAT  # type: ignore[arg-type]
    if kind == COMPOUND and isinstance(value, list) and set(map(type, value)) <= _NUMBER_TYPES:
        return NUMBERS
    return 0 if value != value else kind


def _type_of(kinds: int) -> pa.DataType:
    """Return the type of a column from the bits of its values."""
    if kinds == NUMBERS:
        return VECTOR
    if kinds & (COMPOUND | NUMBERS):
        return NESTED
    if kinds == 0:
        return pa.null()
    if not kinds & ~(INT | WIDE_INT | FLOAT):
        return pa.float64() if kinds & FLOAT else WIDE if kinds & WIDE_INT else pa.int64()
    return pa.bool_() if kinds == BOOL else pa.string()


def _to_array(values: list[Json]) -> pa.Array:
    kinds = 0
    for value in values:
        kinds |= _kind(value)
    type = _type_of(kinds)
    if type == pa.float64():
        return pa.array([_as_float(value) for value in values], type)
    if type == VECTOR:
        return pa.array([_as_floats(value) for value in values], type)
    if type == WIDE:
        return pa.array([Decimal(value) if isinstance(value, int) else None for value in values], type)
    if type in (pa.int64(), pa.bool_(), pa.null()):
        return pa.array([None if value != value else value for value in values], type)
    return pa.array([_as_text(value) for value in values], pa.string())


def _as_floats(value: Json) -> list[float | None] | None:
    return [_as_float(number) for number in value] if isinstance(value, list) else None


def _as_float(value: Json) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _as_text(value: Json) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, float):
        return number_string(value)
    text = value if isinstance(value, str) else json.dumps(value)
    # JSON can contain lone surrogates, which UTF-8 cannot encode. Written as escapes, they stay different.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
