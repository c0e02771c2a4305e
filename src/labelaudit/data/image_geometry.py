"""The size, the channels and the range of values that a dataset's images are decoded to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from labelaudit.data.file_layout import Layout
from labelaudit.data.image_depth import DepthMeasure, ValueRanges
from labelaudit.data.image_files import ImageFiles
from labelaudit.data.image_fit import MAX_CROPPED, cropped_share, shaped_size
from labelaudit.data.images import Header, measure_depth, read_header, why_unreadable
from labelaudit.data.source import Source
from labelaudit.data.tables import read_tables
from labelaudit.data.values import family
from labelaudit.errors import DatasetError

SAMPLE_IMAGES = 256
# Images keep their size if all have the same size, up to this one. Others are resized to it.
DEFAULT_SIDE = 64
MAX_SIDE = 1024
# Less is a pixel or so, because sides are whole numbers.
_NOTABLE_CROP = 0.02
_SIXTEEN_BITS = (0, 2**16 - 1)

# Reads all images of a dataset.
ReadAll = Callable[[], Iterable[bytes | None]]


class Geometry(NamedTuple):
    """(height, width), 1 (grey) or 3 (RGB) channels, the ranges of deep images, and a sentence for each guess.

    `side` is the median of the longer sides of the sampled images as they are stored.
    """

    size: tuple[int, int]
    channels: int
    ranges: ValueRanges
    guesses: tuple[str, ...]
    side: int = 0


def folder_geometry(source: Source, layout: Layout, image_size: tuple[int, int] | None) -> Geometry:
    """Return the geometry of an image folder, from the headers of images spread over the folder.

    Images with more than 8 bits are all decoded, because the largest value decides on their range.

    Raises:
        DatasetError: none of these images can be read.
    """
    images = ImageFiles(source, layout.images)

    def read(positions: Iterable[int]) -> Iterator[bytes | None]:
        return (data for data, _ in images.read([layout.images[at].path for at in positions]))

    spread = np.unique(np.linspace(0, len(layout.images) - 1, SAMPLE_IMAGES).round().astype(int))
    return _geometry_of(read(spread), lambda: read(range(len(layout.images))), source.url, image_size)


def table_geometry(
    source: Source,
    layout: Layout,
    name: str,
    column: pa.ChunkedArray,
    image_size: tuple[int, int] | None,
) -> Geometry:
    """Return the geometry of a column of images or image paths, from the headers of its first values.

    Images with more than 8 bits are all decoded, because the largest value decides on their range.

    Raises:
        DatasetError: none of these images can be read, or the dataset has no image files.
    """
    if family(column.type) == "string" and not layout.images:
        raise DatasetError(
            f"Column {name!r} names image files, but {source.url} contains none. Point dataset.url at the "
            "folder that contains both the table and the images."
        )
    images = ImageFiles(source, layout.images)

    def read(table: str, values: pa.ChunkedArray) -> Iterator[bytes | None]:
        return _column_images(images, table, values)

    def read_all() -> Iterator[bytes | None]:
        pieces = read_tables(source, layout, [name], max_rows=SAMPLE_IMAGES)
        return chain.from_iterable(read(piece.file, piece.rows.column(name).drop_null()) for piece in pieces)

    first = column.drop_null().slice(0, SAMPLE_IMAGES)
    return _geometry_of(read(layout.tables[0].path, first), read_all, name, image_size)


def _column_images(images: ImageFiles, table: str, column: pa.ChunkedArray) -> Iterator[bytes | None]:
    """Yield the bytes of a column without nulls: first those in the table, then those of the files that it names."""
    values = column.to_pylist()
    if family(column.type) == "string":
        values = [{"bytes": None, "path": value} for value in values]
    values = [value if isinstance(value, dict) else {"bytes": value} for value in values]
    references = [value.get("path") for value in values if value["bytes"] is None]
    paths = [images.find(table, reference) for reference in references if reference]
    yield from (value["bytes"] for value in values)
    yield from (data for data, _ in images.read(paths))


def _geometry_of(
    encoded: Iterable[bytes | None], read_all: ReadAll, place: str, image_size: tuple[int, int] | None
) -> Geometry:
    sample = _Sample(encoded)
    if not sample.headers:
        reason = f" (the first one: {why_unreadable(sample.unreadable)})" if sample.unreadable else ""
        raise DatasetError(
            f"None of the first images of {place} can be read{reason}. Check the files, or name another column with "
            "dataset.input."
        )
    depth = sample.depth
    if depth and not _is_full(depth):
        depth = _measured(read_all())
    size = _size(sample.headers) if image_size is None else (int(image_size[0]), int(image_size[1]))
    guesses = (*_shape_sentences(sample.headers, size), *depth.sentences(), *_follower_sentences(sample.headers))
    channels = 1 if all(header.is_grey for header in sample.headers) else 3
    side = int(np.median([max(header.height, header.width) for header in sample.headers]))
    return Geometry(size, channels, depth.ranges(), guesses, side)


class _Sample:
    """The headers of sampled images, and the values of those with more than 8 bits."""

    def __init__(self, encoded: Iterable[bytes | None]) -> None:
        self.headers: list[Header] = []
        self.depth = DepthMeasure()
        self.unreadable: bytes | None = None  # the first one
        for data in filter(None, encoded):
            header = read_header(data)
            if header is not None:
                self.headers.append(header)
                if header.is_deep:
                    measure_depth(data, self.depth)
            else:
                self.unreadable = self.unreadable or data


def _measured(encoded: Iterable[bytes | None]) -> DepthMeasure:
    depth = DepthMeasure()
    for data in filter(None, encoded):
        measure_depth(data, depth)
    return depth


def _is_full(depth: DepthMeasure) -> bool:
    """Return whether the images use all 16 bits, so that further images hardly change their range."""
    integers, floats = depth.ranges()
    return floats is None and integers is not None and integers[:2] == _SIXTEEN_BITS


def _size(headers: Sequence[Header]) -> tuple[int, int]:
    """Return (height, width): that of all images if it is small, else the default, in the shape of most images."""
    sizes = {(header.height, header.width) for header in headers}
    if len(sizes) == 1 and max(max(sizes)) <= DEFAULT_SIDE:
        return sizes.pop()
    width, height = shaped_size(_common_aspect(headers), DEFAULT_SIDE)
    return height, width


def _common_aspect(headers: Sequence[Header]) -> float:
    """Return the aspect ratio that three quarters of the images reach: above 1 if wide, below 1 if tall, else 1."""
    low, high = np.quantile([header.width / header.height for header in headers], (0.25, 0.75), method="nearest")
    return float(low if low > 1 else high if high < 1 else 1.0)


def _shape_sentences(headers: Sequence[Header], size: tuple[int, int]) -> list[str]:
    """Return what happens to images of other sizes and shapes than (height, width)."""
    sizes = np.array([(header.height, header.width) for header in headers])
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    if (low == size).all() and (high == size).all():
        return []
    height, width = size
    sentence = f"images are brought to {width}x{height} pixels: they are {low[1]}x{low[0]} to {high[1]}x{high[0]}"
    lost = np.array([cropped_share((header.width, header.height), (width, height)) for header in headers])
    boxed = lost > MAX_CROPPED + 1e-9
    cropped = lost[~boxed]
    if len(cropped) and cropped.max() >= _NOTABLE_CROP:
        sentence += f", and up to {cropped.max():.0%} of an image is cropped at its sides"
    if boxed.any():
        sentence += (
            f"; {boxed.sum()} of {len(headers)} sampled images would lose more than half and are letterboxed instead"
        )
    return [sentence]


def _follower_sentences(headers: Sequence[Header]) -> list[str]:
    counts = Counter(header.followers for header in headers if header.followers)
    return [
        f"{count} of {len(headers)} sampled images have several {kind}: only the first is read"
        for kind, count in sorted(counts.items())
    ]
