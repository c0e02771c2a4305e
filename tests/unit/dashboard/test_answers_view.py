from __future__ import annotations

from dataclasses import fields
from typing import Any

from labelaudit.dashboard.answers_view import answers_html
from labelaudit.dashboard.queries import GivenAnswer, Row


def row(**values: Any) -> Row:
    return Row(**{**dict.fromkeys(field.name for field in fields(Row)), **values})


def test_answers_are_text_and_not_markup() -> None:
    answers = [GivenAnswer("<b>ann", "cat", 0.9), GivenAnswer("bob", "<i>dog", None)]
    shown = answers_html(answers, row(given_label="cat"))
    assert "&lt;b&gt;ann" in shown
    assert '<b class="given"><bdi>cat</bdi></b>' in shown
    assert "&lt;i&gt;dog" in shown
    assert shown.count("<tr>") == 2
    assert "more" not in shown


def test_many_answers_are_counted() -> None:
    assert "and 10 more" in answers_html([GivenAnswer("ann", "cat", 0.9)] * 60, row(given_label="dog"))
