from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelaudit.data.transparency import NEARLY_BLACK, NEARLY_WHITE, over_background

WHITE, BLACK = 255, 0


def _logo(colour, *, opacity=255, share=0.5):
    """A transparent picture whose left part has one colour."""
    pixels = np.zeros((10, 10, 4), dtype=np.uint8)
    pixels[:, : round(10 * share)] = (*colour, opacity)
    return Image.fromarray(pixels)


def _background(image, mode="RGB"):
    return int(np.asarray(over_background(image, mode).convert("L"))[0, -1])


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), WHITE),
        ((255, 0, 0), WHITE),
        ((128, 128, 128), WHITE),
        ((255, 255, 0), WHITE),  # yellow is bright, but can be seen on white
        ((210, 210, 210), WHITE),
        ((240, 240, 240), BLACK),
        ((255, 255, 255), BLACK),
    ],
)
def test_black_is_used_only_if_the_picture_would_vanish_on_white(colour, expected):
    assert _background(_logo(colour)) == expected


def test_a_yellow_picture_that_becomes_grey_needs_black():
    assert _background(_logo((255, 255, 0)), "L") == BLACK


def test_white_letters_next_to_a_coloured_sign_can_be_seen():
    pixels = np.zeros((10, 10, 4), dtype=np.uint8)
    pixels[:, :3], pixels[:, 3:6] = (255, 255, 255, 255), (200, 30, 30, 255)
    assert _background(Image.fromarray(pixels)) == BLACK


def test_black_letters_on_a_white_sign_stay_on_white():
    pixels = np.zeros((10, 10, 4), dtype=np.uint8)
    pixels[:, :3], pixels[:, 3:6] = (255, 255, 255, 255), (0, 0, 0, 255)
    assert _background(Image.fromarray(pixels)) == WHITE


def test_pixels_count_by_their_opacity():
    pixels = np.zeros((10, 10, 4), dtype=np.uint8)
    pixels[:, :2], pixels[:, 2:8] = (255, 255, 255, 255), (0, 0, 255, 20)
    assert _background(Image.fromarray(pixels)) == BLACK
    pixels[:, 2:8, 3] = 255
    assert _background(Image.fromarray(pixels)) == WHITE


def test_invisible_pixels_do_not_count():
    assert _background(_logo((255, 255, 255), opacity=0)) == WHITE


def test_opaque_pictures_stay_as_they_are():
    pixels = np.random.default_rng(0).integers(200, 256, (10, 10, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    np.testing.assert_array_equal(np.asarray(over_background(Image.fromarray(pixels), "RGB")), pixels[..., :3])


@settings(max_examples=50)
@given(colour=st.tuples(*[st.integers(0, 255)] * 3), share=st.floats(0.1, 0.9))
def test_a_picture_of_one_colour_is_always_seen(colour, share):
    image = _logo(colour, share=share)
    seen = np.asarray(over_background(image, "RGB").convert("RGB")).astype(int)
    contrast = np.abs(seen[:, 0] - seen[:, -1]).max()
    assert contrast >= min(255 - NEARLY_WHITE, NEARLY_BLACK)
