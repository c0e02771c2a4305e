"""Images with more than 8 bits: the range of their values in a dataset, and how they are scaled to 8 bits by it."""

from __future__ import annotations

import math
import sys
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from labelaudit.data.image_formats import PILLOW_FORMATS


class ValueRange(NamedTuple):
    """The values that become black (0) and white (255)."""

    low: float
    high: float


class ValueRanges(NamedTuple):
    """The ranges of a dataset's images with more than 8 bits; None if there are none of this kind."""

    integers: ValueRange | None = None
    floats: ValueRange | None = None


# All values of 16 bits, and the usual range of floats: for images of which no others are known.
FULL_RANGES = ValueRanges(ValueRange(0, 2**16 - 1), ValueRange(0, 1))
NO_RANGES = ValueRanges()
_BYTES = ValueRange(0, 255)
# A smaller share of the range is less than 32 of 256 grey values.
_NARROW = 1 / 8
_VALUES_AT_ONCE = 1 << 20  # the scaled values of a large image would need four times the memory of its pixels

# Pillow keeps the first byte of 16-bit colours. A decoder for the other byte order keeps the second one.
_NATIVE_SWAPPED = ";16B" if sys.byteorder == "little" else ";16L"
_GREY_AND_ALPHA = "LA;16B"
_SWAPPED_ORDER = {";16B": ";16L", ";16L": ";16B", ";16N": _NATIVE_SWAPPED}


class RangeError(Exception):
    """Values that do not fit into the range of the dataset, as text for people."""


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened image, not yet loaded, has more than 8 bits per value."""
    return image.mode.startswith(("I", "F")) or _is_deep_colour(image)


def has_grey_and_alpha(image: Image.Image) -> bool:
    """Return whether an opened image has 16 bits of grey and 16 bits of opacity, which Pillow opens as RGBA."""
    return _raw_mode(image) == _GREY_AND_ALPHA


def deep_values(image: Image.Image, data: bytes) -> np.ndarray:
    """Return the values of a deep image, without its transparency.

    Args:
        image: opened from `data`, not yet loaded.
        data: the encoded file.

    Returns:
        (H, W) or, in colour, (H, W, 3): uint16, int32 or float32 as stored.
    """
    raw_mode = _raw_mode(image)
    if not _is_deep_colour(image):
        return np.asarray(image)
    if raw_mode == _GREY_AND_ALPHA:
        # Two 16-bit values look like four 8-bit values to the decoder.
        halves = _loaded_as(data, "RGBA")
        upper, lower = halves[..., 0], halves[..., 1]
    else:
        upper = np.asarray(image)[..., :3]
        lower = _loaded_as(data, raw_mode[:-4] + _SWAPPED_ORDER[raw_mode[-4:]])[..., :3]
    values = upper.astype(np.uint16)
    values <<= 8
    values |= lower
    return values


def to_eight_bits(values: np.ndarray, ranges: ValueRanges) -> np.ndarray:
    """Return values as uint8, scaled linearly by the range of the dataset. NaN becomes black.

    Raises:
        RangeError: a value is outside of the range, or no range is known.
    """
    is_float = values.dtype.kind == "f"
    known = ranges.floats if is_float else ranges.integers
    if known is None:
        kind = "numbers with fractions" if is_float else "values of more than 8 bits"
        raise RangeError(f"its pixels are {kind}, unlike those of the sampled images. Convert it to 8 bits")
    found = range_of(values)
    if found is not None and not known.low <= found.low <= found.high <= known.high:
        raise RangeError(
            f"its values, {found.low:,g} to {found.high:,g}, are outside of {known.low:,g} to {known.high:,g}, "
            "the range of the dataset"
        )
    pixels = np.empty(values.shape, np.uint8)
    rows = max(1, _VALUES_AT_ONCE // max(1, values[0].size))
    for start in range(0, len(values), rows):
        scaled = np.subtract(values[start : start + rows], known.low, dtype=np.float32)
        scaled *= 255 / (known.high - known.low)
        np.nan_to_num(scaled, copy=False, nan=0, posinf=255, neginf=0)
        pixels[start : start + rows] = scaled.round()
    return pixels


def range_of(values: np.ndarray) -> ValueRange | None:
    """Return the smallest and the largest finite value; None if there is none."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return ValueRange(float(values.min()), float(values.max())) if values.size else None


def union_of(one: ValueRange | None, other: ValueRange | None) -> ValueRange | None:
    if one is None or other is None:
        return one or other
    return ValueRange(min(one.low, other.low), max(one.high, other.high))


def rounded(found: ValueRange, *, is_float: bool) -> ValueRange:
    """Return the range of the depth that values use: 0 to 4,095 if the largest one needs 12 bits.

    Limits are powers of two, so the decoded pixels stay the same if a new version has slightly brighter images. Values
    far away from zero, such as temperatures, get a range of their own, because few of 256 grey values would be left.
    """
    used = ValueRange(_lower_limit(found.low), _upper_limit(found.high, is_float=is_float))
    span = found.high - found.low
    is_narrow = 0 < span < (used.high - used.low) * _NARROW
    if not is_narrow or (used == _BYTES and not is_float):
        return used
    step = 2.0 ** (math.ceil(math.log2(span)) - 2)
    return ValueRange(math.floor(found.low / step) * step, math.ceil(found.high / step) * step)


def range_sentence(found: ValueRange, used: ValueRange, *, is_float: bool) -> str:
    """Return a sentence on the values of the images and what becomes of them."""
    bits = int(found.high).bit_length()
    if is_float:
        values = f"pixels are numbers from {found.low:,g} to {found.high:,g}"
    elif used.low < 0:
        values = f"grey values are {found.low:,.0f} to {found.high:,.0f}"
    elif used.low > 0:
        values = f"grey values are {found.low:,.0f} to {found.high:,.0f} ({bits} bits)"
    else:
        return f"grey values up to {found.high:,.0f} are scaled from {max(bits, 8)} bits, alike in all images"
    return f"{values}: {used.low:,g} becomes black and {used.high:,g} white, alike in all images"


def _lower_limit(value: float) -> float:
    return -(2.0 ** math.ceil(math.log2(-value))) if value < 0 else 0.0


def _upper_limit(value: float, *, is_float: bool) -> float:
    if not is_float:
        return _BYTES.high if 0 <= value <= _BYTES.high else 2.0 ** max(int(value), 0).bit_length() - 1
    if value <= 0:
        return 0.0 if value < 0 else 1.0
    bits = math.ceil(math.log2(value))
    # Floats that were integers end at 255, 4,095 and so on.
    return 2.0**bits - 1 if bits >= 8 and value <= 2.0**bits - 1 else 2.0**bits


def _is_deep_colour(image: Image.Image) -> bool:
    raw_mode = _raw_mode(image)
    is_colour = raw_mode == _GREY_AND_ALPHA or (raw_mode.startswith("RGB") and not raw_mode.startswith("RGBa"))
    return is_colour and raw_mode[-4:] in _SWAPPED_ORDER


def _raw_mode(image: Image.Image) -> str:
    """Return how the pixels of an opened image are stored, such as RGB;16B; "" if unknown."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _loaded_as(data: bytes, raw_mode: str) -> np.ndarray:
    """Decode a file whose pixels are taken to be stored as `raw_mode`."""
    with Image.open(BytesIO(data), formats=PILLOW_FORMATS) as image:
        assert hasattr(image, "tile")
        image.tile = [
            tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
            for tile in image.tile
        ]
        return np.asarray(image)
