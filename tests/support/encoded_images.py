"""Image files as bytes, also of kinds that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image


def encode(image: Image.Image | np.ndarray, format: str = "PNG", **options: object) -> bytes:
    """Return a picture, or an array of a dtype that Pillow knows, as a file."""
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """Return (H, W) grey or (H, W, C) values as a PNG: C is 2 (grey, opacity), 3 (RGB) or 4 (RGB, opacity)."""
    height, width = values.shape[:2]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def sixteen_bit_tiff(values: np.ndarray, *, order: str = "<", kind: int = 1) -> bytes:
    """Return (H, W) or (H, W, C) values as an uncompressed TIFF; kind 1 is unsigned, 2 signed."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    pixels = values.astype(f"{order}{'u' if kind == 1 else 'i'}2").tobytes()
    offset = 8
    extra = offset + len(pixels)
    per_channel = struct.pack(f"{order}{channels}H", *[16] * channels)
    formats = struct.pack(f"{order}{channels}H", *[kind] * channels)

    def entry(tag: int, type_: int, count: int, value: int) -> bytes:
        # Short values stand at the start of the field, in either byte order.
        packed = struct.pack(f"{order}HH", value, 0) if type_ == 3 and count == 1 else struct.pack(f"{order}I", value)
        return struct.pack(f"{order}HHI", tag, type_, count) + packed

    def shorts(tag: int, count: int, value: int, position: int) -> bytes:
        if count == 1:
            return entry(tag, 3, 1, value)
        return entry(tag, 3, count, position)

    entries = [
        entry(256, 4, 1, width),
        entry(257, 4, 1, height),
        shorts(258, channels, 16, extra),
        entry(259, 3, 1, 1),
        entry(262, 3, 1, 2 if channels >= 3 else 1),
        entry(273, 4, 1, offset),
        entry(277, 3, 1, channels),
        entry(278, 4, 1, height),
        entry(279, 4, 1, len(pixels)),
        shorts(339, channels, kind, extra + len(per_channel)),
    ]
    directory = extra + len(per_channel) + len(formats)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, directory)
    body = pixels + per_channel + formats
    return head + body + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}I", 0)
