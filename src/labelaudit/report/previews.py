"""What a person needs to see of a row, as bytes of their own: `previews.parquet`."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from labelaudit.errors import LabelauditError
from labelaudit.report.gallery import Peers
from labelaudit.schemas import PREVIEWS

# Up to this side an image is kept without loss: enlarged, its pixels are seen as labelers saw them.
LOSSLESS_SIDE = 96
# Of one image; JPEG of a photograph stays below it up to about 500 pixels a side.
IMAGE_BYTES = 60_000
QUALITIES = (92, 85, 75, 60, 40)
# Of a text, in characters.
TEXT_LENGTH = 20_000
# Of a table row: columns, and characters of one value.
COLUMNS = 1_000
VALUE_LENGTH = 1_000
# Rows that a reader of one row has to decode.
ROW_GROUP = 128


class Preview(NamedTuple):
    """A row as a person sees it. media_type: image/png, image/jpeg, text/plain or application/json."""

    media_type: str
    data: bytes


def image_preview(pixels: npt.NDArray[np.uint8]) -> Preview:
    """(H, W, C) uint8 with C = 1 or 3 -> PNG up to 96 px a side, else JPEG within 60,000 bytes.

    Only where the coarsest JPEG is larger, the image is shrunk. Raises LabelauditError for another shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8 or not pixels.size:
        raise LabelauditError(
            f"preview: got an array of shape {pixels.shape} and dtype {pixels.dtype};"
            " pass (height, width, 1 or 3) of uint8."
        )
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    if max(image.size) <= LOSSLESS_SIDE:
        return Preview("image/png", _encoded(image, "PNG", optimize=True))
    return Preview("image/jpeg", _jpeg(image))


def text_preview(text: str) -> Preview:
    """The text as UTF-8, cut to 20,000 characters with an ellipsis at the end."""
    cut = text if len(text) <= TEXT_LENGTH else f"{text[: TEXT_LENGTH - 1]}\N{HORIZONTAL ELLIPSIS}"
    return Preview("text/plain", cut.encode("utf-8", "replace"))


def table_preview(frame: pd.DataFrame, row: int, peers: Peers) -> Preview:
    """A JSON list of `{"column", "value"}` of the first 1,000 columns, in their order.

    Values are numbers, text or null; where one is unusual for the label of the row, `typical` says what is usual.
    """
    typical = peers.typical(row)
    values = []
    for at, column in enumerate(frame.columns[:COLUMNS]):
        shown: dict[str, Any] = {"column": str(column), "value": _value(frame.iat[row, at])}
        if at in typical:
            shown["typical"] = typical[at]
        values.append(shown)
    return Preview("application/json", json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))


def previews_file(previews: Iterable[tuple[str, Preview]]) -> bytes:
    """A Parquet file of PREVIEWS in the order of example_id, in small row groups."""
    ordered = sorted((example_id, *preview) for example_id, preview in previews)
    columns = zip(*ordered, strict=True) if ordered else ([], [], [])
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, PREVIEWS, strict=True)]
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=PREVIEWS), sink, compression="zstd", row_group_size=ROW_GROUP)
    return sink.getvalue()


def _jpeg(image: Image.Image) -> bytes:
    """The best quality that fits; half the side where none does, which has a quarter of the bytes."""
    for quality in QUALITIES:
        data = _encoded(image, "JPEG", quality=quality)
        if len(data) <= IMAGE_BYTES:
            return data
    half = (max(1, image.width // 2), max(1, image.height // 2))
    return _jpeg(image.resize(half, Image.Resampling.LANCZOS))


def _encoded(image: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _value(value: Any) -> Any:
    """A number, text or None, as JSON has them."""
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        plain = value.item() if isinstance(value, np.generic) else value
        return plain if math.isfinite(plain) else str(plain)
    return str(value)[:VALUE_LENGTH]
