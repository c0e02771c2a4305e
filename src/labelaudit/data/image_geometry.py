"""The size and the channels that a dataset's images are decoded to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from labelaudit.data.file_layout import Layout
from labelaudit.data.image_files import ImageFiles
from labelaudit.data.images import read_header
from labelaudit.data.source import Source
from labelaudit.data.values import family
from labelaudit.errors import DatasetError

SAMPLE_IMAGES = 256
# Images keep their size if all have the same size, up to this one. Others are resized to it.
DEFAULT_SIDE = 64
MAX_SIDE = 1024


class Geometry(NamedTuple):
    """(height, width), 1 (grey) or 3 (RGB) channels, and a sentence if images are resized."""

    size: tuple[int, int]
    channels: int
    guesses: tuple[str, ...]


def folder_geometry(source: Source, layout: Layout, image_size: tuple[int, int] | None) -> Geometry:
    """Return the geometry of an image folder, from the headers of images spread over the folder.

    Raises:
        DatasetError: none of these images can be read.
    """
    positions = np.unique(np.linspace(0, len(layout.images) - 1, SAMPLE_IMAGES).round().astype(int))
    paths = [layout.images[position].path for position in positions]
    encoded = (data for data, _ in ImageFiles(source, layout.images).read(paths))
    return _geometry_of(encoded, source.url, image_size)


def table_geometry(
    source: Source,
    layout: Layout,
    name: str,
    column: pa.ChunkedArray,
    image_size: tuple[int, int] | None,
) -> Geometry:
    """Return the geometry of a column of images or image paths, from the headers of its first values.

    Raises:
        DatasetError: none of these images can be read, or the dataset has no image files.
    """
    values = column.drop_null().slice(0, SAMPLE_IMAGES).to_pylist()
    if family(column.type) == "string":
        values = [{"bytes": None, "path": value} for value in values]
        if not layout.images:
            raise DatasetError(
                f"Column {name!r} names image files, but {source.url} contains none. Point dataset.url at the "
                "folder that contains both the table and the images."
            )
    values = [value if isinstance(value, dict) else {"bytes": value} for value in values]
    images = ImageFiles(source, layout.images)
    references = [value.get("path") for value in values if value["bytes"] is None]
    paths = [images.find(layout.tables[0].path, reference) for reference in references if reference]
    files = (data for data, _ in images.read(paths))
    return _geometry_of(chain((value["bytes"] for value in values), files), name, image_size)


def _geometry_of(encoded: Iterable[bytes | None], place: str, image_size: tuple[int, int] | None) -> Geometry:
    headers = [header for data in encoded if data and (header := read_header(data)) is not None]
    if not headers:
        raise DatasetError(
            f"None of the first images of {place} can be read. Check the files, or name another column with "
            "dataset.input."
        )
    channels = 1 if all(header.is_grey for header in headers) else 3
    if image_size is not None:
        return Geometry((int(image_size[0]), int(image_size[1])), channels, ())
    sizes = np.array([(header.height, header.width) for header in headers])
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    if (low == high).all() and high.max() <= DEFAULT_SIDE:
        return Geometry((int(high[0]), int(high[1])), channels, ())
    sentence = (
        f"images are brought to {DEFAULT_SIDE}x{DEFAULT_SIDE} pixels: they are {low[1]}x{low[0]} to {high[1]}x{high[0]}"
    )
    return Geometry((DEFAULT_SIDE, DEFAULT_SIDE), channels, (sentence,))
