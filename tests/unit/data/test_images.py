from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelaudit.data.images import decode_images, looks_like_image, read_header


def _encode(image, format="PNG", **kwargs):
    buffer = BytesIO()
    image.save(buffer, format, **kwargs)
    return buffer.getvalue()


def _decode(data, size=(4, 4), channels=3):
    pixels, problems = decode_images([data], 1, size, channels)
    assert problems == {}
    assert pixels.dtype == np.uint8
    assert pixels.shape == (1, *size, channels)
    return pixels[0]


def _problem(data, size=(4, 4)):
    pixels, problems = decode_images([data], 1, size, 3)
    assert not pixels.any()
    return problems[0]


def _huge_png(width, height):
    """A valid header that promises far more pixels than the file contains."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def test_an_image_of_the_right_size_keeps_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(_decode(_encode(Image.fromarray(pixels)), (6, 5)), pixels)


def test_the_centre_is_kept_and_the_shorter_side_fits():
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 200  # the centre square
    np.testing.assert_array_equal(_decode(_encode(Image.fromarray(pixels))), np.full((4, 4, 3), 200))


def test_shrinking_averages():
    pixels = np.indices((64, 64)).sum(axis=0) % 2 * 255  # a chess board of single pixels
    shrunk = _decode(_encode(Image.fromarray(pixels.astype(np.uint8))), (8, 8), 1)
    assert np.abs(shrunk.astype(int) - 127).max() < 25


def test_a_large_jpeg_is_shrunk_like_a_png():
    gradient = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))
    image = Image.fromarray(gradient)
    from_jpeg = _decode(_encode(image, "JPEG", quality=95), (16, 16), 1)
    from_png = _decode(_encode(image), (16, 16), 1)
    assert np.abs(from_jpeg.astype(int) - from_png).max() <= 3


def test_exif_orientation_is_honoured():
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, 4:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # has to be turned a quarter clockwise
    data = _encode(Image.fromarray(pixels), exif=exif)
    header = read_header(data)
    assert (header.height, header.width) == (8, 4)
    turned = _decode(data, (8, 4))
    assert turned[:4].max() == 0
    assert turned[4:].min() == 255


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (4, 4), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (4, 4), (10, 255)), (10, 10, 10)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGB", (4, 4), (1, 2, 3)).quantize(2), (1, 2, 3)),
        (Image.fromarray(np.full((4, 4), 65535, dtype=np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 257 * 7, dtype=np.uint16)), (7, 7, 7)),
    ],
)
def test_every_mode_becomes_eight_bits_over_white(image, expected):
    np.testing.assert_array_equal(_decode(_encode(image)), np.full((4, 4, 3), expected))


def test_cmyk_floats_and_long_integers_are_decoded():
    white = _decode(_encode(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG"))
    assert white.min() > 250
    unit = Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32))
    np.testing.assert_array_equal(_decode(_encode(unit, "TIFF")), np.full((4, 4, 3), 128))
    small = Image.fromarray(np.full((4, 4), 9, dtype=np.int32))
    np.testing.assert_array_equal(_decode(_encode(small, "TIFF")), np.full((4, 4, 3), 9))


def test_colour_becomes_grey_where_one_channel_is_asked():
    assert _decode(_encode(Image.new("RGB", (4, 4), (255, 255, 255))), channels=1).tolist() == [[[255]] * 4] * 4


@pytest.mark.parametrize("data", [None, b"", b"<!DOCTYPE html><html></html>", b"\x00" * 100, b"GIF8"])
def test_what_is_no_image_is_unreadable(data):
    assert _problem(data) in ("no bytes", "not an image of a known format")


def test_a_truncated_file_is_unreadable():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for format in ("PNG", "JPEG"):
        data = _encode(Image.fromarray(pixels), format)
        assert "truncated" in _problem(data[: len(data) // 2])


@pytest.mark.parametrize(("width", "height"), [(9_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_not_decoded(width, height):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "pixels" in _problem(_huge_png(width, height)) or "format" in _problem(_huge_png(width, height))
        read_header(_huge_png(width, height))


def test_a_line_of_pixels_is_no_bomb():
    assert _decode(_encode(Image.new("RGB", (100_000, 1), (5, 6, 7))), (64, 64))[0, 0].tolist() == [5, 6, 7]


def test_formats_that_start_other_programs_are_not_opened():
    assert _problem(_encode(Image.new("RGB", (4, 4)), "EPS")) == "PostScript is not supported. Convert it to JPEG or PNG"


@settings(max_examples=200)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\x00", b"BM"]),
)
def test_no_bytes_make_decoding_raise(tail, magic):
    pixels, problems = decode_images([magic + tail], 1, (4, 4), 3)
    assert problems.keys() == {0} or pixels.shape == (1, 4, 4, 3)
    read_header(magic + tail)


@settings(max_examples=100)
@given(
    position=st.integers(0, 10_000),
    value=st.integers(0, 255),
    format=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "WEBP"]),
)
def test_a_damaged_image_never_raises(position, value, format):
    data = bytearray(_encode(Image.linear_gradient("L").resize((16, 16)).convert("RGB"), format))
    data[position % len(data)] = value
    decode_images([bytes(data)], 1, (4, 4), 3)


def test_magic_bytes_tell_images():
    image = Image.new("RGB", (4, 4))
    assert all(looks_like_image(_encode(image, format)) for format in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"))
    assert not looks_like_image(b"RIFF1234WAVE")
    assert not looks_like_image(b"")
