from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from labelaudit.codec import from_record, to_record
from labelaudit.data.columns import Columns, resolve_columns
from labelaudit.data.image_depth import NO_RANGES, ValueRange, ValueRanges
from labelaudit.data.image_geometry import SAMPLE_IMAGES
from labelaudit.data.readers import read_batches
from labelaudit.errors import DatasetError
from support.encoded_images import encode


def _grey(value, dtype=np.uint16, format="PNG"):
    return encode(np.full((4, 4), value, dtype=dtype), format)


def _picture(width, height):
    return encode(Image.new("RGB", (width, height)))


def _folder(images):
    return {f"{'ab'[index % 2]}/{index:04}.png": image for index, image in enumerate(images)}


def _guesses(source):
    return resolve_columns(source).guesses


def _read(source):
    columns = resolve_columns(source)
    batches = list(read_batches(source, columns))
    assert not any(batch.problems for batch in batches)
    return columns, np.concatenate([batch.inputs for batch in batches])


def test_the_depth_of_a_folder_is_found_and_reported(make_dataset):
    columns, pixels = _read(make_dataset(_folder([_grey(0), _grey(4095), _grey(2056)])))
    assert columns.image_ranges == ValueRanges(integers=ValueRange(0, 4095))
    assert columns.guesses[-1] == "grey values up to 4,095 are scaled from 12 bits, alike in all images"
    # The files of folder "a" come first.
    assert pixels[:, 0, 0, 0].tolist() == [0, 128, 255]
    assert from_record(Columns, to_record(columns)) == columns


@pytest.mark.parametrize("is_table", [False, True])
def test_one_bright_image_outside_of_the_sample_decides_for_all(make_dataset, is_table):
    images = [_grey(1000)] * SAMPLE_IMAGES * 2
    images[SAMPLE_IMAGES + 1] = _grey(3000)
    if is_table:
        labels = ["a", "b"] * SAMPLE_IMAGES
        files = {"rows.parquet": pa.table({"image": pa.array(images, pa.binary()), "label": labels})}
    else:
        files = _folder(images)
    columns, pixels = _read(make_dataset(files))
    assert columns.image_ranges.integers == ValueRange(0, 4095)
    assert sorted(np.unique(pixels)) == [round(1000 * 255 / 4095), round(3000 * 255 / 4095)]


def test_the_depth_of_image_files_that_a_table_names_is_found(make_dataset):
    files = {f"images/{index}.png": _grey(value) for index, value in enumerate([5, 1023])}
    source = make_dataset({**files, "labels.csv": "file,label\nimages/0.png,a\nimages/1.png,b\n"})
    assert resolve_columns(source).image_ranges.integers == ValueRange(0, 1023)


def test_images_that_use_all_16_bits_are_read_once(make_dataset):
    source = make_dataset(_folder([_grey(60000)] * SAMPLE_IMAGES * 2))
    resolve_columns(source)
    assert len(source.opened) == SAMPLE_IMAGES


def test_integers_and_floats_have_ranges_of_their_own(make_dataset):
    files = {"a/1.png": _grey(0), "a/2.png": _grey(1023), "b/3.tif": _grey(0.25, np.float32, "TIFF")}
    columns, pixels = _read(make_dataset({**files, "b/4.tif": _grey(0, np.float32, "TIFF")}))
    assert columns.image_ranges == ValueRanges(ValueRange(0, 1023), ValueRange(0, 0.25))
    assert pixels[:, 0, 0, 0].tolist() == [0, 255, 255, 0]
    assert len(columns.guesses) == 3


def test_images_of_8_bits_have_no_range(make_dataset):
    columns, pixels = _read(make_dataset(_folder([_grey(7, np.uint8), _grey(8, np.uint8)])))
    assert columns.image_ranges == NO_RANGES
    assert len(columns.guesses) == 1
    assert pixels[:, 0, 0, 0].tolist() == [7, 8]


def test_a_range_is_part_of_what_decides_on_the_pixels(make_dataset):
    columns = resolve_columns(make_dataset(_folder([_grey(1000), _grey(900)])))
    assert asdict(columns)["image_ranges"] != NO_RANGES


def test_wide_images_keep_their_shape(make_dataset):
    columns = resolve_columns(make_dataset(_folder([_picture(240, 48)] * 4)))
    assert columns.image_size == (29, 143)
    assert columns.guesses[-1] == "images are brought to 143x29 pixels: they are 240x48 to 240x48"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(200, 100)] * 3 + [(100, 100)], (45, 91)),
        ([(200, 100)] * 2 + [(100, 100)] * 2, (64, 64)),
        ([(400, 100), (100, 400)] * 2, (64, 64)),
        ([(100, 400)] * 3 + [(100, 300)], (128, 32)),
        ([(90, 60), (60, 90)] * 2, (64, 64)),
    ],
)
def test_the_shape_follows_the_images_only_if_most_are_wide_or_tall(make_dataset, sizes, expected):
    assert resolve_columns(make_dataset(_folder([_picture(*size) for size in sizes]))).image_size == expected


def test_a_sentence_says_what_is_cropped_and_what_is_letterboxed(make_dataset):
    sizes = [(80, 80), (100, 75), (400, 40), (75, 100)]
    assert _guesses(make_dataset(_folder([_picture(*size) for size in sizes])))[-1] == (
        "images are brought to 64x64 pixels: they are 75x40 to 400x100, and up to 25% of an image is cropped at its "
        "sides; 1 of 4 sampled images would lose more than a third and are letterboxed instead"
    )


def test_a_configured_size_is_not_changed_but_explained(make_dataset):
    columns = resolve_columns(make_dataset(_folder([_picture(240, 48)] * 2)), image_size=(32, 32))
    assert columns.image_size == (32, 32)
    assert "2 of 2 sampled images would lose" in columns.guesses[-1]
    exact = resolve_columns(make_dataset(_folder([_picture(32, 32)] * 2)), image_size=(32, 32))
    assert len(exact.guesses) == 1


def test_animations_and_pages_are_counted(make_dataset):
    two = [Image.new("L", (4, 4), value) for value in (1, 200)]
    animated = encode(two[0], "GIF", save_all=True, append_images=two[1:])
    pages = encode(two[0], "TIFF", save_all=True, append_images=two[1:])
    guesses = _guesses(make_dataset({"a/1.gif": animated, "a/2.gif": animated, "b/3.tif": pages}))
    assert guesses[-2:] == (
        "2 of 3 sampled images have several frames: only the first is read",
        "1 of 3 sampled images have several pages: only the first is read",
    )


def test_if_no_image_can_be_read_the_error_names_a_reason(make_dataset):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    with pytest.raises(DatasetError, match=r"None of the first images of .* \(the first one: HEIC is not supported"):
        resolve_columns(make_dataset({"a/1.jpg": heic, "b/2.jpg": heic}))
    table = pa.table({"image": pa.array([heic] * 4, pa.binary()), "label": ["a", "b"] * 2})
    with pytest.raises(DatasetError, match=r"HEIC is not supported\. Convert it to JPEG or PNG"):
        resolve_columns(make_dataset({"rows.parquet": table}))
