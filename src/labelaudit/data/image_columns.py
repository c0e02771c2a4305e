"""Columns that name image files, and the files that no row names."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.data.file_layout import Layout, files_left_out
from labelaudit.data.image_files import ImageFiles
from labelaudit.data.source import Source
from labelaudit.data.tables import read_tables
from labelaudit.data.values import family
from labelaudit.findings import LeftOut

# Values that must be names of image files, and how many are looked at.
MIN_NAMES = 0.9
SAMPLE_NAMES = 64


def image_names(source: Source, layout: Layout, rows: pa.Table) -> frozenset[str]:
    """Return the columns of strings whose first values are names of image files of the dataset."""
    if not layout.images:
        return frozenset()
    images = ImageFiles(source, layout.images)
    table = layout.tables[0].path
    found = set()
    for name in rows.column_names:
        if family(rows.schema.field(name).type) != "string":
            continue
        values = [value for value in pc.unique(rows.column(name)).slice(0, SAMPLE_NAMES).to_pylist() if value]
        if values and sum(images.find(table, value) is not None for value in values) >= MIN_NAMES * len(values):
            found.add(name)
    return frozenset(found)


def unreferenced_images(source: Source, layout: Layout, column: str) -> tuple[LeftOut, ...]:
    """Return the image files that are in no row."""
    if not layout.images:
        return ()
    images = ImageFiles(source, layout.images)
    used: set[str | None] = set()
    for piece in read_tables(source, layout, [column]):
        found = piece.rows.column(0)
        values = found if family(found.type) == "string" else pc.struct_field(found, "path")
        used |= {images.find(piece.file, value) for value in values.to_pylist() if value}
    unused = [file.path for file in layout.images if file.path not in used]
    return (files_left_out(unused, "no row of the table names it"),) if unused else ()
