"""Changes since the previous audit: sentences, and a section of the page."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from labelaudit.report.changes import ChangesContent, changes_content, changes_in_words, new_issues, report_of
from labelaudit.report.page import render_page
from labelaudit.schemas import CHANGES, CLASS_CHANGES, ISSUES
from support.contents import changes, make_content

HOSTILE = "<img src=x onerror=alert(1)>"


def content(new: tuple[str, ...] = (), **values: Any) -> ChangesContent:
    page = make_content()
    rows = [{"example_id": name, "issue_change": "new"} for name in new]
    classes = [
        {"class_name": "cat", "examples_before": 40, "examples": 42, "label_issues_before": 3, "label_issues": 3},
        {"class_name": "dog", "examples_before": None, "examples": 7, "label_issues": 6, "label_noise": 0.5},
        {"class_name": "eel", "examples_before": 5, "examples": 5, "label_issues_before": 1, "label_issues": 1},
    ]
    found = changes_content(
        changes(**values),
        pa.Table.from_pylist(rows, schema=CHANGES),
        pa.Table.from_pylist(classes, schema=CLASS_CHANGES),
        page.issues,
    )
    assert found is not None
    return found


def test_sentences() -> None:
    assert changes_in_words(changes()) == [
        "Since v2: 2 new, 88 fixed, 1,300 persistent.",
        "Data: 50 removed, 3 relabeled.",
        "Most relabeled: cat → dog (2), no label → cat (1).",
    ]
    loud = changes(warning="Not only the data changed.", held_versions=["v3", "v4"])
    assert changes_in_words(loud)[0] == "Not only the data changed."
    assert changes_in_words(loud)[-1] == "Skipped, because the gate failed: v3, v4."
    many = changes(held_versions=[f"h{number}" for number in range(12)])
    assert changes_in_words(many)[-1].endswith("h9 and 2 more.")
    sorted_as_in_json = changes(issues=dict(sorted(changes().issues.items())))
    assert changes_in_words(sorted_as_in_json) == changes_in_words(changes())
    still = changes(issues=dict.fromkeys(changes().issues, 0), data=dict.fromkeys(changes().data, 0))
    assert changes_in_words(still)[:2] == ["Since v2: no row is or was flagged.", "Data: the same, row by row."]


def test_nothing_to_compare_with() -> None:
    assert changes_content(None, CHANGES.empty_table(), CLASS_CHANGES.empty_table(), ISSUES.empty_table()) is None
    html = render_page(make_content())
    assert 'id="changes"' not in html
    assert 'href="#changes"' not in html


def test_the_page_of_the_previous_audit() -> None:
    assert report_of("s3://a/dataset=pets/version=v%2F2/audit=abc") == "../../version=v%252F2/audit=abc/report.html"
    assert 'href="../../version=v%252F2/audit=abc/report.html"' in render_page(make_content(changes=content()))


def test_new_issues_lead_to_their_cards() -> None:
    page = make_content()
    ids = page.issues["example_id"].to_pylist()
    html = render_page(make_content(changes=content(new=(ids[4], ids[1], "img-99999"))))
    assert html.index('<a href="#example-2">') < html.index('<a href="#example-5">')
    assert html.count('<a href="#example-') == 2
    assert html.count('id="example-2"') == 1
    # Without a card there is no link.
    plain = render_page(make_content(previews=None, changes=content(new=(ids[1],))))
    assert '<a href="#example-' not in plain
    assert "<summary>The first 1 of 2 new issues</summary>" in plain


def test_a_new_issue_that_has_another_id_now() -> None:
    page = make_content()
    first, second = page.issues["example_id"].to_pylist()[:2]
    rows = [
        {"example_id": second, "example_id_before": second, "issue_change": "new"},
        {"example_id": first, "example_id_before": "dog/7.png", "issue_change": "new"},
    ]
    new = new_issues(pa.Table.from_pylist(rows, schema=CHANGES), page.issues)
    assert new.select(["example_id", "example_id_before"]).to_pylist() == [
        {"example_id": first, "example_id_before": "dog/7.png"},
        {"example_id": second, "example_id_before": second},
    ]
    found = ChangesContent(changes(), new, CLASS_CHANGES.empty_table())
    html = render_page(make_content(changes=found))
    assert html.count('<span class="what">was ') == 1
    assert "dog/7.png" in html


def test_many_new_issues_are_cut() -> None:
    rows = [{"rank": n + 1, "example_id": f"i{n}", "label_score": 0.0, "given_label": "a"} for n in range(80)]
    new = [{"example_id": f"i{n}", "issue_change": "new"} for n in range(80)]
    found = changes_content(
        changes(issues={**changes().issues, "new": 80}),
        pa.Table.from_pylist(new, schema=CHANGES),
        CLASS_CHANGES.empty_table(),
        pa.Table.from_pylist(rows, schema=ISSUES),
    )
    assert "The first 50 of 80 new issues" in render_page(make_content(changes=found))


def test_classes_with_other_counts() -> None:
    html = render_page(make_content(changes=content()))
    assert "2 classes with different counts" in html
    section = html.split('aria-label="Classes with different counts"')[1].split("</table>")[0]
    assert section.index("dog") < section.index("cat"), "more flagged rows came and went"
    assert "eel" not in section


NO_CHANGE = {"data": dict.fromkeys(changes().data, 0)}
COPIES = {"statuses": [{"status": "duplicate_id", "examples_before": 1040, "examples": 0}]}
SCORED = {"status": "scored", "examples_before": 1000, "examples": 1001}
DATA: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": (NO_CHANGE, "the same, row by row"),
    "rows": ({}, "50 removed, 3 relabeled"),
    "copies": (NO_CHANGE | COPIES, "duplicate_id 1,040 → 0"),
    "rows and copies": (COPIES, "50 removed, 3 relabeled; duplicate_id 1,040 → 0"),
    "rows that are scored": ({"statuses": [SCORED]}, "50 removed, 3 relabeled"),
    "as many of a status, but others": (NO_CHANGE | {"other_status": 2}, "2 with another status"),
}


@pytest.mark.parametrize("name", DATA)
def test_sentence_about_the_data(name: str) -> None:
    values, words = DATA[name]
    assert f"Data: {words}." in changes_in_words(changes(**values))
    html = render_page(make_content(changes=content(**values)))
    assert ("The data is the same, row by row." in html) == (name == "nothing")
    assert ("rows of this status now; before 1,040" in html) == ("copies" in name)
    assert ('<th scope="row">other status' in html) == ("other_status" in values)


def test_hostile_values_stay_text() -> None:
    html = render_page(
        make_content(
            changes=content(
                warning=HOSTILE,
                held_versions=[HOSTILE],
                notes=[HOSTILE],
                relabeled=[{"given_label_before": HOSTILE, "given_label": HOSTILE, "examples": 1}],
                predecessor={
                    "version": HOSTILE,
                    "audit_id": "a",
                    "created_at": HOSTILE,
                    "audit_url": "javascript:alert(1)/'\"><img src=x>",
                },
            )
        )
    )
    assert "<img src=x" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 6
    assert 'href="../../javascript' in html
