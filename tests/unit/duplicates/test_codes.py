"""Codes of images and of rows of tables stay nearly the same for near-copies."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance

from labelaudit.duplicates.image_codes import CODE_LENGTH, close_images, image_codes
from labelaudit.duplicates.row_codes import equal_pairs, row_codes, significant
from support.pictures import photographs


def jpeg(image: Image.Image) -> Image.Image:
    data = BytesIO()
    image.save(data, "JPEG", quality=60)
    return Image.open(data)


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((2, 1, width - 1, height - 2)).resize(image.size)


CHANGES = {
    "compressed": jpeg,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "smaller and back": lambda image: image.resize((40, 40)).resize(image.size),
    "cropped": cropped,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change: str) -> None:
    pixels = photographs(120, 64)
    copies = np.stack([np.asarray(CHANGES[change](Image.fromarray(picture))) for picture in pixels[:20]])
    pairs = close_images(image_codes(np.concatenate([pixels, copies])))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    expected = {(row, 120 + row) for row in range(20)}
    assert len(found & expected) >= 18
    assert len(found - expected) <= 1


def test_the_size_hardly_matters() -> None:
    large = photographs(20, 128)
    small = large.reshape(20, 64, 2, 64, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
    gap = np.linalg.norm(image_codes(large).astype(float) - image_codes(small), axis=1)
    assert gap.max() < 0.05


def test_a_transform_by_hand() -> None:
    # Dark left, bright right: the lowest horizontal frequency, which is the first of the code, and its odd multiples.
    pixels = np.zeros((1, 16, 16, 1), np.uint8)
    pixels[:, :, 8:] = 200
    code = image_codes(pixels)[0]
    assert code.shape == (CODE_LENGTH,)
    assert np.argmax(np.abs(code)) == 0
    assert code[0] < 0
    np.testing.assert_allclose(code[[1, 3, 5]], 0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(code.astype(float)), 1, atol=1e-3)
    assert not code[7:].any() or np.abs(code[7:]).max() < 1e-3


def test_colour_alone_tells_images_apart() -> None:
    grey = photographs(1, 32, channels=1)
    red, blue = np.zeros((2, 32, 32, 3), np.uint8)
    red[..., 0], blue[..., 2] = grey[0, ..., 0], grey[0, ..., 0]
    one, other = image_codes(np.stack([red, blue])).astype(float)
    assert np.linalg.norm(one - other) > 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_one_colour_show_nothing(channels: int) -> None:
    shades = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 8, 8, channels))
    codes = image_codes(np.ascontiguousarray(shades))
    if channels == 1:
        assert not codes.any()
    assert len(close_images(codes)) == 0


def test_fewer_digits_make_the_same_row() -> None:
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.linspace(-100, 5, 200)
    table = pa.table({"a": values, "b": np.arange(200.0), "c": [f"{k % 3}" for k in range(200)]})
    stored = pa.table({"c": table["c"], "a": [float(f"{value:.8g}") for value in values], "b": table["b"]})
    assert (row_codes(table) == row_codes(stored)).mean() > 0.99
    other = table.set_column(2, "c", pa.array([f"{k % 3 + 1}" for k in range(200)]))
    assert not (row_codes(table) == row_codes(other)).any()


def test_whole_numbers_count_in_full() -> None:
    times = pa.table({"seconds": [1_700_000_001.0, 1_700_000_002.0], "zip": [10115.0, 10115.0]})
    assert len(np.unique(row_codes(times))) == 2


def test_significant_digits_by_hand() -> None:
    numbers = np.array([0.0, -0.0, 1234567.2, -0.001234567, 9.9996, np.nan, np.inf, 5e-324, 1.7e308])
    expected = np.array([0.0, 0.0, 1234567.0, -0.00123457, 9.99960, np.nan, np.inf, 5e-324, 1.7e308])
    np.testing.assert_allclose(significant(numbers), expected, rtol=1e-12)
    assert not np.signbit(significant(np.array([-0.0])))[0]


def test_rows_with_equal_codes_are_linked() -> None:
    pairs = equal_pairs(np.array([[7], [3], [7], [5], [7]], np.uint64))
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(0, 2), (2, 4)]
    np.testing.assert_allclose(pairs.distance, 1e-4)
    assert len(equal_pairs(np.zeros((0, 1), np.uint64))) == 0
