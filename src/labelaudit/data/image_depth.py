"""Images with more than 8 bits: the range of their values in a dataset, and how they are scaled to 8 bits by it."""

from __future__ import annotations

import math
import sys
from array import array
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from labelaudit.data.image_formats import PILLOW_FORMATS


class ValueRange(NamedTuple):
    """The values that become black (0) and white (255).

    If nearly all values are in a small part of the range, `usual` has its limits. It gets three quarters of the shades.
    """

    low: float
    high: float
    usual: tuple[float, float] | None = None


class Extent(NamedTuple):
    """Smallest and largest value of an image, and the limits of all but 1 % at each end."""

    low: float
    high: float
    usual_low: float
    usual_high: float


class ValueRanges(NamedTuple):
    """The ranges of a dataset's images with more than 8 bits; None if there are none of this kind."""

    integers: ValueRange | None = None
    floats: ValueRange | None = None


# All values of 16 bits and the usual range of floats, if no other range is known.
FULL_RANGES = ValueRanges(ValueRange(0, 2**16 - 1), ValueRange(0, 1))
NO_RANGES = ValueRanges()
_BYTES = ValueRange(0, 255)
# A smaller share of the range is less than 32 of 256 grey values.
_NARROW = 1 / 8
# Nearly all values are in such a share of the range: 12 of 16 bits, for example.
_DARK = 1 / 16 * 1.01
_VALUES_AT_ONCE = 1 << 20  # the scaled values of a large image would need four times the memory of its pixels

# Pillow keeps the first byte of 16-bit colours. A decoder for the other byte order keeps the second one.
_NATIVE_SWAPPED = ";16B" if sys.byteorder == "little" else ";16L"
_GREY_AND_ALPHA = "LA;16B"
# Tags of TIFF, and their values that Pillow ignores if an image has more than 8 bits.
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANES = 258, 262, 284
_WHITE_IS_ZERO = 0
_SEPARATE = 2
_SWAPPED_ORDER = {";16B": ";16L", ";16L": ";16B", ";16N": _NATIVE_SWAPPED}


class RangeError(Exception):
    """Values that do not fit into the range of the dataset, as text for people."""


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened image, not yet loaded, has more than 8 bits per value."""
    return image.mode.startswith(("I", "F")) or _is_deep_colour(image)


def unusual_tiff(image: Image.Image) -> str | None:
    """Return what a deep TIFF image is if Pillow misreads its values without an error; else None."""
    tags = getattr(image, "tag_v2", {})
    depths = tags.get(_TIFF_BITS, (1,))
    bits = max(depths)
    if bits <= 8:
        return None
    if tags.get(_TIFF_PLANES) == _SEPARATE and len(depths) > 1:
        return f"TIFF with {bits} bits and separate colour planes"
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return f"TIFF with {bits} bits in which 0 is white"
    return None


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
    """Return values as uint8, scaled by the range of the dataset. NaN becomes black.

    Raises:
        RangeError: a value is outside of the range, or no range is known.
    """
    known = _known_range(values, ranges)
    finite = _finite(values)
    if finite.size and (finite.min() < known.low or finite.max() > known.high):
        raise RangeError(
            f"its values, {finite.min():,g} to {finite.max():,g}, are outside of {known.low:,g} to {known.high:,g}, "
            "the range of the dataset"
        )
    pixels = np.empty(values.shape, np.uint8)
    rows = max(1, _VALUES_AT_ONCE // max(1, values[0].size))
    steps, shades = _curve(known)
    for start in range(0, len(values), rows):
        scaled = np.interp(values[start : start + rows], steps, shades)
        pixels[start : start + rows] = np.nan_to_num(scaled, copy=False, nan=0).round()
    return pixels


def _known_range(values: np.ndarray, ranges: ValueRanges) -> ValueRange:
    """Return the range of the dataset or, if no sampled image was deep, the full range if the image itself uses it."""
    is_float = values.dtype.kind == "f"
    known, full = (pair[is_float] for pair in (ranges, FULL_RANGES))
    if known is not None:
        return known
    found = extent_of(values)
    if found is not None and rounded(ValueRange(found.low, found.high), is_float=is_float) == full:
        return full
    kind = "numbers with fractions" if is_float else "values of more than 8 bits"
    raise RangeError(f"its pixels are {kind}, unlike those of the sampled images. Convert it to 8 bits")


def extent_of(values: np.ndarray) -> Extent | None:
    """Return the extent of the finite values of an image; None if there is none."""
    values = _finite(values)
    if not values.size:
        return None
    some = values.reshape(-1)[:: 1 + values.size // _VALUES_AT_ONCE]
    usual_low, usual_high = np.quantile(some, (0.01, 0.99), method="nearest")
    return Extent(float(values.min()), float(values.max()), float(usual_low), float(usual_high))


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


class DepthMeasure:
    """Collects the extents of a dataset's deep images, of integers and of floats."""

    def __init__(self) -> None:
        self._extents = {is_float: array("d") for is_float in (False, True)}

    def __bool__(self) -> bool:
        return any(self._extents.values())

    def add(self, values: np.ndarray) -> None:
        found = extent_of(values)
        if found is not None:
            self._extents[values.dtype.kind == "f"].extend(found)

    def ranges(self) -> ValueRanges:
        """Return the ranges that all values fit into."""
        integers, floats = (self._range(is_float=is_float) for is_float in (False, True))
        return ValueRanges(integers, floats)

    def sentences(self) -> list[str]:
        return [
            range_sentence(ValueRange(extents[:, 0].min(), extents[:, 1].max()), used, is_float=is_float)
            for is_float, used in zip((False, True), self.ranges(), strict=True)
            if used is not None and (extents := self._table(is_float=is_float)).size
        ]

    def _table(self, *, is_float: bool) -> np.ndarray:
        return np.array(self._extents[is_float]).reshape(-1, 4)

    def _range(self, *, is_float: bool) -> ValueRange | None:
        extents = self._table(is_float=is_float)
        if not len(extents):
            return None
        whole = rounded(ValueRange(extents[:, 0].min(), extents[:, 1].max()), is_float=is_float)
        # A few images with dead pixels, written marks or fill values must not make all others black.
        low = np.quantile(extents[:, 2], 0.05, method="higher")
        high = np.quantile(extents[:, 3], 0.95, method="lower")
        usual = rounded(ValueRange(min(low, high), max(low, high)), is_float=is_float)
        if (usual.high - usual.low) > (whole.high - whole.low) * _DARK:
            return whole
        return whole._replace(usual=(max(usual.low, whole.low), min(usual.high, whole.high)))


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
        values = f"grey values up to {found.high:,.0f} are scaled from {max(bits, 8)} bits"
        return f"{values}, alike in all images{_usual_clause(used)}"
    return f"{values}: {used.low:,g} becomes black and {used.high:,g} white, alike in all images{_usual_clause(used)}"


def _usual_clause(used: ValueRange) -> str:
    if used.usual is None:
        return ""
    return f"; nearly all are {used.usual[0]:,g} to {used.usual[1]:,g} and get three quarters of the shades"


def _curve(used: ValueRange) -> tuple[list[float], list[int]]:
    """Return values and their shades. Shades in between are interpolated."""
    if used.usual is None:
        return [used.low, used.high], [0, 255]
    below, above = used.usual[0] > used.low, used.usual[1] < used.high
    rest = 32 if below and above else 64
    inner = [rest if below else 0, 255 - rest if above else 255]
    steps = [used.low] * below + list(used.usual) + [used.high] * above
    return steps, [0] * below + inner + [255] * above


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
