"""Previews of copies: those of exactly these rows, whatever their ids and statuses."""

from __future__ import annotations

import pyarrow as pa

from labelaudit.pipeline.row_previews import copies_previews
from labelaudit.report.gallery import CardPreview
from labelaudit.report.previews import Preview


class Numbers:
    """Inputs whose preview is their position."""

    def card(self, row: int) -> CardPreview:
        raise AssertionError("not asked for")

    def contents(self, row: int) -> CardPreview:
        return f"content {row}"

    def whole(self, row: int) -> Preview:
        raise AssertionError("not asked for")


def test_rows_are_found_by_file_and_row_in_the_order_of_the_copies() -> None:
    # Canonical order: as in EXAMPLES.
    places = [("b", 0), ("a", 0), ("a", 1), ("b", 1), ("c", 1)]
    examples = pa.table({"file": [file for file, _ in places], "row": [row for _, row in places]})
    copies = pa.table({"row": [1, 0, 1], "example_id": ["x", "x", "x"], "file": ["b", "a", "c"]})
    assert copies_previews(Numbers(), examples, copies) == ["content 3", "content 1", "content 4"]
    assert copies_previews(Numbers(), examples, copies.slice(0, 0)) == []
