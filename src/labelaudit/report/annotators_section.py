"""Annotators on the page: the worst ones, rows that need another opinion, and rows on which the model disagrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.findings import Annotators
from labelaudit.report.gallery import CardPreview, preview_bytes, preview_fields
from labelaudit.report.html import Context
from labelaudit.text import listing

# Rows of each list on the page, and how many of them are visible at once.
ANNOTATOR_ROWS = 100
OPINION_ROWS, OPEN_ROWS = 24, 6
# Bytes of the previews of both lists, which the gallery then lacks. A row needs about 900 bytes in addition.
SECTION_BYTES = 500_000
_ROW_BYTES = 900
_ANNOTATOR_BYTES = 500
_LABELS = 5


@dataclass(frozen=True)
class AnnotatorsContent:
    """What the page shows of annotators.

    Attributes:
        found: the counts.
        annotators: ANNOTATORS.
        consensus: the rows of CONSENSUS that `shown_opinions` returns.
        answers: the rows of ANSWERS about these, and about the flagged rows of the gallery.
        previews: what these rows contain, by id; empty if the page shows no contents.
    """

    found: Annotators
    annotators: pa.Table
    consensus: pa.Table
    answers: pa.Table
    previews: Mapping[str, CardPreview] = field(default_factory=dict)

    @property
    def words(self) -> Mapping[str, str]:
        """The answers to these rows and to the flagged ones of the gallery, such as `cat (3), dog (2)`, by id."""
        return _answers_in_words(self.answers)


def annotators_content(
    found: Annotators | None,
    annotators: pa.Table | None,
    consensus: pa.Table | None,
    answers: pa.Table | None,
    flagged: Sequence[str] = (),
) -> AnnotatorsContent | None:
    """Return what the page shows, without previews; None without answers of annotators.

    Args:
        flagged: ids of the rows of the gallery.
    """
    if found is None or annotators is None or consensus is None or answers is None:
        return None
    shown = pa.concat_tables([_needed(consensus), _disputed(consensus)])
    ids = [*shown["example_id"].to_pylist(), *flagged]
    is_shown = pc.is_in(answers["example_id"], pa.array(ids, pa.string()))
    return AnnotatorsContent(found, annotators, shown, answers.filter(is_shown))


def needed_ids(consensus: pa.Table, count: int) -> list[str]:
    """Return the ids of the rows of CONSENSUS that need another opinion most, the first ones first."""
    first = consensus.filter(pc.less_equal(consensus["opinion_rank"], count)).sort_by("opinion_rank")
    ids: list[str] = first["example_id"].to_pylist()
    return ids


def annotators_context(content: AnnotatorsContent | None) -> tuple[Context, int]:
    """Return what the page says about annotators, and the bytes that this needs."""
    if content is None:
        return {"annotators": None, "answers_in_words": {}}, 0
    items, used = _items(content)
    needed = set(needed_ids(content.consensus, OPINION_ROWS))
    rows = content.annotators.slice(0, ANNOTATOR_ROWS).to_pylist()
    found = content.found
    context: Context = {
        "annotators": rows,
        "all_annotators": len(content.annotators),
        "annotators_help": _help(found),
        "annotator_quality": found.quality,
        "opinions": [item for item in items if item["example_id"] in needed],
        "disputed": [item for item in items if item["is_disputed"]],
        "all_disputed": found.disputed,
        "open_opinions": OPEN_ROWS,
        "answers_in_words": content.words,
    }
    return context, used + _ANNOTATOR_BYTES * len(rows)


def _needed(consensus: pa.Table) -> pa.Table:
    return consensus.filter(pc.less_equal(consensus["opinion_rank"], OPINION_ROWS)).sort_by("opinion_rank")


def _disputed(consensus: pa.Table) -> pa.Table:
    """Return the first rows on which all annotators agree but the model does not; the most doubtful ones first."""
    rows = consensus.filter(pc.and_(consensus["is_disputed"], pc.greater(consensus["opinion_rank"], OPINION_ROWS)))
    return rows.sort_by([("p_wrong_of_model", "descending"), ("example_id", "ascending")]).slice(0, OPINION_ROWS)


def _items(content: AnnotatorsContent) -> tuple[list[dict[str, object]], int]:
    answers = content.words
    items: list[dict[str, object]] = []
    used = 0
    for row in content.consensus.to_pylist():
        preview = content.previews.get(row["example_id"])
        used += _ROW_BYTES + (0 if preview is None else preview_bytes(preview))
        shown = preview if used <= SECTION_BYTES else None
        items.append({**row, "answers": answers[row["example_id"]], **preview_fields(shown)})
    return items, min(used, SECTION_BYTES)


def _answers_in_words(answers: pa.Table) -> dict[str, str]:
    """Return the answers to each row, such as `cat (3), dog (2)`, by id."""
    frame: pd.DataFrame = answers.select(["example_id", "label"]).to_pandas()
    counts = frame.value_counts().reset_index(name="answers")
    counts = counts.sort_values(["example_id", "answers", "label"], ascending=[True, False, True])
    words = counts["label"].str.slice(0, 60) + counts["answers"].map(" ({:,})".format)
    return {str(id): listing(part.tolist(), shown=_LABELS) for id, part in words.groupby(counts["example_id"])}


def _help(found: Annotators) -> str:
    people = "annotators" if found.annotators != 1 else "annotator"
    differs = f"Their consensus differs from the given label in {found.other_labels:,} of {found.rows:,} rows."
    return f"{found.answers:,} answers of {found.annotators:,} {people}. {differs}"
