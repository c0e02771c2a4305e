"""The page's section on reviews: what it says, and that it says it of hostile names too."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from typing import Any

import pyarrow as pa

from labelaudit.codec import from_record
from labelaudit.findings import Review
from labelaudit.report.page import render_page
from labelaudit.report.reviewed import LISTED_ROWS, review_section
from labelaudit.schemas import EXAMPLES
from support.contents import make_content

PRECISION = {"estimate": 0.8, "low": 0.6, "high": 0.9, "wrong": 16, "fine": 4, "ambiguous": 3}
STRATA = [
    {"name": "flagged", "rows": 100, "sampled": 50, "judged": 40, "wrong": 30, "fine": 8, "ambiguous": 2},
    {"name": "unflagged", "rows": 900, "sampled": 50, "judged": 50, "wrong": 1, "fine": 49, "ambiguous": 0},
]
RATE = {
    "estimate": 0.093,
    "low": 0.07,
    "high": 0.15,
    "with_ambiguous": {"estimate": 0.098, "low": 0.075, "high": 0.155},
    "confidence": 0.95,
    "version": "<v1>",
    "audit_id": "a1",
    "fingerprint": "f1",
    "seed": 0,
    "sampled_at": "2026-01-01T00:00:00+00:00",
    "same_version": False,
    "strata": STRATA,
}
REVIEW: dict[str, Any] = {
    "verdicts": {"wrong": 2, "fine": 5, "ambiguous": 1},
    "ended": 4,
    "dismissed": 3,
    "known_wrong": 2,
    "precision": {**PRECISION, "random": {**PRECISION, "estimate": 0.5, "wrong": 2, "fine": 2}},
    "error_rate": RATE,
}


def examples(rows: int, name: str = "i{}") -> pa.Table:
    values = {
        "example_id": [name.format(row) for row in range(rows)],
        "given_label": ["<b>bee</b>"] * rows,
        "verdict": ["fine" if row % 2 else "wrong" for row in range(rows)],
        "right_label": ["=ant"] * rows,
        "file": ["f"] * rows,
        "row": list(range(rows)),
    }
    columns = [values.get(field.name, pa.nulls(rows, field.type)) for field in EXAMPLES]
    return pa.table([pa.array(one, field.type) for one, field in zip(columns, EXAMPLES, strict=True)], schema=EXAMPLES)


def page(review: dict[str, Any] | None, rows: int = 4) -> str:
    found = None if review is None else from_record(Review, review)
    content = replace(make_content(), review=review_section(found, examples(rows, "<script>{}")))
    return render_page(content)


def plain(html: str) -> str:
    return unescape(html).replace("\N{NO-BREAK SPACE}", " ")


def test_one_line_where_nobody_has_judged() -> None:
    empty = {**REVIEW, "verdicts": dict.fromkeys(REVIEW["verdicts"], 0), "ended": 0}
    for review in (None, empty):
        html = page(review)
        assert "No label has been reviewed yet." in html
        assert "A verdict expires" not in html


def test_figures_and_sentences() -> None:
    html = page(REVIEW)
    text = plain(html)
    assert "2 wrong, 5 fine, 1 ambiguous; 4 expired because the content or label changed" in text
    assert "of 20 flagged rows judged wrong or fine so far, 16 were wrong (3 ambiguous ones left out)" in text
    assert "Among randomly sampled flags it is 50.0 % (95 % interval 60.0 % to 90.0 %, 4 rows)." in text
    assert "from verdicts on a random sample, 40 of 100 flagged rows, 50 of 900 unflagged rows." in text
    assert "If ambiguous labels count as wrong, it is 9.8 %" in text
    assert "The sample is from version <v1>, which has other rows or labels. The gate does not use it." in text
    assert "Judged rows count as wrong or fine in the numbers at the top of the page" in text
    assert "&lt;v1&gt;" in html
    assert "Judged wrong and not fixed yet: 2" in text


def test_no_more_is_said_than_was_measured() -> None:
    text = plain(page({**REVIEW, "precision": None, "error_rate": None}))
    assert "Measured" not in text.split('id="review"')[1].split("</section>")[0]
    rate = {**RATE, "same_version": True, "strata": [{**STRATA[0], "ambiguous": 0}]}
    text = plain(page({**REVIEW, "precision": {**PRECISION, "random": None}, "error_rate": rate}))
    for words in ("If ambiguous labels count", "The sample is from version", "Among randomly sampled flags"):
        assert words not in text


def test_wrong_labels_are_text_and_not_endless() -> None:
    html = page(REVIEW, rows=4 * LISTED_ROWS)
    assert "&lt;script&gt;0" in html
    assert "<script>0" not in html
    assert "&lt;b&gt;bee&lt;/b&gt;" in html
    assert f"the first {LISTED_ROWS} of {2 * LISTED_ROWS}" in html
    assert "&lt;script&gt;198<" in html
    assert "&lt;script&gt;200<" not in html
