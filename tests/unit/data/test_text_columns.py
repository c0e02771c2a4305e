"""Texts among the columns of strings, and columns that belong together."""

from __future__ import annotations

import pytest

from labelaudit.data.text_columns import are_mostly_distinct, contains_sentences, joint_columns, typical_words


@pytest.mark.parametrize(
    ("values", "is_text"),
    [
        (["the man sleeps in the park"], True),
        (["red cotton shirt"], False),
        (["这个手机屏幕"], True),  # a short title
        (["王小明"], False),  # a name
        (["昨日とても美味しいラーメン"], True),
        (["ร้านนี้อร่อยมากจริง"], True),
        (["สมชาย ใจดี"], False),
        (["iPhone 15 屏幕 很好"], True),
        (["“well” … ! ?"], False),
        ([], False),
        # Half of them decide.
        (["one two three four five", "one two three four five", "x"], True),
    ],
)
def test_sentences_are_known_by_their_words(values: list[str], is_text: bool) -> None:
    assert contains_sentences(values) == is_text


def test_words_are_counted_or_estimated() -> None:
    assert typical_words(["one two", "one two three four"]) == 3
    assert typical_words(["手机手机手机"]) == pytest.approx(5)


def test_categories_repeat() -> None:
    assert are_mostly_distinct(["a", "b", "c", "c"])
    assert not are_mostly_distinct(["a", "b", "a", "b"])


@pytest.mark.parametrize(
    ("names", "joint"),
    [
        (["hypothesis", "Premise", "x"], ("Premise", "hypothesis")),
        (["text", "title"], ("title", "text")),
        (["sentence2", "sentence1"], ("sentence1", "sentence2")),
        (["text_a", "text_b"], ("text_a", "text_b")),
        (["option 1", "option 3", "option 2"], ("option 1", "option 2", "option 3")),
        (["text", "summary"], ()),
        (["alpha", "alphb", "sentence1"], ()),
        ([], ()),
    ],
)
def test_known_names_belong_together(names: list[str], joint: tuple[str, ...]) -> None:
    assert joint_columns(names) == joint
