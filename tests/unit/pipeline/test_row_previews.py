"""Previews of copies are those of exactly these rows; those of neighbours have a limit of their own."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.pipeline import row_previews
from labelaudit.pipeline.row_previews import copies_previews, previews_bytes
from labelaudit.report.gallery import CardPreview
from labelaudit.report.previews import Preview, text_preview
from labelaudit.schemas import NEIGHBOURS_TABLE


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


class Tens:
    """Inputs whose previews have ten bytes."""

    def whole(self, row: int) -> Preview:
        return text_preview(f"row {row:06d}")


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (1_000, ["a", "b", "x", "y", "z"]),
        # The neighbours of b, the first reviewed row, come first. Row a is reviewed itself.
        (20, ["a", "b", "x", "y"]),
        (19, ["a", "b", "y"]),
        (0, ["a", "b"]),
    ],
)
def test_previews_of_neighbours_have_a_limit(limit: int, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    near = [("a", 1, "z"), ("b", 1, "y"), ("b", 2, "a"), ("b", 3, "x")]
    names = ("example_id", "rank", "neighbour_id")
    neighbours = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in near], NEIGHBOURS_TABLE)
    tables: Any = SimpleNamespace(neighbours=neighbours)
    inputs: Any = Tens()
    monkeypatch.setattr(row_previews, "reviewed_ids", lambda *_: ["b", "a"])
    monkeypatch.setattr(row_previews, "_positions", lambda _, wanted: dict.fromkeys(wanted, 1))
    monkeypatch.setattr(row_previews, "NEIGHBOUR_BYTES", limit)
    found = pq.read_table(io.BytesIO(previews_bytes(inputs, tables, tables, 2)))
    assert found["example_id"].to_pylist() == shown
