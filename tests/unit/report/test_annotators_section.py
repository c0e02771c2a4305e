from __future__ import annotations

from typing import Any

import pyarrow as pa

from labelaudit.findings import Annotators
from labelaudit.report.annotators_section import (
    ANNOTATOR_ROWS,
    OPINION_ROWS,
    SECTION_BYTES,
    AnnotatorsContent,
    annotators_content,
    annotators_context,
    needed_ids,
)
from labelaudit.report.gallery import texts_excerpt
from labelaudit.schemas import ANNOTATORS, ANSWERS, CONSENSUS

ROWS = 200
FOUND = Annotators(150, 3 * ROWS, ROWS, 10, 5, 0.8, 3, True)


def tables() -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return 150 annotators, and 200 rows: the last five are disputed."""
    annotators = [
        {"annotator": f"w{number:03d}", "answers": 4, "quality": 0.5, "quality_high": 0.6, "quality_low": 0.4}
        for number in range(150)
    ]
    rows = [
        {
            "example_id": f"r{number:03d}",
            "given_label": "cat",
            "consensus_label": "cat",
            "is_disputed": number >= ROWS - 5,
            "opinion_rank": ROWS - number if number < 100 else number - 99,
            "p_wrong_of_model": number / ROWS,
        }
        for number in range(ROWS)
    ]
    answers = [
        {"example_id": row["example_id"], "annotator": f"w{number}", "label": label}
        for row in rows
        for number, label in enumerate(("cat", "dog", "cat"))
    ]
    return (
        pa.Table.from_pylist(annotators, ANNOTATORS),
        pa.Table.from_pylist(rows, CONSENSUS),
        pa.Table.from_pylist(answers, ANSWERS),
    )


def content(**changes: Any) -> AnnotatorsContent:
    annotators, consensus, answers = tables()
    found = annotators_content(FOUND, annotators, consensus, answers)
    assert found is not None
    return AnnotatorsContent(**{**vars(found), **changes})


def test_without_answers_there_is_no_section() -> None:
    assert annotators_content(None, None, None, None) is None
    assert annotators_context(None) == ({"annotators": None, "answers_in_words": {}}, 0)


def test_lists_are_short_and_in_their_order() -> None:
    context, used = annotators_context(content())
    annotators, opinions, disputed = (context[name] for name in ("annotators", "opinions", "disputed"))
    assert isinstance(annotators, list)
    assert isinstance(opinions, list)
    assert isinstance(disputed, list)
    assert len(annotators) == ANNOTATOR_ROWS
    assert [row["opinion_rank"] for row in opinions] == list(range(1, OPINION_ROWS + 1))
    assert opinions[0]["answers"] == "cat (2), dog (1)"
    assert [row["example_id"] for row in disputed] == ["r199", "r198", "r197", "r196", "r195"]
    assert used < SECTION_BYTES + 500 * ANNOTATOR_ROWS
    assert needed_ids(tables()[1], 2) == ["r100", "r101"]


def test_previews_have_a_limit() -> None:
    ids = [f"r{number:03d}" for number in range(ROWS)]
    previews = {example_id: texts_excerpt({"text": "long " * 50}) for example_id in ids}
    context, used = annotators_context(content(previews=previews))
    opinions = context["opinions"]
    assert isinstance(opinions, list)
    assert opinions[0]["text"].startswith("long")
    assert used > annotators_context(content())[1]
