from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from labelaudit.data.images import (
    EXIF_ORIENTATION,
    _PixelBudget,
    decode_images,
    looks_like_image,
    quiet,
    read_header,
    why_unreadable,
)
from labelaudit.errors import StorageError
from support.encoded_images import encode, png_chunk, sixteen_bit_png


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
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def _big_jpeg(width, height):
    """A JPEG whose header claims another size."""
    data = bytearray(encode(Image.new("L", (64, 64), 200), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def test_an_image_of_the_right_size_keeps_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(_decode(encode(pixels), (6, 5)), pixels)


def test_a_very_wide_picture_keeps_its_ends():
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 200  # the centre square
    decoded = _decode(encode(pixels), (12, 12))
    assert decoded[6, 1].max() == decoded[6, 10].max() == 0
    assert decoded[6, 6].min() == 200


def test_shrinking_averages():
    pixels = np.indices((64, 64)).sum(axis=0) % 2 * 255  # a chess board of single pixels
    shrunk = _decode(encode(Image.fromarray(pixels.astype(np.uint8))), (8, 8), 1)
    assert np.abs(shrunk.astype(int) - 127).max() < 25


def test_a_large_jpeg_is_shrunk_like_a_png():
    gradient = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))
    image = Image.fromarray(gradient)
    from_jpeg = _decode(encode(image, "JPEG", quality=95), (16, 16), 1)
    from_png = _decode(encode(image), (16, 16), 1)
    assert np.abs(from_jpeg.astype(int) - from_png).max() <= 3


def test_exif_orientation_is_honoured():
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, 4:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # has to be turned a quarter clockwise
    data = encode(pixels, exif=exif)
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
    np.testing.assert_array_equal(_decode(encode(image)), np.full((4, 4, 3), expected))


def test_cmyk_floats_and_long_integers_are_decoded():
    white = _decode(encode(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG"))
    assert white.min() > 250
    unit = np.full((4, 4), 0.5, dtype=np.float32)
    np.testing.assert_array_equal(_decode(encode(unit, "TIFF")), np.full((4, 4, 3), 128))
    long = np.full((4, 4), 257 * 9, dtype=np.int32)
    np.testing.assert_array_equal(_decode(encode(long, "TIFF")), np.full((4, 4, 3), 9))


def test_colour_becomes_grey_where_one_channel_is_asked():
    assert _decode(encode(Image.new("RGB", (4, 4), (255, 255, 255))), channels=1).tolist() == [[[255]] * 4] * 4


@pytest.mark.parametrize("data", [None, b"", b"<!DOCTYPE html><html></html>", b"\x00" * 100, b"GIF8"])
def test_what_is_no_image_is_unreadable(data):
    assert _problem(data) in ("no bytes", "not an image of a known format")


def test_a_truncated_file_is_unreadable():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for format in ("PNG", "JPEG"):
        data = encode(pixels, format)
        assert "truncated" in _problem(data[: len(data) // 2])


@pytest.mark.parametrize(("width", "height"), [(9_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_not_decoded(width, height):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "pixels" in _problem(_huge_png(width, height)) or "format" in _problem(_huge_png(width, height))
        read_header(_huge_png(width, height))


def test_a_line_of_pixels_is_no_bomb():
    assert _decode(encode(Image.new("RGB", (100_000, 1), (5, 6, 7))), (64, 64))[0, 0].tolist() == [5, 6, 7]


def test_formats_that_start_other_programs_are_not_opened():
    assert _problem(encode(Image.new("RGB", (4, 4)), "EPS")) == "PostScript is not supported. Convert it to JPEG or PNG"


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
    data = bytearray(encode(Image.linear_gradient("L").resize((16, 16)).convert("RGB"), format))
    data[position % len(data)] = value
    decode_images([bytes(data)], 1, (4, 4), 3)


def test_magic_bytes_tell_images():
    image = Image.new("RGB", (4, 4))
    assert all(looks_like_image(encode(image, format)) for format in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"))
    assert not looks_like_image(b"RIFF1234WAVE")
    assert not looks_like_image(b"")
    assert looks_like_image(b"P5\n4 4\n255\n")
    assert not looks_like_image(b"P5a")
    assert looks_like_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_a_format_that_is_not_decoded_is_named():
    remedy = "is not supported. Convert it to JPEG or PNG"
    assert _problem(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == f"HEIC {remedy}"
    assert _problem(b"<svg/>") == f"SVG {remedy}"
    assert _problem(b"II*\0\x08\0\0\0\0\0") == f"this kind of TIFF {remedy}"
    assert why_unreadable(b"\0" * 128 + b"DICM") == f"DICOM {remedy}"


@pytest.mark.parametrize("tag", [{50706: b"\1\4\0\0"}, {254: 1}])
def test_the_preview_in_a_camera_raw_file_is_not_taken_for_the_picture(tag):
    data = encode(Image.new("RGB", (4, 4)), "TIFF", tiffinfo=tag)
    assert _problem(data) == "camera raw is not supported. Convert it to JPEG or PNG"


def test_the_first_frame_and_the_first_page_are_read():
    colours = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for format, followers in [("GIF", "frames"), ("PNG", "frames"), ("WEBP", "frames"), ("TIFF", "pages"), ("MPO", "")]:
        lossless = {"lossless": True} if format == "WEBP" else {}
        data = encode(colours[0], format, save_all=True, append_images=colours[1:], **lossless)
        assert read_header(data).followers == followers
        np.testing.assert_allclose(_decode(data)[0, 0], (255, 0, 0), atol=2)
        assert read_header(encode(colours[0], format)).followers == ""


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 2}, {"restart_marker_blocks": 1}])
def test_all_kinds_of_jpegs_are_read(options):
    np.testing.assert_allclose(
        _decode(encode(Image.new("RGB", (40, 40), (9, 99, 200)), "JPEG", **options))[0, 0], (9, 99, 200), atol=3
    )


def test_lab_and_few_bits_are_read():
    lab = Image.new("LAB", (4, 4), (255, 128, 128))
    assert _decode(encode(lab, "TIFF")).min() > 250
    two_colours = Image.new("RGB", (4, 4), (1, 2, 3)).quantize(2)
    for bits in (1, 2, 4):
        np.testing.assert_array_equal(_decode(encode(two_colours, bits=bits)), np.full((4, 4, 3), (1, 2, 3)))
    assert _decode(encode(Image.new("1", (4, 4), 1), "TIFF", compression="group4"), channels=1).min() == 255


@pytest.mark.parametrize("channels", [1, 3])
def test_a_white_logo_can_be_seen(channels):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[2:6, 2:6] = 255
    grey_and_alpha = Image.fromarray(pixels).convert("LA")
    palette = Image.fromarray(pixels).quantize(4)
    for image in (Image.fromarray(pixels), grey_and_alpha, palette):
        decoded = _decode(encode(image), (8, 8), channels)
        assert decoded[4, 4].min() == 255
        assert decoded[0, 0].max() == 0


def test_jpegs_may_be_large_because_they_are_shrunk_while_they_are_decoded():
    assert "pixels are more than" in _problem(_big_jpeg(16_000, 9_000))
    assert _decode(encode(Image.new("L", (9_000, 8_000), 200), "JPEG"), channels=1).min() == 200


def test_exif_orientation_turns_images_of_sixteen_bits():
    pixels = np.zeros((4, 8), dtype=np.uint16)
    pixels[:, 4:] = 65535
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = _decode(encode(pixels, exif=exif), (8, 4), 1)
    assert turned[:4].max() == 0
    assert turned[4:].min() == 255


_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")


@settings(max_examples=300, deadline=None)
@given(
    mode=st.sampled_from(_MODES),
    format=st.sampled_from(_FORMATS),
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]),
    orientation=st.integers(0, 9),
)
def test_every_mode_and_shape_is_decoded(mode, format, width, height, size, channels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new(mode, (width, height))
    try:
        data = encode(image, format, exif=exif)
    except (OSError, ValueError):  # the format has no such mode
        assume(False)
    _decode(data, size, channels)
    header = read_header(data)
    assert {header.width, header.height} == {width, height}


@settings(max_examples=100, deadline=None)
@given(
    colours=st.lists(st.tuples(*[st.integers(0, 65535)] * 4), min_size=1, max_size=20),
    kind=st.sampled_from(["grey", "grey and opacity", "colour", "colour and opacity"]),
    channels=st.sampled_from([1, 3]),
)
def test_every_depth_of_a_png_is_decoded(colours, kind, channels):
    chosen = {"grey": 0, "grey and opacity": [0, 3], "colour": [0, 1, 2], "colour and opacity": [0, 1, 2, 3]}[kind]
    values = np.array([colours])[..., chosen]
    decoded = _decode(sixteen_bit_png(values), (1, len(colours)), channels)
    if kind == "colour" and channels == 3:
        np.testing.assert_allclose(decoded, values / 257, atol=0.51)


def _tiff(mode, size, **tags):
    buffer = BytesIO()
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag.removeprefix("tag"))] = value
    Image.new(mode, size, 700 if mode.startswith("I") else 0).save(buffer, "TIFF", tiffinfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_turned_tiff_is_that_of_its_pixels(orientation):
    data = _tiff("L", (40, 10), tag274=orientation)
    header = read_header(data)
    with Image.open(BytesIO(data)) as image:
        assert (header.height, header.width) == ImageOps.exif_transpose(image).size[::-1]


def test_deep_tiff_with_white_as_zero_is_refused():
    _, problems = decode_images([_tiff("I;16", (4, 4), tag262=0)], 1, (4, 4), 1)
    assert "16 bits in which 0 is white" in problems[0]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_original_size_is_that_of_the_upright_image(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    data = encode(Image.new("RGB", (300, 100), "red"), format, exif=exif)
    sizes = np.zeros((2, 2), np.int32)
    decode_images([data, b"no image"], 2, (8, 8), 3, sizes=sizes)
    assert sizes.tolist() == [[300, 100] if orientation == 1 else [100, 300], [0, 0]]


def noise(generator: np.random.Generator, height: int, width: int) -> bytes:
    return encode(Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)), "PNG")


@pytest.mark.parametrize("side", [8, 150])
def test_threads_change_nothing(side: int) -> None:
    """Images of 8 pixels are decoded in the thread that asks, noise of 150 pixels in others."""
    generator = np.random.default_rng(0)
    images = [noise(generator, side, side + 1) for _ in range(30)]
    files = [*images[:7], None, *images[8:20], images[20][:60], b"no image", *images[22:]]
    sizes, sizes_in_threads = np.zeros((2, 30, 2), np.int32)
    pixels, problems = decode_images(files, 30, (16, 16), 3, sizes=sizes)
    again, problems_again = decode_images(iter(files), 30, (16, 16), 3, sizes=sizes_in_threads, threads=3)
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(sizes_in_threads, sizes)
    assert sizes[0].tolist() == [side + 1, side]
    assert problems_again == problems
    assert list(problems) == [7, 20, 21]


def test_an_error_of_the_files_ends_the_threads() -> None:
    def files() -> Iterator[bytes]:
        for _ in range(5):
            yield noise(np.random.default_rng(0), 150, 150)
        raise StorageError("The storage does not answer.")

    before = set(threading.enumerate())
    with pytest.raises(StorageError, match="does not answer"):
        decode_images(files(), 9, (16, 16), 3, threads=3)
    assert set(threading.enumerate()) <= before


def test_threads_decode_no_more_pixels_at_once_than_the_largest_image_has() -> None:
    budget = _PixelBudget(10)
    used, most = 0, 0
    lock = threading.Lock()

    def work(pixels: int) -> None:
        nonlocal used, most
        with budget.take(pixels):
            with lock:
                used += pixels
                most = max(most, used)
            with lock:
                used -= pixels

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, [1, 10, 4, 6, 3, 9, 10, 2] * 50))
    assert used == 0
    assert most == 10


def test_only_warnings_about_images_are_hidden() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            warnings.warn_explicit("a broken file", UserWarning, "Image.py", 1, module="PIL.Image")
            with pytest.raises(ResourceWarning):
                warnings.warn_explicit("unclosed file", ResourceWarning, "local.py", 1, module="fsspec.local")
