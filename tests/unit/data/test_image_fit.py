from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelaudit.data.image_fit import cropped_share, fitted, shaped_size

SIDES = st.integers(1, 60)


def _strip(width, height, *, mark_width):
    """A grey strip with white ends."""
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    pixels[:, :mark_width] = pixels[:, -mark_width:] = 255
    return Image.fromarray(pixels)


def test_what_is_over_is_cropped_evenly_at_both_ends():
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[:, 1:5] = 200  # the centre square
    np.testing.assert_array_equal(np.asarray(fitted(Image.fromarray(pixels), (4, 4))), np.full((4, 4, 3), 200))


def test_a_wide_picture_keeps_its_ends():
    result = np.asarray(fitted(_strip(40, 10, mark_width=10), (40, 40)))
    assert result.shape == (40, 40, 3)
    inside = result[15:25]
    assert (inside[:, :10] == 255).all()
    assert (inside[:, 10:30] == 90).all()
    assert (inside[:, 30:] == 255).all()


def test_a_tall_picture_keeps_its_ends():
    tall = fitted(_strip(40, 10, mark_width=10).transpose(Image.Transpose.ROTATE_90), (40, 40))
    wide = fitted(_strip(40, 10, mark_width=10), (40, 40))
    np.testing.assert_array_equal(np.asarray(tall), np.asarray(wide).transpose(1, 0, 2))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_bars_have_the_colour_of_most_of_the_edge(mode):
    image = Image.new(mode, (40, 10), 30 if mode == "L" else (30, 60, 90))
    image.putpixel((0, 0), 255 if mode == "L" else (255, 255, 255))
    result = np.asarray(fitted(image, (40, 40)))
    assert result[0, 0].tolist() == (30 if mode == "L" else [30, 60, 90])
    assert result[-1, -1].tolist() == result[0, 0].tolist()


def test_a_line_of_pixels_stays_a_line():
    result = np.asarray(fitted(Image.new("L", (100_000, 1), 7), (64, 64)))
    assert (result == 7).all()


@given(width=SIDES, height=SIDES, target=st.tuples(SIDES, SIDES))
def test_every_shape_becomes_the_size_and_only_a_third_is_ever_cropped(width, height, target):
    gradient = Image.linear_gradient("L").resize((width, height))
    assert fitted(gradient, target).size == target
    assert 0 <= cropped_share((width, height), target) < 1


def test_the_cropped_share_is_the_part_outside_of_the_target():
    assert cropped_share((3, 2), (10, 10)) == pytest.approx(1 / 3)
    assert cropped_share((2, 4), (10, 10)) == pytest.approx(1 / 2)
    assert cropped_share((240, 48), (120, 24)) == 0


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(1, (64, 64)), (1.5, (64, 64)), (2 / 3, (64, 64)), (16 / 9, (85, 48)), (5, (143, 29)), (0.2, (29, 143))],
)
def test_the_shape_of_long_images_is_kept_with_as_many_pixels(aspect, size):
    assert shaped_size(aspect, 64) == size
    assert size[0] * size[1] == pytest.approx(64 * 64, rel=0.03)


@pytest.mark.parametrize(("aspect", "size"), [(1000, (256, 16)), (0.0001, (16, 256))])
def test_a_network_gets_at_least_16_lines(aspect, size):
    assert shaped_size(aspect, 64) == size
