"""Previews: what is lossless, what is bounded, and what a row of a table looks like."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelaudit.errors import LabelauditError
from labelaudit.report.gallery import Peers
from labelaudit.report.previews import (
    IMAGE_BYTES,
    ROW_GROUP,
    TEXT_LENGTH,
    Preview,
    image_preview,
    previews_file,
    table_preview,
    text_preview,
    texts_preview,
)
from labelaudit.schemas import PREVIEWS


def pixels(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_lose_nothing(channels: int) -> None:
    image = pixels(96, 40, channels)
    preview = image_preview(image)
    assert preview.media_type == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(preview.data))).reshape(image.shape), image)


@pytest.mark.parametrize("side", [97, 224, 600])
def test_larger_images_stay_within_their_bytes(side: int) -> None:
    preview = image_preview(pixels(side, side, 3))
    assert preview.media_type == "image/jpeg"
    assert len(preview.data) <= IMAGE_BYTES
    assert Image.open(io.BytesIO(preview.data)).format == "JPEG"
    assert image_preview(pixels(side, side, 3)) == preview


def test_a_smooth_image_keeps_its_size() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 400, dtype=np.uint8)[:, None, None], (400, 400, 3))
    assert Image.open(io.BytesIO(image_preview(ramp).data)).size == (400, 400)


def test_what_is_no_image() -> None:
    with pytest.raises(LabelauditError, match=r"A preview needs .* not of shape \(8, 8\) and dtype uint8\."):
        image_preview(pixels(8, 8, 1)[:, :, 0])


@given(st.text(max_size=100))
def test_short_texts_are_whole(text: str) -> None:
    assert text_preview(text).data.decode() == text.encode("utf-8", "replace").decode()


def test_long_texts_are_cut() -> None:
    shown = text_preview("x" * (TEXT_LENGTH + 1)).data.decode()
    assert len(shown) == TEXT_LENGTH
    assert shown.endswith("x…")


def test_several_texts_are_below_their_names() -> None:
    assert texts_preview({"text": "one\ntext"}).data == b"one\ntext"
    assert texts_preview({"q": "why?", "a": "so"}).data == b"q:\nwhy?\n\na:\nso"
    # A long text leaves room for the others.
    shown = texts_preview({"q": "x" * 2 * TEXT_LENGTH, "a": "so"}).data.decode()
    assert len(shown) <= TEXT_LENGTH
    assert shown.endswith("x…\n\na:\nso")


def test_a_row_has_all_columns_and_what_is_typical_of_unusual_ones() -> None:
    frame = pd.DataFrame(
        {"height": [1.0, 2.0, 3.0, 4.0, 30.0], "colour": [*["red"] * 4, "<b>"], "gone": [np.nan, 1, 1, 1, np.nan]}
    )
    shown = json.loads(table_preview(frame, 4, Peers(frame, np.arange(5))).data)
    assert shown == [
        {"column": "height", "value": 30.0, "typical": "2 to 4"},
        {"column": "colour", "value": "<b>", "typical": "red (80\N{NO-BREAK SPACE}%)"},
        {"column": "gone", "value": None, "typical": "a number (60\N{NO-BREAK SPACE}%)"},
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.floats() | st.text(max_size=4) | st.booleans(), min_size=1, max_size=8))
def test_any_value_is_json(values: list[object]) -> None:
    frame = pd.DataFrame({"mixed": pd.Series(values, dtype=object)})
    for row in range(len(values)):

        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        json.loads(table_preview(frame, row, Peers(frame, np.arange(len(values)))).data, parse_constant=refuse)


def test_the_file_is_sorted_and_read_in_small_groups() -> None:
    ids = [f"id-{number:04d}" for number in np.random.default_rng(0).permutation(300)]
    data = previews_file((example_id, Preview("text/plain", example_id.encode())) for example_id in ids)
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.schema_arrow.equals(PREVIEWS, check_metadata=True)
    assert file.metadata.row_group(0).num_rows == ROW_GROUP
    assert file.read()["example_id"].to_pylist() == sorted(ids)
    assert pq.read_table(io.BytesIO(previews_file([]))).num_rows == 0
