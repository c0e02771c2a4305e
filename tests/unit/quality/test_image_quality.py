"""Measures of images that can be calculated by hand, and properties that hold for all images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from labelaudit.data.images import decode_images
from labelaudit.quality.image_quality import IMAGE_MEASURES, image_measures
from support.encoded_images import encode
from support.pictures import photographs

# May be unknown.
UNKNOWN = {"edge_width", "aspect_ratio", "side"}


def measured(pixels: np.ndarray, size: tuple[int, int] = (40, 20)) -> dict[str, float]:
    values = image_measures(pixels[None], np.array([size], np.int32))[0]
    return dict(zip(IMAGE_MEASURES, values.tolist(), strict=True))


def test_a_grey_image_of_two_halves() -> None:
    pixels = np.zeros((20, 20, 1), np.uint8)
    pixels[:, 10:] = 255
    found = measured(pixels)
    assert (found["light"], found["shade"], found["brightness"]) == (1, 0, 0.5)
    assert found["shades"] == pytest.approx(2)
    # A step without blur has a squared gradient of 1 and a squared Laplacian of 2.
    assert found["edge_width"] == pytest.approx(0.5 / 20)
    assert (found["colour"], found["aspect_ratio"]) == (0, 2)
    assert found["side"] == pytest.approx(800**0.5)


def test_a_single_colour() -> None:
    found = measured(np.full((16, 16, 3), (255, 0, 0), np.uint8), (0, 0))
    assert found["shades"] == pytest.approx(1)
    assert found["brightness"] == pytest.approx(0.299, abs=0.003)
    assert found["colour"] == 1
    assert all(np.isnan(found[name]) for name in UNKNOWN)


def test_one_bright_pixel_of_a_hundred_is_not_light() -> None:
    pixels = np.zeros((10, 10, 1), np.uint8)
    pixels[0, 0] = 255
    assert measured(pixels)["light"] == 0
    pixels[0, 1] = 255
    assert measured(pixels)["light"] == 1


@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
def test_the_width_of_an_edge_is_that_of_the_blur(blur: float) -> None:
    step = np.zeros((60, 60), np.uint8)
    step[:, 30:] = 200
    blurred = np.asarray(Image.fromarray(step).filter(ImageFilter.GaussianBlur(blur)))
    assert measured(blurred[:, :, None])["edge_width"] == pytest.approx(blur / 60, rel=0.15)


def test_contrast_does_not_change_the_width_of_edges() -> None:
    pixels = photographs(20, 64)
    sizes = np.zeros((20, 2), np.int32)
    at = IMAGE_MEASURES.index("edge_width")
    weak = (64 + pixels.astype(int) // 3).astype(np.uint8)
    assert image_measures(weak, sizes)[:, at] == pytest.approx(image_measures(pixels, sizes)[:, at], rel=0.1)


def test_photographs_that_are_blurred_have_wider_edges() -> None:
    pixels = photographs(20, 64)
    blurred = np.stack([np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2))) for picture in pixels])
    sizes = np.zeros((20, 2), np.int32)
    at = IMAGE_MEASURES.index("edge_width")
    assert image_measures(blurred, sizes)[:, at].min() > 1.5 * image_measures(pixels, sizes)[:, at].max()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999),
    height=st.sampled_from([1, 2, 3, 9, 140]),
    width=st.sampled_from([1, 2, 5, 130]),
    channels=st.sampled_from([1, 3]),
)
def test_measures_are_known_and_within_their_ranges(seed: int, height: int, width: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 1 + rng.integers(1, 255), (3, height, width, channels), dtype=np.uint8)
    values = image_measures(pixels, np.array([(width, height)] * 3, np.int32))
    columns = dict(zip(IMAGE_MEASURES, values.T, strict=True))
    assert not any(np.isnan(columns[name]).any() for name in set(IMAGE_MEASURES) - {"edge_width"})
    for name in ("light", "shade", "brightness", "colour"):
        assert ((columns[name] >= 0) & (columns[name] <= 1)).all()
    assert ((columns["shades"] >= 0.999) & (columns["shades"] <= 32.001)).all()
    assert (columns["light"] >= columns["shade"]).all()
    # Each image alone has the same measures.
    alone = np.concatenate([image_measures(one[None], np.array([(width, height)], np.int32)) for one in pixels])
    np.testing.assert_allclose(alone, values, rtol=1e-5)


def test_no_images() -> None:
    assert image_measures(np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 2), np.int32)).shape == (0, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("side", [1, 2, 40])
def test_images_of_any_mode_are_measured(mode: str, side: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    image = Image.fromarray(values[:, :, 0].astype(np.uint16) * 100) if mode == "I;16" else Image.fromarray(values)
    data = encode(image if mode == "I;16" else image.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    sizes = np.zeros((1, 2), np.int32)
    pixels, problems = decode_images([data], 1, (32, 32), 3, sizes=sizes)
    assert not problems
    found = dict(zip(IMAGE_MEASURES, image_measures(pixels, sizes)[0].tolist(), strict=True))
    assert (found["aspect_ratio"], found["side"]) == (1, side)
    assert not any(np.isnan(value) for name, value in found.items() if name != "edge_width")
