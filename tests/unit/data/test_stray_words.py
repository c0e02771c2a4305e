"""Words among numbers."""

from __future__ import annotations

import pyarrow as pa
import pytest

from labelaudit.data.stray_words import MAX_STRAY_WORDS, StrayWords, distinct_numbers

NUMBERS = ["1", "-2.5", "1,234.5", "3,5", "1e-3", " 7 ", "+.5", "1 234"] * 10


@pytest.mark.parametrize(
    ("others", "are_stray"),
    [
        ([], False),
        (["ND"], True),
        (["ND", "<0.1", "-", ""], True),
        ([f"w{number}" for number in range(MAX_STRAY_WORDS + 1)], False),
        (["ND"] * 9, False),  # more than a tenth
    ],
)
def test_few_words_among_many_numbers_are_stray(others: list[str], are_stray: bool) -> None:
    words = StrayWords()
    words.add(pa.array([*NUMBERS, *others, None]))
    assert words.are_stray() == are_stray
    assert words.total() == len(NUMBERS) + sum(map(bool, others))


def test_words_are_counted_over_batches() -> None:
    words = StrayWords()
    for batch in (["ND", "ND", "?"], NUMBERS, ["ND"]):
        words.add(pa.array(batch))
    assert words.listed() == "'ND' (3 times), '?' (1 time)"


def test_a_column_of_words_is_given_up() -> None:
    words = StrayWords()
    words.add(pa.array([f"word {number}" for number in range(1000)]))
    words.add(pa.array(NUMBERS * 1000))
    assert words.numbers == 0
    assert not words.are_stray()


def test_few_values_say_nothing() -> None:
    words = StrayWords()
    words.add(pa.array([*NUMBERS[:10], "ND"]))
    assert not words.are_stray()


def test_different_numbers() -> None:
    assert distinct_numbers(["1", "1", "2", "S"]) == 2
    assert distinct_numbers([]) == 0
