"""The table of input issues, its counts and sentences, and its section of the page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.findings import LabelRelation, QualityFound
from labelaudit.report.page import Sections, render_page
from labelaudit.report.quality_section import (
    ROWS_PER_KIND,
    QualityContent,
    quality_context,
    shown_quality,
    split_issues,
)
from labelaudit.report.quality_tables import (
    PLACE_COLUMNS,
    first_ids,
    quality_changes,
    quality_found,
    quality_in_words,
    quality_table,
    relation_in_words,
)
from labelaudit.schemas import QUALITY
from support.contents import make_content, picture
from support.dashboards import small_examples

RELATION = LabelRelation("brightness", True, "cat", 0.97, 0.95, 0.99, 0.1, 0.9, 0.02)
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def issues(*found: tuple[int, str, float, float], examples: pa.Table | None = None) -> pa.Table:
    position, issue, value, limit = zip(*found, strict=True) if found else ((), (), (), ())
    return quality_table(
        small_examples(12) if examples is None else examples,
        np.array(position, np.int64),
        np.array(issue, object),
        np.array(value, np.float32),
        np.array(limit, np.float32),
    )


FOUND = issues((4, "blurred", 0.05, 0.04), (8, "dark", 0.2, 0.3), (4, "dark", 0.01, 0.3), (5, "constant", 1, np.nan))


def test_the_table_is_ordered_by_kind_and_by_how_far_values_are_beyond_the_limit() -> None:
    assert FOUND.schema.equals(QUALITY, check_metadata=True)
    assert [(row["issue"], row["example_id"]) for row in FOUND.to_pylist()] == [
        ("dark", "example-004"),
        ("dark", "example-008"),
        ("blurred", "example-004"),
        ("constant", "example-005"),
    ]
    assert FOUND["limit"].to_pylist()[-1] is None
    examples = small_examples(12).to_pylist()
    first = FOUND.to_pylist()[0]
    assert all(first[name] == examples[4][name] for name in ("given_label", "is_label_issue", "p_wrong", "file", "row"))


def test_before_detection_nothing_is_known_of_flags() -> None:
    table = issues((4, "dark", 0.1, 0.3), examples=small_examples(12).select(PLACE_COLUMNS.names))
    assert table["is_label_issue"].to_pylist() == [None]
    assert quality_found(table, {}, ()).flagged == 0
    assert issues().num_rows == 0


def test_a_row_with_two_issues_counts_once() -> None:
    found = quality_found(FOUND, {"bright": 0.2}, [RELATION])
    flagged = {row["example_id"] for row in FOUND.to_pylist() if row["is_label_issue"]}
    assert (found.rows, found.flagged) == (3, len(flagged))
    assert found.issues == {"dark": 2, "blurred": 1, "constant": 1}


def test_sentences() -> None:
    found = QualityFound(3, 1, {"dark": 2, "blurred": 1}, {"bright": 0.2}, (RELATION,))
    relation, counts, normal = (text.replace("\N{NO-BREAK SPACE}", " ") for text in quality_in_words(found, "image"))
    assert relation == (
        "Brightness alone predicts the label 'cat': 90.0 % of its images are among the darkest 10.0 % of all, and "
        "2.0 % of the others. A model can use this and ignore the rest. Check whether it belongs to the class, or only "
        "to how its images were collected."
    )
    assert counts == (
        "3 rows have inputs that are hard to use (2 dark, 1 blurred). 1 of them is flagged; see quality.parquet."
    )
    assert normal.startswith("20.0 % of the images have the issue 'bright'.")
    named = quality_in_words(replace(found, normal={}, relations=()), "image", first_ids(FOUND, 2))
    assert named == (
        "3 rows have inputs that are hard to use (2 dark, 1 blurred). The first ones: example-004, example-008.",
    )
    assert quality_in_words(QualityFound(0, 0, {}, {}, ()), "image") == ()


def test_many_relations_are_cut() -> None:
    found = QualityFound(0, 0, {}, {}, (RELATION,) * 8)
    assert len(quality_in_words(found, "image")) == 6
    assert quality_in_words(found, "image")[-1].startswith("3 more measures of the images predict a label")


@pytest.mark.parametrize("is_low", [True, False])
@pytest.mark.parametrize(
    ("measure", "kind"),
    [
        *((name, "image") for name in ("brightness", "edge_width", "colour", "aspect_ratio", "side")),
        ("length", "text"),
        ("language", "text"),
        ("missing", "table"),
    ],
)
def test_every_measure_has_words(measure: str, kind: str, is_low: bool) -> None:
    text = relation_in_words(replace(RELATION, measure=measure, is_low=is_low), kind)
    assert "alone predicts the label 'cat'" in text


def test_changes_between_audits() -> None:
    before = QualityFound(2, 0, {"dark": 2}, {}, ())
    now = QualityFound(4, 0, {"dark": 2, "blurred": 2}, {}, (RELATION,))
    assert quality_changes(before, now, "v1") == [
        "Inputs that are blurred: 2, compared with 0 in version v1.",
        "Brightness alone predicts the label 'cat', which it did not in version v1.",
    ]
    assert quality_changes(now, now, "v1") == []
    assert quality_changes(None, now, "v1") == quality_changes(now, None, "v1") == []


def content(table: pa.Table, **changes: object) -> QualityContent:
    return QualityContent("image", quality_found(table, {}, ()), table, **changes)


def test_a_few_rows_of_each_kind_are_shown() -> None:
    many = issues(*((at, "dark", 0.1 + at / 100, 0.3) for at in range(10)), (1, "blurred", 0.05, 0.04))
    shown = shown_quality(many)
    assert shown["issue"].to_pylist() == ["dark"] * ROWS_PER_KIND + ["blurred"]
    assert shown["example_id"].to_pylist()[0] == "example-000"
    assert shown_quality(issues()).num_rows == 0


def test_the_page_has_a_section_and_chips_or_neither() -> None:
    page = render_page(make_content(sections=Sections(quality=content(FOUND, previews=[picture(0)] * 4))))
    section = page.partition('<section id="quality"')[2].partition("</section>")[0]
    assert section.count("<img") == 4
    assert section.index("<b>dark</b>") < section.index("<b>blurred</b>")
    assert "0.01, limit 0.3" in section
    assert 'href="#quality"' in page
    without = render_page(make_content())
    assert 'id="quality"' not in without
    assert 'href="#quality"' not in without


def test_rows_without_previews_are_named() -> None:
    context, used = quality_context(content(FOUND))
    assert used > 0
    kinds = context["quality_kinds"]
    assert isinstance(kinds, list)
    assert [len(kind["shown"]) for kind in kinds] == [2, 1, 1]


@pytest.mark.parametrize(
    ("rows", "flagged", "words"),
    [
        (1, 0, "It is not flagged;"),
        (1, 1, "It is flagged;"),
        (2, 0, "None of them is flagged;"),
        (3, 2, "2 of them are flagged;"),
    ],
)
def test_flagged_inputs_in_words(rows: int, flagged: int, words: str) -> None:
    (sentence,) = quality_in_words(QualityFound(rows, flagged, {"dark": rows}, {}, ()), "image")
    assert words in sentence


def test_text_of_the_dataset_stays_text() -> None:
    table = pa.Table.from_pylist(
        [{**row, "example_id": HOSTILE, "given_label": HOSTILE, "file": HOSTILE} for row in FOUND.to_pylist()], QUALITY
    )
    relation = replace(RELATION, class_name=HOSTILE)
    found = replace(quality_found(table, {}, ()), relations=(relation,))
    page = render_page(make_content(sections=Sections(quality=QualityContent("text", found, table, [HOSTILE] * 4))))
    assert "<script>alert" not in page
    assert "onerror=alert(1)>" not in page


def test_kinds_of_a_row() -> None:
    assert split_issues("dark, low_information") == ["dark", "low information"]
    assert split_issues(None) == []
