"""JSON Lines files as streams of Arrow tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

import pyarrow as pa

from labelaudit.codec import Json, JsonObject
from labelaudit.data.compression import open_decompressed
from labelaudit.data.formats import reading
from labelaudit.data.source import Source
from labelaudit.errors import DatasetError

READ_BYTES = 4 << 20
MAX_LINE_BYTES = 64 << 20
SCHEMA_ROWS = 1000
# The type of all lists and objects in a schema. Columns of this type cannot be used.
NESTED = pa.list_(pa.null())


def read_schema(source: Source, path: str) -> pa.Schema:
    """Return the columns of the first rows of one file; a column of several types is a string."""
    with open_decompressed(source, path) as handle, reading(path, "JSONL"):
        records = [record for _, record, _ in islice(_records(handle, path), SCHEMA_ROWS)]
    names = dict.fromkeys(key for record in records for key in record)
    return pa.schema([(name, _type_of([record.get(name) for record in records])) for name in names])


def count_rows(source: Source, path: str) -> int:
    """Return the number of rows of one file. All of it is read."""
    with open_decompressed(source, path) as handle, reading(path, "JSONL"):
        return sum(1 for _ in _records(handle, path))


def read_tables(
    source: Source, path: str, columns: Sequence[str], *, label: str | None, max_rows: int, max_bytes: int
) -> Iterator[pa.Table]:
    """Yield the rows of one file in order; a key that a line does not have is null.

    Values of several types in one column become strings. In the column `label` they are an error.

    Raises:
        DatasetError: a line is not a JSON object, or labels are of several types.
    """
    with open_decompressed(source, path) as handle, reading(path, "JSONL"):
        batch: list[tuple[int, JsonObject]] = []
        size = 0
        for number, record, line_bytes in _records(handle, path):
            batch.append((number, record))
            size += line_bytes
            if len(batch) >= max_rows or size >= max_bytes:
                yield _to_table(batch, columns, label, path)
                batch, size = [], 0
        if batch:
            yield _to_table(batch, columns, label, path)


def _records(handle: BinaryIO, path: str) -> Iterator[tuple[int, JsonObject, int]]:
    """Yield (line number from 1, object, bytes of the line) for each line that is not blank."""
    for number, line in enumerate(_lines(handle, path), start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                f"{path}, line {number} is not valid JSON ({_short(str(error))}): {_short(line)}. "
                "Write one JSON object per line."
            ) from error
        if not isinstance(record, dict):
            raise DatasetError(
                f"{path}, line {number} is {_short(line)}, not a JSON object. "
                "Write one object per line (`jq -c '.[]'` converts a JSON array)."
            )
        yield number, record, len(line)


def _lines(handle: BinaryIO, path: str) -> Iterator[bytes]:
    rest = b""
    number = 0
    while block := handle.read(READ_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        number += len(lines)
        yield from lines
        if len(rest) > MAX_LINE_BYTES:
            raise DatasetError(
                f"{path}, line {number + 1} is longer than {MAX_LINE_BYTES >> 20} MiB. Write one JSON object per line."
            )
    yield rest


def _to_table(batch: list[tuple[int, JsonObject]], columns: Sequence[str], label: str | None, path: str) -> pa.Table:
    arrays = {}
    for name in columns:
        values = [record.get(name) for _, record in batch]
        if name == label:
            _check_one_type(name, values, [number for number, _ in batch], path)
        arrays[name] = _to_array(values)
    return pa.table(arrays)


def _check_one_type(name: str, values: list[Json], lines: list[int], path: str) -> None:
    seen: tuple[str, Json, int] | None = None
    for value, line in zip(values, lines, strict=True):
        family = _family(value)
        if family == "nested":
            raise DatasetError(
                f"Column {name!r} cannot be the label: it is {_short(value)} in {path}, line {line}. "
                "Labels must be strings, whole numbers or booleans."
            )
        if family == "null":
            continue
        if seen is not None and seen[0] != family:
            raise DatasetError(
                f"Labels in column {name!r} have several types: {_short(seen[1])} ({path}, line {seen[2]}) "
                f"and {_short(value)} (line {line}). Write all of them as strings."
            )
        seen = seen or (family, value, line)


def _to_array(values: list[Json]) -> pa.Array:
    families = {_family(value) for value in values} - {"null"}
    if families == {"number"}:
        whole = all(value is None or (type(value) is int and abs(value) < 2**63) for value in values)
        return pa.array(
            values if whole else [_as_float(value) for value in values], pa.int64() if whole else pa.float64()
        )
    if len(families) == 1 and families <= {"bool"}:
        return pa.array(values, pa.bool_())
    return pa.array([_as_text(value) for value in values], pa.string() if families else pa.null())


def _family(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "nested"


def _type_of(values: list[Json]) -> pa.DataType:
    if any(_family(value) == "nested" for value in values):
        return NESTED
    return _to_array(values).type


def _as_float(value: Json) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _as_text(value: Json) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    # JSON can contain lone surrogates, which UTF-8 cannot encode.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _short(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = repr(value) if isinstance(value, str | list | dict) and not isinstance(value, bytes) else text
    return text if len(text) <= 80 else text[:77] + "..."
