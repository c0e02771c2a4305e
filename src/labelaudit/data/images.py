"""Encoded images to pixel arrays of one size. No image raises an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# A damaged or hostile header may claim any number of pixels. Photographs have fewer than these.
_MAX_PIXELS = 64_000_000
# Only formats that Pillow decodes by itself. Others start programs or read more files.
PILLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
EXIF_ORIENTATION = 0x0112
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")


class Header(NamedTuple):
    """Size and colour of an image, known before it is decoded."""

    height: int
    width: int
    is_grey: bool


def looks_like_image(data: bytes) -> bool:
    """Return whether the first bytes are those of an image format."""
    return data.startswith(MAGIC) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def read_header(data: bytes | BinaryIO) -> Header | None:
    """Return size and colour of an image, with its EXIF orientation applied; None if it cannot be read."""
    with quiet():
        try:
            with Image.open(BytesIO(data) if isinstance(data, bytes) else data, formats=PILLOW_FORMATS) as image:
                width, height = image.size
                if _orientation(image) >= 5:
                    width, height = height, width
                return Header(height, width, image.mode in GREY_MODES)
        except Exception:  # Pillow's decoders raise errors of any type for broken files
            return None


def decode_images(
    encoded: Iterable[bytes | None], count: int, size: tuple[int, int], channels: int
) -> tuple[np.ndarray, dict[int, str]]:
    """Decode images to one size: scale the shorter side to fit, crop to the centre.

    Args:
        encoded: `count` files as bytes, read one at a time; None or empty if there is none.
        count: n, the number of images.
        size: (height, width) of the result.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        Pixels, (n, height, width, channels) uint8, zeros if unreadable; and the reasons, by position.
    """
    pixels = np.zeros((count, *size, channels), dtype=np.uint8)
    problems: dict[int, str] = {}
    for index, data in enumerate(encoded):
        with quiet():
            try:
                pixels[index] = _decode(data, size, channels)
            except Exception as error:  # as above; a broken image gets a status
                problems[index] = _reason(error)
    return pixels, problems


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings about broken files, which are reported as statuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _DecodeError(Exception):
    """Why bytes are not decoded, as text for people."""


def _decode(data: bytes | None, size: tuple[int, int], channels: int) -> np.ndarray:
    if not data:
        raise _DecodeError("no bytes")
    height, width = size
    with Image.open(BytesIO(data), formats=PILLOW_FORMATS) as image:
        if image.width * image.height > _MAX_PIXELS:
            raise _DecodeError(f"{image.width}x{image.height} pixels are more than {_MAX_PIXELS:,}")
        # JPEG can be decoded at 1/8 to 1/2 of its size. Twice the target size loses nothing visible.
        longer = 2 * max(height, width)
        image.draft(None, (longer, longer))
        upright = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        flat = _flatten(upright, "L" if channels == 1 else "RGB")
        if flat.size != (width, height):
            flat = ImageOps.fit(flat, (width, height), method=Image.Resampling.BILINEAR)
        return np.asarray(flat, dtype=np.uint8).reshape(height, width, channels)


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """Return the image with 8 bits and without transparency, on white."""
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        if image.mode == "F" and values.max() <= 1:
            values *= 255
        elif image.mode.startswith("I;16") or values.max() > 255:
            values /= 257
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # broken EXIF does not mean broken pixels
        return 1
    return value if isinstance(value, int) else 1


def _reason(error: Exception) -> str:
    if isinstance(error, _DecodeError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {_MAX_PIXELS:,} pixels"
    return f"cannot be decoded: {' '.join(str(error).split())[:120] or type(error).__name__}"
