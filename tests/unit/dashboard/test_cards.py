"""Cards and rows at full size, for any content of a preview."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelaudit.dashboard.cards import MAX_PIXELS, _small, full_size
from labelaudit.report.gallery import Peers
from labelaudit.report.previews import Preview, image_preview, table_preview, text_preview

GENERATOR = np.random.default_rng(0)
PNG = image_preview(GENERATOR.integers(0, 256, (12, 10, 3), dtype=np.uint8))
JPEG = image_preview(GENERATOR.integers(0, 256, (120, 100, 1), dtype=np.uint8))


def drawn(preview: Preview) -> str:
    return str(_small(preview)) + str(full_size(preview))


@pytest.mark.parametrize("preview", [PNG, JPEG])
def test_small_images_have_hard_pixels(preview: Preview) -> None:
    shown = drawn(preview)
    assert shown.count("<img") == 2
    assert shown.count('class="pixels"') == (2 if preview is PNG else 0)


def test_texts_and_rows_of_tables() -> None:
    assert "&lt;b&gt;" in drawn(text_preview("<b>"))
    frame = pd.DataFrame({"price": [1.5, None]})
    shown = drawn(table_preview(frame, 0, Peers(frame, np.arange(2))))
    assert "price" in shown
    assert "1.5" in shown


@settings(max_examples=150, deadline=None)
@given(preview=st.sampled_from([PNG, JPEG]), data=st.data())
def test_damaged_images_never_crash(preview: Preview, data: st.DataObject) -> None:
    damaged = bytearray(preview.data)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(damaged)))
    for found in (bytes(damaged), bytes(damaged[:length])):
        shown = drawn(Preview(preview.media_type, found))
        assert ("<img" in shown) != ("no preview" in shown.lower())


def test_an_image_that_would_fill_the_memory() -> None:
    side = int(MAX_PIXELS**0.5) + 2
    sink = io.BytesIO()
    Image.new("1", (side, side)).save(sink, "PNG")
    assert len(sink.getvalue()) < 10_000
    assert "<img" not in drawn(Preview("image/png", sink.getvalue()))


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b"{}",
        b"\xff",
        b'["a"]',
        b'[{"column": "a"}]',
        b'[{"column": 5, "value": 1}]',
        b'[{"column": "a", "value": [1]}]',
        b'[{"column": "a", "value": 1, "typical": {}}]',
    ],
)
def test_a_damaged_row(data: bytes) -> None:
    assert drawn(Preview("application/json", data)).lower().count("no preview") == 2


def test_a_type_that_is_never_shown() -> None:
    assert "<script" not in drawn(Preview("text/html", b"<script>"))
