"""Copies on the page: which rows are shown, in which order, within which limits, and that text stays text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelaudit.report.copies_section import (
    COPIES_BYTES,
    GROUPS,
    MEMBERS,
    OPEN_GROUPS,
    CopiesContent,
    copies_context,
    leaked_splits,
    shown_copies,
)
from labelaudit.report.gallery import CardPreview, thumbnail
from labelaudit.report.page import Sections, render_page
from labelaudit.schemas import DUPLICATES
from support.contents import make_content, picture

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def copies(*groups: str, **values: Any) -> pa.Table:
    """Return DUPLICATES of groups whose rows have the labels of a text, a letter each; `-` is no label."""
    rows = []
    for cluster, labels in enumerate(groups, 1):
        names = [None if label == "-" else label for label in labels]
        rows += [
            {
                "cluster": cluster,
                "example_id": f"{cluster}.{number}",
                "given_label": name,
                "distance": 0.0 if number < 2 else 0.25,
                "has_other_labels": len({*names} - {None}) > 1,
                "is_leak": False,
                "split": None,
                "status": "scored" if name else "unlabeled",
                "p_wrong": 0.5 if name else None,
                "verdict": None,
                "file": "a.parquet",
                "row": len(rows) + number,
                **values,
            }
            for number, name in enumerate(names)
        ]
    return pa.Table.from_pylist(rows, DUPLICATES)


def ids(table: pa.Table) -> list[str]:
    found: list[str] = shown_copies(table)["example_id"].to_pylist()
    return found


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def page_of(kind: str, table: pa.Table, previews: list[CardPreview] | None = None) -> str:
    content = CopiesContent(kind, table, previews or [])
    return render_page(make_content(sections=Sections(copies=content))).partition("</style>")[2]


def test_one_row_of_each_label_is_shown_first() -> None:
    assert ids(copies("aaba", "cc", "ddd")) == ["1.0", "1.2", "1.1", "1.3"]
    assert ids(copies("a" * 20 + "b-")) == ["1.0", "1.20", "1.21", *(f"1.{number}" for number in range(1, 6))]
    assert ids(copies("aa")) == []
    many = copies(*["ab"] * (GROUPS + 5))
    assert ids(many)[-1] == f"{GROUPS}.1"
    assert len(ids(copies("ab" * 30, "ba"))) == MEMBERS + 2


def test_a_group_in_words() -> None:
    conflicts = section(page_of("image", copies("aab-"), [picture(row) for row in range(4)]), "conflicts")
    assert "<b>4 rows</b> <bdi>a (2), b, no label</bdi>" in conflicts
    assert conflicts.count("exact copy") == 2
    assert conflicts.count("nearly the same") == 2 + 1, "and once in the sentence on top"
    assert conflicts.count("likely wrong") == 3
    assert conflicts.count("<span>unlabeled</span>") == 1
    assert conflicts.count('src="data:image/png') == 4
    assert 'href="./duplicates.parquet"' in conflicts
    judged = section(page_of("text", copies("ab", verdict="fine"), ["one", "two"]), "conflicts")
    assert judged.count("<b>judged fine</b>") == 2
    leak = section(page_of("text", copies("ab", is_leak=True, split="test"), ["one", "two"]), "conflicts")
    assert leak.count("<span>split <bdi>test</bdi></span>") == 2


def test_the_section_comes_before_the_flagged_examples() -> None:
    page = page_of("text", copies("ab"), ["one", "two"])
    assert page.index('id="conflicts"') < page.index('id="examples"')
    assert '<a href="#conflicts">Copies</a>' in page


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("table", "the columns do not decide the label"), ("vector", "vectors do not decide the label")],
)
def test_equal_rows_are_shown_once(kind: str, sentence: str) -> None:
    conflicts = section(page_of(kind, copies("ab"), ["size: 3", "size: 3"]), "conflicts")
    assert conflicts.count("size: 3") == 1
    assert sentence in conflicts


def test_without_previews_the_labels_are_listed() -> None:
    for kind in ("image", "text", "table", "vector"):
        conflicts = section(page_of(kind, copies("ab")), "conflicts")
        assert "<blockquote" not in conflicts
        assert conflicts.count('class="member"') == 2


def test_nothing_is_said_without_copies() -> None:
    for page in (page_of("text", copies()), render_page(make_content()).partition("</style>")[2]):
        assert "conflicts" not in page
        assert 'id="copies"' not in page


def test_groups_with_equal_labels_are_counted_below() -> None:
    page = page_of("text", copies("ab", "ccc", "dd"), ["one", "two"])
    assert "2 groups of copies have no different labels: 5 rows, 4 of them exact copies." in section(page, "copies")
    assert page.index('id="copies"') > page.index('id="rows"')
    assert "1 group of copies has no different labels: 2 rows" in section(page_of("text", copies("aa")), "copies")
    assert 'id="copies"' not in page_of("text", copies("ab"))


def test_leaks_are_counted_by_their_splits() -> None:
    table = copies("ab", "aa", "bbb", "cc", is_leak=True)
    splits = ["train", "test", "train", "test", "train", "val", "train", "x", "x"]
    is_leak = [True] * 7 + [False] * 2
    table = table.set_column(6, DUPLICATES.field("split"), pa.array(splits))
    table = table.set_column(5, DUPLICATES.field("is_leak"), pa.array(is_leak))
    assert leaked_splits(table) == [
        {"splits": "test, train", "groups": 2, "rows": 4},
        {"splits": "train, val", "groups": 1, "rows": 3},
    ]
    shown = section(page_of("text", table), "copies")
    assert "test, train" in shown
    assert "has seen it" in shown
    # Leaks are named even if all groups have different labels.
    assert "train" in section(page_of("text", copies("ab", is_leak=True, split="train")), "copies")


def test_more_groups_can_be_opened_and_the_others_are_counted() -> None:
    few = section(page_of("text", copies(*["ab"] * OPEN_GROUPS)), "conflicts")
    assert "<details" not in few
    assert "All rows:" in few
    one_more = section(page_of("text", copies(*["ab"] * (OPEN_GROUPS + 1))), "conflicts")
    assert "<summary>1 more group</summary>" in one_more
    many = section(page_of("text", copies(*["ab"] * (GROUPS + 5))), "conflicts")
    assert f"<summary>{GROUPS - OPEN_GROUPS} more groups</summary>" in many
    assert f"The first {GROUPS} of {GROUPS + 5} groups. All:" in many
    assert many.count('class="group"') == GROUPS
    assert "and 52 more rows" in section(page_of("text", copies("ab" * 30)), "conflicts")


def test_the_largest_groups_leave_room_for_the_gallery() -> None:
    noise = thumbnail(np.random.default_rng(0).integers(0, 255, (192, 192, 3), dtype=np.uint8))
    table = copies(*["ab" * MEMBERS] * GROUPS)
    content = CopiesContent("image", table, [noise] * (GROUPS * MEMBERS))
    _, used = copies_context(content)
    assert COPIES_BYTES / 2 < used <= COPIES_BYTES
    page = make_content(rows=900, previews=lambda _: noise, sections=Sections(copies=content))
    assert len(render_page(page).encode()) < 5_000_000
    alone = render_page(replace(page, sections=Sections()))
    assert alone.count('class="card"') > render_page(page).count('class="card"') > 100


@pytest.mark.parametrize("kind", ["text", "table"])
def test_hostile_text_stays_text(kind: str) -> None:
    table = copies("ab", example_id=HOSTILE, given_label=HOSTILE, split=HOSTILE, file=HOSTILE, is_leak=True)
    page = page_of(kind, table, [HOSTILE, HOSTILE])
    assert "<img src=x" not in page
    assert page.count("<script>") == 1
