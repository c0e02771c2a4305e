"""Outliers on the page: cards of the rows that are unlike all others and that no person has decided about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.report.gallery import CardPreview, preview_bytes, preview_fields
from labelaudit.report.html import Context

# Outliers on the page, and how many of them are visible at once.
_SHOWN, _OPEN = 60, 12
# Bytes of their cards, which the gallery then lacks. A card needs about 1,200 bytes in addition to its preview.
_OUTLIERS_BYTES = 600_000
_CARD_BYTES = 1_200


@dataclass(frozen=True)
class OutliersContent:
    """What the page shows of outliers.

    Attributes:
        table: OUTLIERS.
        previews: of the rows of `shown_outliers(table)`, in their order; empty if the page shows no contents.
    """

    table: pa.Table
    previews: Sequence[CardPreview] = ()


def shown_outliers(table: pa.Table) -> pa.Table:
    """Return the rows of OUTLIERS that the page shows: the first ones without a verdict."""
    return table.filter(pc.is_null(table["verdict"])).slice(0, _SHOWN)


def outliers_context(content: OutliersContent | None) -> tuple[Context, int]:
    """Return what the page says about outliers, and the bytes that this needs."""
    if content is None:
        return {"outliers": []}, 0
    items: list[Context] = []
    used = 0
    for row, preview in zip_longest(shown_outliers(content.table).to_pylist(), content.previews):
        needed = _CARD_BYTES + (0 if preview is None else preview_bytes(preview))
        if used + needed > _OUTLIERS_BYTES:
            break
        used += needed
        items.append({**row, **preview_fields(preview)})
    undecided = content.table["verdict"].null_count
    context: Context = {
        "outliers": items,
        "open_outliers": _OPEN,
        "outliers_kind": "images" if any(item["image"] for item in items) else "texts",
        "undecided_outliers": undecided,
        "decided_outliers": len(content.table) - undecided,
    }
    return context, used
