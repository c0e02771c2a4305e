"""The table of outliers, its counts and its words, and the section of the page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.report.gallery import CardPreview, UnusualColumn
from labelaudit.report.outlier_list import outliers_found, outliers_in_words, outliers_table
from labelaudit.report.outliers_section import OutliersContent, outliers_context, shown_outliers
from labelaudit.report.page import Sections, render_page
from labelaudit.schemas import EXAMPLES, OUTLIERS
from support.contents import make_content, picture

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def outliers(count: int, **values: Any) -> pa.Table:
    rows = [
        {
            "rank": number + 1,
            "example_id": f"row {number}",
            "given_label": "cat",
            "nearest_label": "dog" if number else "cat",
            "outlier_score": 2.0 - number / 1_000,
            "p_wrong": 0.25,
            "is_label_issue": number == 1,
            "file": "a.parquet",
            "row": number,
            **values,
        }
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, OUTLIERS)


def section(table: pa.Table, previews: list[CardPreview] | None = None) -> str:
    page = render_page(make_content(sections=Sections(outliers=OutliersContent(table, previews or []))))
    return page.partition('<section id="outliers"')[2].partition("</section>")[0]


def test_the_highest_score_is_first() -> None:
    examples = pa.Table.from_pylist(
        [
            {"example_id": name, "given_label": "a", "outlier_score": score, "file": "f", "row": at}
            for at, (name, score) in enumerate([("p", 1.0), ("r", 3.0), ("q", 3.0), ("s", 4.0)])
        ],
        EXAMPLES,
    )
    table = outliers_table(examples, np.array([1, 2, 3]), np.array([0, 1, 1]), ["a", "b"])
    assert table.schema.equals(OUTLIERS, check_metadata=True)
    assert table["example_id"].to_pylist() == ["s", "q", "r"]
    assert table["nearest_label"].to_pylist() == ["b", "b", "a"]
    assert table["rank"].to_pylist() == [1, 2, 3]
    none = outliers_table(examples, np.array([], np.int64), np.array([], np.int64), ["a", "b"])
    assert none.schema.equals(OUTLIERS, check_metadata=True)
    assert len(none) == 0


def test_counts_and_words() -> None:
    table = pa.concat_tables([outliers(3), outliers(1, verdict="fine"), outliers(2, verdict="remove")])
    found = outliers_found(table, 1.5)
    assert (found.rows, found.undecided, found.cut) == (4, 3, 1.5)
    assert outliers_in_words(found) == (
        "4 rows are unlike all others; see outliers.parquet. About one is expected by chance. 1 of them was reviewed.",
    )
    assert outliers_in_words(outliers_found(outliers(1), 1.5)) == (
        "1 row is unlike all others; see outliers.parquet. About one is expected by chance.",
    )
    nothing = outliers_found(outliers(0), float("inf"))
    assert nothing.cut is None
    assert outliers_in_words(nothing) == ()


def test_the_page_shows_what_nobody_has_reviewed() -> None:
    found = section(pa.concat_tables([outliers(2), outliers(1, verdict="fine")]), [picture(0), picture(1)])
    assert found.count("<li") == found.count("<img") == 2
    assert "<b>2.00</b> times the usual distance" in found
    assert found.count("nearest to") == found.count("also flagged") == 1
    assert "1 more was reviewed." in found
    assert "more</summary>" not in found


@pytest.mark.parametrize("content", [None, OutliersContent(outliers(0)), OutliersContent(outliers(3, verdict="fine"))])
def test_a_page_without_outliers(content: OutliersContent | None) -> None:
    page = render_page(make_content(sections=Sections(outliers=content)))
    assert 'id="outliers"' not in page
    assert "#outliers" not in page


def test_text_stays_text() -> None:
    unusual = UnusualColumn(HOSTILE, HOSTILE, HOSTILE)
    table = outliers(2, example_id=HOSTILE, given_label=HOSTILE, nearest_label="x" + HOSTILE, file=HOSTILE)
    found = section(table, [(unusual,), HOSTILE])
    assert "<script" not in found
    assert "<img" not in found
    assert found.count("&lt;img") > 6


def test_limits() -> None:
    assert len(shown_outliers(outliers(1_000))) == 60
    found = section(outliers(1_000))
    assert "The first 60 of 1,000." in found
    assert "<summary>48 more</summary>" in found
    texts = OutliersContent(outliers(60), ["\N{GRINNING FACE}" * 4_000] * 60)
    context, used = outliers_context(texts)
    assert used <= 600_000
    # 1,200 characters of four bytes, and the rest of a card.
    assert context["outliers"] == outliers_context(OutliersContent(outliers(60), texts.previews))[0]["outliers"]
    assert len(context["outliers"]) == 60  # type: ignore[arg-type]
    many = [tuple(UnusualColumn("c" * 900, "v" * 900, "t" * 900) for _ in range(8))] * 60
    context, used = outliers_context(OutliersContent(outliers(60), many))
    assert 500_000 < used <= 600_000
    assert 20 < len(context["outliers"]) < 60  # type: ignore[arg-type]
    assert len(shown_outliers(outliers(60))) == 60
