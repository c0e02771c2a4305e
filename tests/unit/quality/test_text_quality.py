"""Letters, scripts and samples of texts."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.quality.scripts import SCRIPTS
from labelaudit.quality.text_quality import START_BYTES, TextMeasures, text_measures


def measured(*texts: str) -> TextMeasures:
    return text_measures(pa.table({"text": pa.array(texts, pa.large_string())}))


@pytest.mark.parametrize(
    ("text", "letters", "script"),
    [
        ("Hello, world 42!", 10, "Latin"),
        ("Größe", 5, "Latin"),
        ("Привет", 6, "Cyrillic"),
        ("日本語 カタカナ ひらがな", 11, "Chinese or Japanese"),
        ("안녕하세요", 5, "Hangul"),
        ("مرحبا", 5, "Arabic"),
        ("ὀρθός Ελλάδα", 11, "Greek"),
        ("नमस्ते", 6, "Devanagari"),
        ("𠀀𠀁", 2, "Chinese or Japanese"),
        ("😀 🎉 12 :-)", 0, "none"),
        ("", 0, "none"),
        ("ok Привет", 8, "Cyrillic"),
    ],
)
def test_letters_and_scripts(text: str, letters: int, script: str) -> None:
    found = measured(text)
    assert found.letters.tolist() == [letters]
    assert SCRIPTS[found.script[0]] == script


def test_each_text_is_measured_alone() -> None:
    found = measured("П", "", "я abc", "é")
    assert found.letters.tolist() == [1, 0, 4, 1]
    assert [SCRIPTS[number] for number in found.script] == ["Cyrillic", "none", "Latin", "Latin"]
    assert bytes(found.sample[2]).rstrip(b"\0").decode() == "я abc"


def test_samples_are_lower_case_and_the_length_is_that_of_the_whole_text() -> None:
    found = measured("ABC" * 1000)
    assert found.sample.tobytes() == (b"abc" * 1000)[:START_BYTES]
    assert found.length.tolist() == [3000]


def test_letters_after_a_line_of_dashes_count() -> None:
    assert measured("-" * 500 + " some words", "=" * 500).letters.tolist() == [9, 0]


def test_columns_are_joined_in_the_order_of_their_names() -> None:
    one = pa.table({"b": ["two"], "a": ["one"]})
    other = pa.table({"a": ["one"], "b": ["two"]})
    assert text_measures(one).sample.tolist() == text_measures(other).sample.tolist()
    assert bytes(text_measures(one).sample[0]).startswith(b"one\ntwo")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=200), max_size=8), st.integers(0, 8))
def test_any_text_is_measured(texts: list[str], start: int) -> None:
    column = pa.array(texts, pa.large_string()).slice(min(start, len(texts)))
    found = text_measures(pa.table({"text": column}))
    assert len(found.letters) == len(found.script) == len(found.sample) == len(column)
    for text, letters in zip(column.to_pylist(), found.letters, strict=True):
        assert letters <= max(START_BYTES, len(text))
        if text.isascii() and len(text) <= START_BYTES:
            assert letters == sum(character.isalpha() for character in text)
