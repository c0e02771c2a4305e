"""Encoded images to pixel arrays of one size. No image raises an error."""

from __future__ import annotations

import contextlib
import itertools
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from io import BytesIO
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from labelaudit.data.image_depth import (
    FULL_RANGES,
    DepthMeasure,
    RangeError,
    ValueRanges,
    deep_values,
    has_grey_and_alpha,
    is_deep,
    to_eight_bits,
    unusual_tiff,
)
from labelaudit.data.image_fit import fitted
from labelaudit.data.image_formats import PILLOW_FORMATS, is_decodable, is_tiff, other_format
from labelaudit.data.transparency import over_background
from labelaudit.read_ahead import mapped_ahead

# A damaged or hostile header may claim any number of pixels. Few photographs have more than these.
_MAX_PIXELS = 64_000_000
# A JPEG is shrunk while it is decoded. Phones make pictures of 108 megapixels.
_MAX_JPEG_PIXELS = 128_000_000
# Encoded bytes that a thread decodes at a time. If these are more images, they are small, and half of their time is
# spent in Python, which one thread at a time can run.
_PORTION_BYTES, _MOST_IN_PORTION = 2**16, 4
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
EXIF_ORIENTATION = 0x0112
_TIFF_SUBFILE, _REDUCED = 254, 1
_TIFF_DNG_VERSION = 50706

_Portion = list[bytes | None]


class Header(NamedTuple):
    """What is known of an image before it is decoded: size, colour, depth, and whether more images follow."""

    height: int
    width: int
    is_grey: bool
    is_deep: bool  # more than 8 bits per value
    followers: str  # frames (of an animation), pages (of a TIFF), or ""


def looks_like_image(data: bytes) -> bool:
    """Return whether the first bytes are those of an image format, decodable or not."""
    return is_decodable(data) or other_format(data) is not None


def read_header(data: bytes | BinaryIO) -> Header | None:
    """Return what the header says, with the size after EXIF orientation; None if the image cannot be read."""
    with quiet():
        try:
            with Image.open(BytesIO(data) if isinstance(data, bytes) else data, formats=PILLOW_FORMATS) as image:
                width, height = image.size
                is_grey, has_depth = image.mode in GREY_MODES or has_grey_and_alpha(image), is_deep(image)
                # It comes last, because the EXIF of a PNG may follow the pixels, which are then loaded.
                # Pillow turns TIFF images when it opens them.
                if _orientation(image) >= 5 and image.format != "TIFF":
                    width, height = height, width
                return Header(height, width, is_grey, has_depth, _followers(image))
        except Exception:  # Pillow's decoders raise errors of any type for broken files
            return None


def measure_depth(data: bytes, measure: DepthMeasure) -> None:
    """Add the values of an image to a measure if it has more than 8 bits and can be read."""
    # As above: a broken image gets a status when it is decoded.
    with quiet(), contextlib.suppress(Exception), Image.open(BytesIO(data), formats=PILLOW_FORMATS) as image:
        _check_content(image)
        if is_deep(image):
            measure.add(deep_values(image, data))


def decode_images(
    encoded: Iterable[bytes | None],
    count: int,
    size: tuple[int, int],
    channels: int,
    ranges: ValueRanges = FULL_RANGES,
    sizes: np.ndarray | None = None,
    *,
    threads: int = 1,
) -> tuple[np.ndarray, dict[int, str]]:
    """Decode images to one size, cropped to its shape or letterboxed (`labelaudit.data.image_fit`).

    Args:
        encoded: `count` files as bytes; None or empty if there is none. They are read shortly before they are decoded.
        count: n, the number of images.
        size: (height, width) of the result.
        channels: 1 (grey) or 3 (RGB).
        ranges: black and white of images with more than 8 bits, the same for all images of a dataset.
        sizes: (n, 2) int32, takes the original width and height of each image that can be read.
        threads: images that are decoded side by side unless they are small. The result is the same.

    Returns:
        Pixels, (n, height, width, channels) uint8, zeros if unreadable; and the reasons, by position.
    """
    pixels = np.zeros((count, *size, channels), dtype=np.uint8)
    problems: dict[int, str] = {}

    def decode(portion: _Portion) -> list[_Decoded | str]:
        return [_decoded(data, size, channels, ranges) for data in portion]

    # Around all threads, because a thread cannot hide warnings for itself alone.
    with quiet(), contextlib.closing(_in_threads(decode, _portions(encoded), threads)) as portions:
        for index, decoded in enumerate(itertools.chain.from_iterable(portions)):
            if isinstance(decoded, str):
                problems[index] = decoded
                continue
            pixels[index] = decoded.pixels
            if sizes is not None:
                sizes[index] = decoded.original
    return pixels, problems


def _in_threads(
    decode: Callable[[_Portion], list[_Decoded | str]], portions: Iterator[_Portion], threads: int
) -> Generator[list[_Decoded | str], None, None]:
    first = next(portions, [])
    portions = itertools.chain([first], portions)
    if threads == 1 or sum(map(bool, first)) > _MOST_IN_PORTION:
        yield from (decode([data]) for portion in portions for data in portion)
    else:
        yield from mapped_ahead(decode, portions, threads, threads)


def _portions(encoded: Iterable[bytes | None]) -> Iterator[_Portion]:
    portion: _Portion = []
    size = 0
    for data in encoded:
        portion.append(data)
        size += len(data or b"")
        if size >= _PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def decode_image(
    data: bytes | None, size: tuple[int, int], channels: int, ranges: ValueRanges = FULL_RANGES
) -> np.ndarray | str:
    """Decode one image as `decode_images` does; several threads may do so at once.

    Callers use `quiet` around all threads, because a thread cannot hide warnings for itself alone.

    Returns:
        Pixels, (height, width, channels) uint8, or why the image cannot be read.
    """
    decoded = _decoded(data, size, channels, ranges)
    return decoded if isinstance(decoded, str) else decoded.pixels


def why_unreadable(data: bytes | None) -> str:
    """Return why the header of an image cannot be read, as text for people."""
    return decode_images([data], 1, (1, 1), 1)[1].get(0, "its header is damaged")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings about broken files, which are reported as statuses."""
    with warnings.catch_warnings():
        # Not those of storage, whose files may be read meanwhile.
        warnings.filterwarnings("ignore", module=r"PIL\.|labelaudit\.data\.image")
        yield


class _Decoded(NamedTuple):
    pixels: np.ndarray
    original: tuple[int, int]  # width and height of the upright image in its file


def _decoded(data: bytes | None, size: tuple[int, int], channels: int, ranges: ValueRanges) -> _Decoded | str:
    try:
        return _decode(data, size, channels, ranges)
    except Exception as error:  # as above; a broken image gets a status
        return _reason(error, data)


class _PixelBudget:
    """Lets threads decode only as many pixels at once as the largest image has, so that they need no more memory."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels are left, at most those of the budget, and use them."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()


_budget = _PixelBudget(_MAX_PIXELS)


class _DecodeError(Exception):
    """Why bytes are not decoded, as text for people."""


def _decode(data: bytes | None, size: tuple[int, int], channels: int, ranges: ValueRanges) -> _Decoded:
    if not data:
        raise _DecodeError("no bytes")
    height, width = size
    with Image.open(BytesIO(data), formats=PILLOW_FORMATS) as image:
        _check_content(image)
        original = image.size
        # JPEG can be decoded at 1/8 to 1/2 of its size. Twice the target size loses nothing visible.
        longer = 2 * max(height, width)
        image.draft(None, (longer, longer))
        _check_pixels(image, _MAX_PIXELS)
        with _budget.take(image.width * image.height):
            upright = _upright(image, _eight_bits(image, data, ranges))
            if upright.size != image.size:
                original = original[1], original[0]
            flat = _flatten(upright, "L" if channels == 1 else "RGB")
            pixels = np.asarray(fitted(flat, (width, height)), dtype=np.uint8).reshape(height, width, channels)
        return _Decoded(pixels, original)


def _check_content(image: Image.Image) -> None:
    _check_pixels(image, _MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else _MAX_PIXELS)
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and (_TIFF_DNG_VERSION in tags or tags.get(_TIFF_SUBFILE) == _REDUCED):
        raise _DecodeError(_not_supported("camera raw"))
    if image.format == "TIFF" and (kind := unusual_tiff(image)):
        raise _DecodeError(_not_supported(kind))


def _check_pixels(image: Image.Image, limit: int) -> None:
    if image.width * image.height > limit:
        raise _DecodeError(f"{image.width}x{image.height} pixels are more than {limit:,}")


def _eight_bits(image: Image.Image, data: bytes, ranges: ValueRanges) -> Image.Image:
    if not is_deep(image):
        return image
    scaled = Image.fromarray(to_eight_bits(deep_values(image, data), ranges))
    if image.mode == "RGBA":
        scaled.putalpha(image.getchannel("A"))
    return scaled


def _upright(image: Image.Image, pixels: Image.Image) -> Image.Image:
    """Return the pixels as the EXIF orientation of the opened image says."""
    orientation = _orientation(image)
    if orientation <= 1:
        return pixels
    pixels.getexif()[EXIF_ORIENTATION] = orientation
    return ImageOps.exif_transpose(pixels)


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in a mode without transparency."""
    if image.has_transparency_data:
        image = over_background(image.convert("RGBA"), mode)
    elif image.mode == "LAB":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # broken EXIF does not mean broken pixels
        return 1
    return value if isinstance(value, int) else 1


def _followers(image: Image.Image) -> str:
    """Return what follows the first image of a file. An MPO is a photograph with its previews, so nothing counts."""
    kinds = {"GIF": "frames", "PNG": "frames", "WEBP": "frames", "TIFF": "pages"}
    try:
        return kinds.get(image.format or "", "") if getattr(image, "is_animated", False) else ""
    except Exception:  # a broken second frame does not mean a broken first one
        return ""


def _reason(error: Exception, data: bytes | None) -> str:
    if isinstance(error, (_DecodeError, RangeError)):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return _why_unidentified(data or b"")
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {_MAX_PIXELS:,} pixels"
    return f"cannot be decoded: {' '.join(str(error).split())[:120] or type(error).__name__}"


def _why_unidentified(data: bytes) -> str:
    name = other_format(data)
    if name is not None:
        return _not_supported(name)
    if is_tiff(data):
        return f"this kind of {_not_supported('TIFF')}"
    return "not an image of a known format"


def _not_supported(format: str) -> str:
    return f"{format} is not supported. Convert it to JPEG or PNG"
