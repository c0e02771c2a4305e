"""The values of Arrow columns as numbers, categories or strings."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.csv_dialect import PLAIN_NUMBERS, NumberFormat

# How CSV files spell a missing number.
MISSING_NUMBERS = pa.array(["", "na", "n/a", "nan", "null", "none", "#n/a", "?", "\\n"])
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
# The characters that count as a separator of thousands: also no-break, thin and narrow spaces, and a curly apostrophe.
_THOUSANDS = {" ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}


def family(type: pa.DataType) -> str:
    """Return null, string, bool, number or other; for dictionary encoding, the family of its values."""
    if pa.types.is_dictionary(type):
        return family(type.value_type)
    if pa.types.is_null(type):
        return "null"
    if pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type):
        return "string"
    if pa.types.is_boolean(type):
        return "bool"
    if pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type):
        return "number"
    return "other"


def is_binary(type: pa.DataType) -> bool:
    """Return whether values are bytes."""
    kinds = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(is_kind(type) for is_kind in kinds)


def without_encoding(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one contiguous array without dictionary encoding or extension type."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps chunks that would overflow
            array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def to_strings(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return values as strings, and nulls as null.

    Decimals keep all digits. Numbers have their shortest form: 7, 7.0 and the decimal 7.00 are "7". True is "true",
    NaN is null, a date is in the form of ISO 8601, a UUID in its usual form, and other bytes are in hex.
    """
    is_uuid = array.type == pa.uuid()
    array = without_encoding(array)
    if pa.types.is_floating(array.type):
        numbers = array.to_numpy(zero_copy_only=False)
        return pa.array([number_string(value) for value in numbers], pa.large_string())
    if pa.types.is_decimal(array.type):
        return pa.array([_decimal_string(value) for value in array.to_pylist()], pa.large_string())
    if is_binary(array.type):
        convert = uuid_string if is_uuid else bytes.hex
        values = array.to_pylist()
        return pa.array([None if value is None else convert(value) for value in values], pa.large_string())
    return array.cast(pa.large_string())


def repeated(value: str | None, count: int) -> np.ndarray:
    """Return a column in which all values are the same, (count,) object, read-only. It needs no memory per row."""
    return np.broadcast_to(np.array(value, dtype=object), count)


def reordered(column: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return `column[order]`, without a copy if the column is `repeated`."""
    return (
        np.broadcast_to(column[:1].reshape(()), len(order)) if column.strides == (0,) and len(column) else column[order]
    )


def is_text(array: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether a binary column has values, and all of them are UTF-8 without control characters."""
    values = [value for value in array.to_pylist() if value]
    try:
        return bool(values) and not any(_CONTROL.search(value.decode()) for value in values)
    except UnicodeDecodeError:
        return False


def float_limit(type: pa.DataType) -> int:
    """Return the number beyond which a type of floats does not contain all whole numbers."""
    return {16: 2**11, 32: 2**24}.get(type.bit_width, 2**53)


def uuid_string(value: bytes) -> str:
    """Return 16 bytes in the usual form of a UUID."""
    text = value.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def to_numbers(array: pa.Array | pa.ChunkedArray, format: NumberFormat = PLAIN_NUMBERS) -> pa.Array:
    """Return values as float64, null if missing; strings are parsed (CSV), -0.0 becomes 0.0.

    Raises:
        pyarrow.ArrowInvalid: a string is not a number.
    """
    array = without_encoding(array)
    if family(array.type) == "string":
        array = pc.utf8_trim_whitespace(array)
        missing = pc.is_in(pc.utf8_lower(array), value_set=MISSING_NUMBERS.cast(array.type))
        array = pc.if_else(missing, pa.scalar(None, array.type), array)
        if format != PLAIN_NUMBERS:
            array = _as_plain_numbers(array, format)
    numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return pa.array(numbers + 0.0, from_pandas=True)


def _as_plain_numbers(strings: pa.Array, format: NumberFormat) -> pa.Array:
    """Return numbers without separators of thousands and with a decimal point.

    Raises:
        pyarrow.ArrowInvalid: a string is not a number in this format.
    """
    mark = _THOUSANDS.get(format.thousands, re.escape(format.thousands)) if format.thousands else ""
    # Groups of two digits are Indian (12,34,567).
    grouped = f"|[0-9]{{1,3}}(?:{mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}" if format.thousands else ""
    pattern = f"^[+-]?(?:[0-9]*{grouped})(?:{re.escape(format.decimal)}[0-9]*)?(?:[eE][+-]?[0-9]+)?$"
    is_number = pc.match_substring_regex(strings, pattern)
    if not pc.all(is_number, min_count=0).as_py():
        raise pa.ArrowInvalid(f"{strings.filter(pc.invert(is_number))[0].as_py()!r} is not a number")
    if format.thousands:
        strings = pc.replace_substring_regex(strings, mark, "")
    return pc.replace_substring(strings, format.decimal, ".")


def to_categories(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return values as strings, null if missing or empty."""
    strings = to_strings(array)
    return pc.if_else(pc.equal(strings, ""), pa.scalar(None, strings.type), strings)


def parses_as_numbers(array: pa.Array | pa.ChunkedArray, format: NumberFormat = PLAIN_NUMBERS) -> bool:
    """Return whether every value of a string column is a number or missing."""
    try:
        to_numbers(array, format)
    except pa.ArrowInvalid:
        return False
    return True


def number_string(value: float | np.floating) -> str | None:
    """Return the shortest form of a number; None for NaN."""
    if not np.isfinite(value):
        return None if np.isnan(value) else str(float(value))
    # The shortest digits of a float32 are those of its own type.
    return str(int(value)) if value == int(value) else str(value)


def _decimal_string(value: Decimal | None) -> str | None:
    if value is None:
        return None
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
