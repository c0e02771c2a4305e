"""Input quality on the page: counts by kind with a few examples, and measures that predict a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pandas as pd
import pyarrow as pa

from labelaudit.findings import QualityFound
from labelaudit.report.gallery import CardPreview, preview_bytes, preview_fields
from labelaudit.report.html import Context
from labelaudit.report.quality_tables import issue_counts, issue_in_words, relation_in_words
from labelaudit.schemas import INPUT_ISSUE_MEANINGS, InputIssue
from labelaudit.shares import percent

# Rows of each kind of issue on the page.
ROWS_PER_KIND = 4
# Bytes that a row needs in addition to its preview.
_ROW_BYTES = 700
# Relations on the page.
_RELATIONS = 20


@dataclass(frozen=True)
class QualityContent:
    """What the page shows of the quality of inputs.

    Attributes:
        kind: of the inputs.
        found: the counts.
        table: QUALITY.
        previews: of the rows of `shown_quality(table)`, in their order; empty if the page shows no contents.
    """

    kind: str
    found: QualityFound
    table: pa.Table
    previews: Sequence[CardPreview] = ()


def shown_quality(table: pa.Table) -> pa.Table:
    """Return the rows of QUALITY that the page shows: the first ROWS_PER_KIND of each kind."""
    turn = table["issue"].to_pandas().to_frame("issue").groupby("issue").cumcount()
    return table.take(pa.array(np.flatnonzero(turn < ROWS_PER_KIND)))


def quality_context(content: QualityContent | None) -> tuple[Context, int]:
    """Return what the page says about the quality of inputs, and the bytes that this needs."""
    if content is None:
        return {"quality_kinds": [], "quality_relations": [], "quality_normal": []}, 0
    rows = list(zip_longest(shown_quality(content.table).to_pylist(), content.previews))
    used = sum(_ROW_BYTES + (0 if preview is None else preview_bytes(preview)) for _, preview in rows)
    flagged = content.table.filter(content.table["is_label_issue"])["issue"].to_pandas().value_counts()
    return {
        "quality_kinds": [
            {
                "name": issue_in_words(kind),
                "what": INPUT_ISSUE_MEANINGS[InputIssue(kind)],
                "rows": count,
                "flagged": int(flagged.get(kind, 0)),
                "shown": [
                    {**row, **preview_fields(preview), "measured": _measured(row["value"], row["limit"])}
                    for row, preview in rows
                    if row["issue"] == kind
                ],
            }
            for kind, count in issue_counts(content.found)
        ],
        "quality_relations": [relation_in_words(one, content.kind) for one in content.found.relations[:_RELATIONS]],
        "quality_normal": [
            f"{issue_in_words(name)}: {percent(share)} of all" for name, share in content.found.normal.items()
        ],
        "quality_rows": content.found.rows,
        "quality_flagged": content.found.flagged,
    }, used


def _measured(value: float, limit: float | None) -> str:
    return f"{value:.3g}" if limit is None else f"{value:.3g}, limit {limit:.3g}"


def split_issues(input_issues: str | None) -> list[str]:
    """Return the kinds of issues in a value of `input_issues`, in words."""
    return (
        []
        if input_issues is None or pd.isna(input_issues)
        else [issue_in_words(one) for one in input_issues.split(", ")]
    )
