from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.data.image_depth import (
    NO_RANGES,
    DepthMeasure,
    ValueRange,
    ValueRanges,
    extent_of,
    range_sentence,
    rounded,
    to_eight_bits,
)
from labelaudit.data.images import decode_images, measure_depth, read_header
from support.encoded_images import encode, sixteen_bit_png, sixteen_bit_tiff

TWELVE_BITS = ValueRanges(integers=ValueRange(0, 4095))


def _decoded(data, ranges, channels=1, size=(2, 2)):
    pixels, problems = decode_images([data], 1, size, channels, ranges)
    assert problems == {}
    return pixels[0]


def _measured(*images):
    measure = DepthMeasure()
    for data in images:
        measure_depth(data, measure)
    return measure.ranges()


def _sentences(arrays):
    measure = DepthMeasure()
    for values in arrays:
        measure.add(values)
    return measure.sentences()


def _problem(data, ranges):
    pixels, problems = decode_images([data], 1, (2, 2), 1, ranges)
    assert not pixels.any()
    return problems[0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 4095, (0, 4095)),
        (0, 4096, (0, 8191)),
        (3, 1000, (0, 1023)),
        (0, 65535, (0, 65535)),
        (0, 9, (0, 255)),  # bytes in a larger container stay as they are
        (200, 210, (0, 255)),
        (0, 0, (0, 255)),
        (-1024, 3071, (-1024, 4095)),  # Hounsfield units
        (-1000, 20, (-1024, 255)),
        (-500, -100, (-512, 0)),
        (27_300, 31_000, (26_624, 31_744)),  # hundredths of a kelvin
        (0, 2**20, (0, 2**21 - 1)),
    ],
)
def test_integers_are_scaled_from_whole_bits(low, high, expected):
    assert rounded(ValueRange(low, high), is_float=False) == ValueRange(*expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, (0, 1)),
        (0, 0.9, (0, 1)),
        (0, 0.01, (0, 2**-6)),
        (0, 2.5, (0, 4)),
        (0, 255, (0, 255)),
        (0, 255.5, (0, 256)),
        (0, 65535, (0, 65535)),
        (-1, 1, (-1, 1)),
        (-3.7, 5.2, (-4, 8)),
        (0, 0, (0, 1)),
        (-2, -1.5, (-2, 0)),
        (290, 300, (288, 300)),
    ],
)
def test_floats_are_scaled_from_powers_of_two(low, high, expected):
    assert rounded(ValueRange(low, high), is_float=True) == ValueRange(*expected)


@settings(max_examples=300)
@given(
    ends=st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(-1e6, 1e6, width=32)),
    is_float=st.booleans(),
)
def test_a_range_holds_the_values_and_wastes_little(ends, is_float):
    low, high = sorted(ends if is_float else [float(int(max(min(end, 2**31 - 1), -(2**31)))) for end in ends])
    used = rounded(ValueRange(low, high), is_float=is_float)
    assert used.low <= low <= high <= used.high
    assert used.low < used.high
    if high > low and used != ValueRange(0, 255):
        assert (high - low) * 8 >= (used.high - used.low) * 0.99


@settings(max_examples=200)
@given(
    values=st.lists(st.integers(0, 65535), min_size=2, max_size=40),
    dtype=st.sampled_from(["uint16", "int32", "float32"]),
)
def test_the_order_of_brightness_is_kept_and_large_differences_survive(values, dtype):
    array = np.array([values], dtype)
    is_float = dtype == "float32"
    used = rounded(ValueRange(*extent_of(array)[:2]), is_float=is_float)
    pixels = to_eight_bits(array, ValueRanges(None, used) if is_float else ValueRanges(used))[0]
    order = np.argsort(values, kind="stable")
    assert (np.diff(pixels[order].astype(int)) >= 0).all()
    step = (used.high - used.low) / 255
    apart = np.diff(np.array(values)[order]) > 1.01 * step
    assert (np.diff(pixels[order].astype(int))[apart] > 0).all()


def test_twelve_bits_fill_eight():
    grey = np.array([[0, 1028], [2056, 4095]], dtype=np.uint16)
    assert _decoded(encode(grey), TWELVE_BITS)[..., 0].tolist() == [[0, 64], [128, 255]]


def test_two_images_are_scaled_alike():
    dark, bright = (np.full((2, 2), value, dtype=np.uint16) for value in (980, 1060))
    assert _decoded(encode(dark), TWELVE_BITS)[0, 0, 0] == 61
    assert _decoded(encode(bright), TWELVE_BITS)[0, 0, 0] == 66


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_twelve_bits_keep_them(channels):
    colours = np.random.default_rng(0).integers(0, 4096, (2, 2, 3))
    opaque = np.full((2, 2, 1), 65535)
    values = colours if channels == 3 else np.concatenate([colours, opaque], axis=2)
    expected = np.round(colours * 255 / 4095)
    tiffs = [sixteen_bit_tiff(values[..., :3], order=order) for order in "<>"]
    for data in (sixteen_bit_png(values), *tiffs):
        assert read_header(data).is_deep
        np.testing.assert_allclose(_decoded(data, TWELVE_BITS, channels=3), expected, atol=0.51)
        assert _measured(data).integers == rounded(ValueRange(colours.min(), colours.max()), is_float=False)


def test_compressed_tiffs_keep_twelve_bits():
    grey = np.array([[0, 1028], [2056, 4095]], dtype=np.uint16)
    data = encode(grey, "TIFF", compression="tiff_lzw")
    assert _decoded(data, TWELVE_BITS)[..., 0].tolist() == [[0, 64], [128, 255]]


def test_grey_and_opacity_of_sixteen_bits():
    values = np.stack([np.full((2, 2), 1028), np.full((2, 2), 65535)], axis=2)
    data = sixteen_bit_png(values)
    assert read_header(data).is_grey
    assert _decoded(data, TWELVE_BITS)[..., 0].tolist() == [[64, 64]] * 2
    invisible = np.stack([np.full((2, 2), 1028), np.zeros((2, 2))], axis=2)
    assert _decoded(sixteen_bit_png(invisible), TWELVE_BITS).min() == 255


def test_signed_values_are_scaled_from_their_lower_limit():
    values = np.array([[-1024, 0], [1000, 3071]])
    data = sixteen_bit_tiff(values, kind=2)
    assert _measured(data) == ValueRanges(integers=ValueRange(-1024, 4095))
    pixels = _decoded(data, _measured(data))
    assert pixels[..., 0].tolist() == [[0, 51], [101, 204]]


def test_floats_are_scaled_by_their_own_range_and_nan_is_black():
    values = np.array([[0, 0.5], [1, np.nan]], dtype=np.float32)
    ranges = ValueRanges(TWELVE_BITS.integers, ValueRange(0, 1))
    assert _decoded(encode(values, "TIFF"), ranges)[..., 0].tolist() == [[0, 128], [255, 0]]
    assert _measured(encode(values, "TIFF")) == ValueRanges(floats=ValueRange(0, 1))


def test_images_of_eight_bits_have_no_range():
    data = encode(np.full((2, 2), 7, dtype=np.uint8))
    assert _measured(data) == NO_RANGES
    assert not read_header(data).is_deep
    assert _decoded(data, TWELVE_BITS).max() == 7
    assert _measured(b"GIF8") == NO_RANGES


def test_values_outside_of_the_range_are_unreadable_and_not_clipped():
    bright = encode(np.full((2, 2), 5000, dtype=np.uint16))
    outside = "its values, 5,000 to 5,000, are outside of 0 to 4,095, the range of the dataset"
    assert _problem(bright, TWELVE_BITS) == outside
    kind = "unlike those of the sampled images. Convert it to 8 bits"
    assert _problem(bright, NO_RANGES) == f"its pixels are values of more than 8 bits, {kind}"
    floats = encode(np.full((2, 2), 0.1, np.float32), "TIFF")
    assert _problem(floats, TWELVE_BITS) == f"its pixels are numbers with fractions, {kind}"


def test_an_image_that_uses_its_full_range_needs_no_sampled_one():
    ends = np.array([[0, 65535]] * 2, dtype=np.uint16)
    assert _decoded(encode(ends), NO_RANGES)[..., 0].tolist() == [[0, 255]] * 2
    unit = np.array([[0, 1]] * 2, dtype=np.float32)
    assert _decoded(encode(unit, "TIFF"), NO_RANGES)[..., 0].tolist() == [[0, 255]] * 2


def _ramp(low, high):
    return np.linspace(low, high, 10_000).astype(np.uint16).reshape(100, 100)


def test_a_few_bright_pixels_do_not_make_all_images_black():
    images = [_ramp(0, 4000) for _ in range(20)]
    images[3][0, :50] = 65535  # written into the picture
    ranges = _measured(*map(encode, images))
    assert ranges.integers == ValueRange(0, 65535, usual=(0, 4095))
    pixels = to_eight_bits(images[3], ranges)
    assert pixels[0, 0] == 255
    assert (pixels[99, 99], pixels[1, 0]) == (round(4000 / 4095 * 191), round(images[3][1, 0] / 4095 * 191))
    assert _sentences(images) == [
        "grey values up to 65,535 are scaled from 16 bits, alike in all images; nearly all are 0 to 4,095 and get "
        "three quarters of the shades"
    ]


def test_dead_pixels_do_not_hide_temperatures():
    images = [_ramp(29_000, 29_900) for _ in range(20)]
    images[7][0, 0], images[7][0, 1] = 0, 65535
    used = _measured(*map(encode, images)).integers
    assert used == ValueRange(0, 65535, usual=(28928, 29952))
    pixels = to_eight_bits(images[7], ValueRanges(used))
    assert (pixels[0, 0], pixels[0, 1]) == (0, 255)
    assert pixels[99, 99].astype(int) - pixels[1, 0] > 150


def test_bright_details_that_many_images_have_are_not_pressed_together():
    images = [_ramp(0, 4000) for _ in range(20)]
    for image in images[:10]:
        image[:5] = 60_000
    assert _measured(*map(encode, images)).integers == ValueRange(0, 65535)


@settings(max_examples=100)
@given(values=st.lists(st.integers(0, 65535), min_size=4, max_size=40), usual=st.tuples(*[st.integers(0, 65535)] * 2))
def test_a_bent_scale_keeps_the_order_too(values, usual):
    low, high = min(usual), max(usual) + 1
    known = ValueRanges(ValueRange(0, 65536, usual=(low, high)))
    pixels = to_eight_bits(np.sort(np.array([values])), known)[0].astype(int)
    assert (np.diff(pixels) >= 0).all()
    ends = to_eight_bits(np.array([[0, 65536]]), known)[0]
    assert ends.tolist() == [0, 255]


def test_the_whole_range_of_a_large_image_is_scaled():
    values = np.tile(np.arange(2048, dtype=np.uint16), (1024, 1))
    pixels = to_eight_bits(values, ValueRanges(ValueRange(0, 2047)))
    np.testing.assert_array_equal(pixels[0], pixels[-1])
    assert pixels[-1, -1] == 255
    assert len(np.unique(pixels)) == 256


@pytest.mark.parametrize(
    ("low", "high", "is_float", "sentence"),
    [
        (0, 4095, False, "grey values up to 4,095 are scaled from 12 bits, alike in all images"),
        (0, 9, False, "grey values up to 9 are scaled from 8 bits, alike in all images"),
        (
            -1000,
            3000,
            False,
            "grey values are -1,000 to 3,000: -1,024 becomes black and 4,095 white, alike in all images",
        ),
        (
            920,
            1100,
            False,
            "grey values are 920 to 1,100 (11 bits): 896 becomes black and 1,152 white, alike in all images",
        ),
        (0, 0.5, True, "pixels are numbers from 0 to 0.5: 0 becomes black and 0.5 white, alike in all images"),
    ],
)
def test_a_sentence_says_how_values_are_scaled(low, high, is_float, sentence):
    found = ValueRange(low, high)
    assert range_sentence(found, rounded(found, is_float=is_float), is_float=is_float) == sentence
