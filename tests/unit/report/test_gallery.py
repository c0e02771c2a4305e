"""Previews: thumbnails within their limits, excerpts, and which columns of a row are called unusual."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelaudit.errors import LabelauditError
from labelaudit.report.gallery import (
    THUMBNAIL_BYTES,
    THUMBNAIL_SIDE,
    Peers,
    Thumbnail,
    UnusualColumn,
    gallery_items,
    row_excerpt,
    text_excerpt,
    texts_excerpt,
    thumbnail,
)
from support.contents import make_content


def decoded(preview: Thumbnail) -> Image.Image:
    header, _, payload = preview.data_url.partition(";base64,")
    assert header in ("data:image/png", "data:image/webp")
    return Image.open(io.BytesIO(base64.b64decode(payload)))


def unusual_columns(frame: pd.DataFrame, row: int, class_rows: np.ndarray, count: int = 4) -> tuple[UnusualColumn, ...]:
    return Peers(frame, class_rows).unusual_columns(row, count)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_kept_pixel_by_pixel(channels: int) -> None:
    pixels = noise(28, 20, channels)
    preview = thumbnail(pixels)
    assert (preview.height, preview.width, preview.is_pixelated) == (28, 20, True)
    assert np.array_equal(np.asarray(decoded(preview)).reshape(28, 20, channels), pixels)


@pytest.mark.parametrize("shape", [(2000, 500, 3), (97, 3000, 1), (300, 300, 3), (1, 5000, 3), (96, 96, 3)])
def test_any_image_stays_within_the_limits(shape: tuple[int, ...]) -> None:
    preview = thumbnail(noise(*shape))
    image = decoded(preview)
    assert max(image.size) <= THUMBNAIL_SIDE
    assert len(preview.data_url) <= THUMBNAIL_BYTES * 4 / 3 + 40
    assert (preview.height, preview.width) == shape[:2]


def test_large_images_keep_their_shape_and_colour() -> None:
    image = decoded(thumbnail(np.full((400, 800, 3), (200, 30, 60), np.uint8)))
    assert image.size == (192, 96)
    assert np.abs(np.asarray(image.convert("RGB")).mean(axis=(0, 1)) - (200, 30, 60)).max() < 4
    assert not thumbnail(noise(400, 800, 3)).is_pixelated


def test_the_same_pixels_are_the_same_bytes() -> None:
    assert thumbnail(noise(300, 200, 3)) == thumbnail(noise(300, 200, 3))


@pytest.mark.parametrize(
    "pixels",
    [noise(8, 8), noise(8, 8, 4), noise(0, 8, 3), noise(8, 8, 3).astype(float)],
    ids=["flat", "alpha", "empty", "float"],
)
def test_what_is_no_image(pixels: np.ndarray) -> None:
    with pytest.raises(
        LabelauditError, match=r"needs an array of \(height, width, 1 or 3\) uint8, not of shape .*\. Convert"
    ):
        thumbnail(pixels)


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        ("short", "short"),
        ("", ""),
        ("two\nlines\tand   more", "two lines and more"),
        ("the quick brown fox jumps over", "the quick brown…"),
        ("x" * 50, "x" * 19 + "…"),
        ("ends here exactly 20", "ends here exactly 20"),
    ],
)
def test_excerpts(text: str, excerpt: str) -> None:
    assert text_excerpt(text, 20) == excerpt


@given(st.text(max_size=300), st.integers(2, 60))
def test_excerpts_are_never_longer_than_asked(text: str, limit: int) -> None:
    excerpt = text_excerpt(text, limit)
    assert len(excerpt) <= limit
    assert excerpt.endswith("…") or excerpt == " ".join(text.split())


def test_several_texts_have_a_line_each() -> None:
    assert texts_excerpt({"text": "one text"}) == "one text"
    texts = {"premise": "word " * 100, "hypothesis": "short"}
    first, second = texts_excerpt(texts, 200).splitlines()
    assert first.startswith("premise: word word")
    assert 90 < len(first) <= len("premise: ") + 100
    assert second == "hypothesis: short"


def test_a_value_far_from_its_class_comes_first() -> None:
    frame = pd.DataFrame(
        {
            "height": [1.0, 2.0, 3.0, 4.0, 5.0, 30.0],
            "width": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "same": [7.0] * 6,
            "gone": [np.nan] * 6,
        }
    )
    columns = unusual_columns(frame, 5, np.arange(6))
    assert [column.column for column in columns] == ["height", "width"]
    assert columns[0] == UnusualColumn("height", "30", "2.25 to 4.75")


def test_only_rows_with_the_same_label_count() -> None:
    frame = pd.DataFrame({"a": [1.0, 1.1, 0.9, 50.0, 50.0, 50.0], "b": [9.0, 8.0, 7.0, 1.0, 2.0, 9.5]})
    assert unusual_columns(frame, 5, np.array([3, 4, 5]))[0].column == "b"
    assert unusual_columns(frame, 5, np.array([0, 1, 2, 5]))[0].column == "a"


def test_rare_categories_and_missing_values_are_unusual() -> None:
    frame = pd.DataFrame(
        {
            "colour": ["red"] * 9 + ["blue"],
            "size": [1.0, 1.2, 1.1, 0.9, 1.0, 1.1, 0.8, 1.0, 1.2, np.nan],
            "each": [f"id {i}" for i in range(10)],
            "flag": [True] * 10,
            "list": [[1]] * 9 + [[2]],
        }
    )
    found = {column.column: column for column in unusual_columns(frame, 9, np.arange(10))}
    assert set(found) == {"colour", "size", "list"}
    assert found["colour"] == UnusualColumn("colour", "blue", "red (90\N{NO-BREAK SPACE}%)")
    assert found["size"] == UnusualColumn("size", "missing", "a number (90\N{NO-BREAK SPACE}%)")
    assert found["list"].value == "[2]"
    assert unusual_columns(frame, 0, np.arange(10)) == ()


def test_a_number_that_breaks_a_constant_column() -> None:
    frame = pd.DataFrame({"n": [0.0] * 99 + [4.0], "m": [0.0] * 99 + [np.inf]})
    assert {column.column for column in unusual_columns(frame, 99, np.arange(100))} == {"n", "m"}
    assert unusual_columns(frame, 0, np.arange(100)) == ()


def test_no_more_columns_than_asked_and_names_that_repeat() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 9)), columns=[*"abcdefgh", "a"])
    assert len(unusual_columns(frame, 3, np.arange(50), count=2)) == 2
    assert len(unusual_columns(frame, 3, np.arange(50), count=20)) == 9


@settings(max_examples=30)
@given(st.lists(st.none() | st.floats() | st.text(max_size=4) | st.booleans(), min_size=1, max_size=12))
def test_any_column_can_be_described(values: list[object]) -> None:
    frame = pd.DataFrame({"mixed": pd.Series(values, dtype=object)})
    for row in range(len(values)):
        assert all(isinstance(column.value, str) for column in unusual_columns(frame, row, np.arange(len(values))))


@pytest.mark.parametrize("kind", ["Int64", "Float32", "category", "datetime64[ns]", "string"])
def test_columns_of_every_kind(kind: str) -> None:
    values = pd.Series([1, 2, 3, 4, 5, 60]).astype("string" if kind == "string" else "int64").astype(kind)
    values.iloc[2] = None
    frame = pd.DataFrame({"x": values})
    for row in range(6):
        assert len(unusual_columns(frame, row, np.arange(6))) <= 1


def test_items_are_the_first_issues() -> None:
    issues = make_content().issues
    items = gallery_items(issues, ["first", (UnusualColumn("a", "1", "2"),)])
    assert [item.rank for item in items] == [1, 2]
    assert items[0].preview == "first"
    assert items[1].example_id == issues["example_id"][1].as_py()
    assert items[1].p_suggested == issues["p_suggested"][1].as_py()


def test_more_previews_than_issues() -> None:
    with pytest.raises(LabelauditError, match="2 previews for 0 issues"):
        gallery_items(pa.Table.from_pylist([], schema=make_content().issues.schema), ["a", "b"])


def test_the_values_of_a_table_row_as_text() -> None:
    frame = pd.DataFrame({"age": [39, 40], "hours": [None, 1.5], "text": ["x" * 100, "y"]})
    assert row_excerpt(frame, 1) == "age: 40, hours: 1.5, text: y"
    assert row_excerpt(frame, 0).startswith("age: 39, hours: missing, text: xxx")
    assert len(row_excerpt(frame, 0)) < 100
    wide = pd.DataFrame([[0] * 30], columns=[f"c{number}" for number in range(30)])
    assert row_excerpt(wide, 0).endswith("c19: 0, \N{HORIZONTAL ELLIPSIS}")
