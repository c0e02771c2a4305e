"""Previews of rows for reviewers, which are stored in `previews.parquet`."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from labelaudit.codec import Json, JsonObject
from labelaudit.errors import LabelauditError
from labelaudit.report.gallery import Peers, is_missing
from labelaudit.schemas import PREVIEWS

# Images up to this side are stored without loss, so that enlarged pixels look as the labelers saw them.
LOSSLESS_SIDE = 96
# Limit for one image. The JPEG of a photograph of about 500 pixels a side is smaller.
IMAGE_BYTES = 60_000
QUALITIES = (92, 85, 75, 60, 40)
# Characters of a text.
TEXT_LENGTH = 20_000
# Columns of a table row, and characters of one value.
_COLUMNS = 1_000
VALUE_LENGTH = 1_000
# Small row groups, because a reader of one row decodes all rows of its group.
ROW_GROUP = 128


class Preview(NamedTuple):
    """A preview of one row."""

    media_type: str  # image/png, image/jpeg, text/plain or application/json
    data: bytes


def image_preview(pixels: npt.NDArray[np.uint8]) -> Preview:
    """Return an image as PNG up to 96 pixels a side, else as JPEG of at most 60,000 bytes.

    Args:
        pixels: (H, W, C) uint8 with C = 1 or 3. It is shrunk only if the JPEG with the lowest quality is too large.

    Raises:
        LabelauditError: another shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8 or not pixels.size:
        raise LabelauditError(
            f"A preview needs an array of (height, width, 1 or 3) uint8, not of shape {pixels.shape} and dtype "
            f"{pixels.dtype}. Convert the image first."
        )
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    if max(image.size) <= LOSSLESS_SIDE:
        return Preview("image/png", _encoded(image, "PNG", optimize=True))
    return Preview("image/jpeg", _jpeg(image))


def text_preview(text: str) -> Preview:
    """Return the text as UTF-8, cut to 20,000 characters with an ellipsis at the end."""
    return Preview("text/plain", _cut(text, TEXT_LENGTH).encode("utf-8", "replace"))


def texts_preview(texts: Mapping[str, str]) -> Preview:
    """Return the texts of a row by column, as one text; several are below their names, and each gets an equal share."""
    if len(texts) == 1:
        return text_preview(next(iter(texts.values())))
    share = TEXT_LENGTH // len(texts)
    return text_preview("\n\n".join(f"{name}:\n{_cut(text, share)}" for name, text in texts.items()))


def table_preview(frame: pd.DataFrame, row: int, peers: Peers) -> Preview:
    """Return a JSON list of `{"column", "value"}` for the first 1,000 columns, in their order.

    Values are numbers, text or null. If a value is unusual for the label of the row, `typical` has the usual values.
    """
    typical = peers.typical(row)
    values = []
    for at, column in enumerate(frame.columns[:_COLUMNS]):
        shown: JsonObject = {"column": str(column), "value": _value(frame.iat[row, at])}
        if at in typical:
            shown["typical"] = typical[at]
        values.append(shown)
    return Preview("application/json", json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))


def previews_file(previews: Iterable[tuple[str, Preview]]) -> bytes:
    """Return a Parquet file of PREVIEWS in the order of example_id, in small row groups."""
    ordered = sorted((example_id, *preview) for example_id, preview in previews)
    columns = zip(*ordered, strict=True) if ordered else ([], [], [])
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, PREVIEWS, strict=True)]
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=PREVIEWS), sink, compression="zstd", row_group_size=ROW_GROUP)
    return sink.getvalue()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def _jpeg(image: Image.Image) -> bytes:
    """Return the best quality that fits. If none does, halve the sides, which needs a quarter of the bytes."""
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


def _value(value: object) -> Json:
    """Return a value of JSON: a number, text or None."""
    if is_missing(value):
        return None
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        plain = value.item() if isinstance(value, np.generic) else value
        return plain if math.isfinite(plain) else str(plain)
    return str(value)[:VALUE_LENGTH]
