"""Previews of examples on the page: a thumbnail, an excerpt of a text, or the unusual columns of a table row."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from markupsafe import escape
from PIL import Image

from labelaudit.errors import LabelauditError

# Longest side of an embedded image in pixels, which is sharp at the size of a card.
THUMBNAIL_SIDE = 192
# Images up to this side are embedded without loss and enlarged without smoothing, as labelers saw them.
PIXELATED_SIDE = 96
# Bytes of one encoded thumbnail. As data URLs, 200 of them need less than 3 MB.
THUMBNAIL_BYTES = 11_000
# Rows of a class that give its typical values. The median of so many is exact to about one percentile.
TYPICAL_ROWS = 5_000
# Limits of a preview on the page: characters of a text, unusual columns of a table row.
_TEXT_LENGTH = 1200
_COLUMNS = 8
# Columns of an excerpt of a table row.
_EXCERPT_COLUMNS = 20
# Characters of each text, if a row has many.
_SHORTEST_EXCERPT = 80
# Values further outside than this are all equally extreme (in robust standard deviations).
MOST_UNUSUAL = 99.0


@dataclass(frozen=True)
class Thumbnail:
    """An embedded image."""

    data_url: str
    height: int  # of the original, in pixels
    width: int

    @property
    def is_pixelated(self) -> bool:
        return max(self.height, self.width) <= PIXELATED_SIDE


@dataclass(frozen=True)
class UnusualColumn:
    """A column of a table row with an unusual value for the given label."""

    column: str
    value: str
    typical: str  # of the rows with the label


CardPreview = Thumbnail | str | tuple[UnusualColumn, ...]


@dataclass(frozen=True)
class GalleryItem:
    """A flagged example with its preview."""

    rank: int
    example_id: str
    given_label: str
    suggested_label: str
    label_score: float
    p_wrong: float
    p_given: float
    p_suggested: float
    verdict: str | None
    fold: int | None  # None: the probabilities were made elsewhere
    file: str
    row: int
    input_issues: str | None
    preview: CardPreview


def gallery_items(issues: pa.Table, previews: Sequence[CardPreview]) -> tuple[GalleryItem, ...]:
    """Return the first rows of an ISSUES table, each with its preview, in their order.

    Raises:
        LabelauditError: there are more previews than issues.
    """
    if len(previews) > len(issues):
        raise LabelauditError(
            f"There are {len(previews):,} previews for {len(issues):,} issues. Pass one preview for each of the first "
            "issues."
        )
    names = [name for name in GalleryItem.__dataclass_fields__ if name != "preview"]
    records = issues.select(names).slice(0, len(previews)).to_pylist()
    return tuple(GalleryItem(**record, preview=preview) for record, preview in zip(records, previews, strict=True))


def thumbnail(pixels: npt.NDArray[np.uint8]) -> Thumbnail:
    """Return an image of at most 192 pixels a side and 11,000 bytes as a data URL.

    Args:
        pixels: (H, W, C) uint8 with C = 1 or 3. Images up to 96 pixels a side stay as they are (PNG) if they fit.
            Larger ones are shrunk (WebP).

    Raises:
        LabelauditError: another shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.dtype != np.uint8 or not pixels.size:
        raise LabelauditError(
            f"A thumbnail needs an array of (height, width, 1 or 3) uint8, not of shape {pixels.shape} and dtype "
            f"{pixels.dtype}. Convert the image first."
        )
    height, width, channels = pixels.shape
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    kind, encoded = _encode(image)
    return Thumbnail(f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}", height, width)


def _encode(image: Image.Image) -> tuple[str, bytes]:
    """Return the best encoding within THUMBNAIL_BYTES: lossless if small, else with less quality, else smaller."""
    if max(image.size) <= PIXELATED_SIDE:
        encoded = _save(image, "PNG", optimize=True)
        if len(encoded) <= THUMBNAIL_BYTES:
            return "png", encoded
    for quality in (85, 70, 50, 30):
        encoded = _save(image, "WEBP", quality=quality, method=4)
        if len(encoded) <= THUMBNAIL_BYTES:
            return "webp", encoded
    # Only noise needs this. Half the side needs a quarter of the bytes.
    return _encode(image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS))


def _save(image: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def preview_bytes(preview: CardPreview) -> int:
    """Return the bytes that a preview needs on the page."""
    if isinstance(preview, Thumbnail):
        return len(preview.data_url)
    texts = [preview[:_TEXT_LENGTH]] if isinstance(preview, str) else map(str, preview[:_COLUMNS])
    return sum(len(escape(text).encode(errors="replace")) for text in texts)


def preview_fields(preview: CardPreview | None) -> dict[str, object]:
    """Return a preview for a template: image, text or columns; the others are None."""
    return {
        "image": preview if isinstance(preview, Thumbnail) else None,
        "text": preview[:_TEXT_LENGTH] if isinstance(preview, str) else None,
        "columns": preview[:_COLUMNS] if isinstance(preview, tuple) else None,
    }


def text_excerpt(text: str, limit: int = 600) -> str:
    """Return the text on one line, cut between words to at most `limit` characters with an ellipsis at the end."""
    # A document may have megabytes, so only its start is read.
    flat = " ".join(text[: 4 * limit].split())
    if len(flat) <= limit and len(text) <= 4 * limit:
        return flat
    head = flat[: limit - 1]
    cut = head.rfind(" ")
    # Languages without spaces and long words are cut anywhere.
    return (head[:cut] if cut > limit // 2 else head).rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def texts_excerpt(texts: Mapping[str, str], limit: int = 600) -> str:
    """Return the texts of a row by column, cut to about `limit` characters together; several have a line each."""
    if len(texts) == 1:
        return text_excerpt(next(iter(texts.values())), limit)
    share = max(_SHORTEST_EXCERPT, limit // len(texts))
    return "\n".join(f"{name}: {text_excerpt(text, share)}" for name, text in texts.items())


def row_excerpt(frame: pd.DataFrame, row: int) -> str:
    """Return the values of a table row by column: `age: 39, hours: missing, …`. `row` is a position in the frame."""
    shown = [f"{name}: {_shown(frame.iat[row, at])}" for at, name in enumerate(frame.columns[:_EXCERPT_COLUMNS])]
    return ", ".join([*shown, *["\N{HORIZONTAL ELLIPSIS}"] * (len(frame.columns) > _EXCERPT_COLUMNS)])


class Peers:
    """The rows of a table with one label, and the typical values of their columns.

    The score of a number is its robust z, the distance to the median over 1.4826 MAD (Iglewicz and Hoaglin, 1993). The
    score of another or a missing value depends on how rare it is compared with the most frequent value, on the same
    scale. Usual values and columns without spread have no score.

    Args:
        frame: all rows.
        class_rows: positions of the rows with the label.
    """

    def __init__(self, frame: pd.DataFrame, class_rows: npt.NDArray[np.integer]) -> None:
        step = math.ceil(len(class_rows) / TYPICAL_ROWS) or 1
        peers = frame.iloc[np.asarray(class_rows)[::step]]
        self._frame = frame
        self._columns = [_Column(peers.iloc[:, position]) for position in range(len(frame.columns))]

    def unusual_columns(self, row: int, count: int) -> tuple[UnusualColumn, ...]:
        """Return at most `count` unusual columns of a row, most unusual first. `row` is a position in the frame."""
        ranked = sorted(self._unusual(row), key=lambda found: -found[0])
        return tuple(
            UnusualColumn(str(self._frame.columns[at]), shown, usual) for _, at, shown, usual in ranked[:count]
        )

    def typical(self, row: int) -> dict[int, str]:
        """Return the typical values of the columns in which the row is unusual, by the position of the column."""
        return {at: usual for _, at, _, usual in self._unusual(row)}

    def _unusual(self, row: int) -> list[tuple[float, int, str, str]]:
        """Return score, position, value and typical values of each column with a score above 0."""
        judged = ((at, column.judge(self._frame.iat[row, at])) for at, column in enumerate(self._columns))
        return [(score, at, shown, usual) for at, (score, shown, usual) in judged if score > 0]


class _Column:
    """One column of the rows of a class."""

    def __init__(self, column: pd.Series) -> None:
        self._column = column
        self._is_number = _is_number(column)
        # Values are counted as text, because lists cannot be hashed. All numbers count as one value.
        self._kind = _presence if self._is_number else _shown

    def judge(self, value: object) -> tuple[float, str, str]:
        """Return the score of a value (0: usual), the value and the typical values, as text."""
        if self._is_number and not is_missing(value):
            return self._judge_number(float(value))  # type: ignore[arg-type]
        if not len(self._counts):
            return 0.0, self._kind(value), "missing"
        most = int(self._counts.iloc[0])
        ratio = (int(self._counts.get(self._kind(value), 0)) or 0.5) / most
        typical = f"{self._counts.index[0]} ({100 * most / len(self._column):.0f}\N{NO-BREAK SPACE}%)"
        return (0.0 if ratio >= 1 else NormalDist().inv_cdf(1 - ratio / 2)), self._kind(value), typical

    def _judge_number(self, value: float) -> tuple[float, str, str]:
        """Return the robust z of a value, the value, and the range of the middle half of the column."""
        if self._quartiles is None:
            return 0.0, _number(value), "missing"
        low, median, high, spread = self._quartiles
        typical = _number(low) if low == high else f"{_number(low)} to {_number(high)}"
        if not spread or math.isinf(value):
            return (0.0 if value == median else MOST_UNUSUAL), _number(value), typical
        return min(abs(value - median) / spread, MOST_UNUSUAL), _number(value), typical

    @cached_property
    def _counts(self) -> pd.Series[int]:
        """The number of rows of each value, most frequent first."""
        return self._column.map(self._kind).value_counts()

    @cached_property
    def _quartiles(self) -> tuple[float, float, float, float] | None:
        """Lower quartile, median, upper quartile and spread of the finite numbers, or None if there are none."""
        numbers = self._column.to_numpy(np.float64, na_value=np.nan)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return None
        low, median, high = (float(q) for q in np.percentile(numbers, (25, 50, 75)))
        deviations = np.abs(numbers - median)
        # If more than half of the values are equal, the MAD is 0. Then the mean deviation is used (x 1.2533 for a
        # normal).
        return low, median, high, 1.4826 * float(np.median(deviations)) or 1.2533 * float(deviations.mean())


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def is_missing(value: object) -> bool:
    """Return whether a value of a frame is missing: None, NaN, NaT or NA."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(cast("float", value))))


def _presence(value: object) -> str:
    return "missing" if is_missing(value) else "a number"


def _shown(value: object) -> str:
    return "missing" if is_missing(value) else text_excerpt(str(value), 60)


def _number(value: float) -> str:
    return f"{value:.3g}"
