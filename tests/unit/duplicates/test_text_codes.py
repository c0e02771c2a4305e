"""Texts that share most of their passages are near-copies."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.duplicates import text_codes as module
from labelaudit.duplicates.text_codes import MINIMUMS, similar_pairs, text_codes, text_table_codes

WORDS = np.array([f"{first}{second}{third}" for first in "bdfgk" for second in "aeiou" for third in "lmnrst"])


def sentence(words: int, seed: int) -> list[str]:
    return np.random.default_rng(seed).choice(WORDS, words).tolist()


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of passages of 5 bytes."""
    sets = [{data[at : at + 5] for at in range(max(1, len(data) - 4))} for data in (one.encode(), other.encode())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize("changed", [1, 4, 10, 25])
def test_equal_minimums_estimate_the_shared_passages(changed: int) -> None:
    differences = []
    for seed in range(30):
        words = sentence(40, seed)
        other = [*words[: 40 - changed], *sentence(changed, 1_000 + seed)]
        codes = text_codes([" ".join(words), " ".join(other)])
        differences.append((codes[0] == codes[1]).mean() - similarity(" ".join(words), " ".join(other)))
    # The standard error of one estimate is at most 1/16, so that of the mean of 30 is at most 0.0114.
    assert abs(np.mean(differences)) < 4 * 0.0114
    assert np.abs(differences).max() < 4 / 16


@given(st.lists(st.text(max_size=40), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_text_has_one_code_whatever_is_next_to_it(texts: list[str]) -> None:
    together = text_codes(texts)
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(together[row], text_codes([text])[0])


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(sentence(12, seed)) for seed in range(40)] + ["", "a"]
    whole = text_codes(texts)
    monkeypatch.setattr(module, "_PIECE_BYTES", 100)
    np.testing.assert_array_equal(text_codes(texts), whole)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Shares of ACME fell on Monday", "shares  of Acme\tfell on monday\n"),
        ("ab", "AB "),
        ("é" * 30, "É" * 30),
    ],
)
def test_case_and_spacing_do_not_matter(one: str, other: str) -> None:
    codes = text_codes([one, other])
    np.testing.assert_array_equal(codes[0], codes[1])


@pytest.mark.parametrize(("one", "other"), [("great :)", "great :("), ("a", "b"), ("12.5", "12.6")])
def test_signs_and_digits_matter_in_short_texts(one: str, other: str) -> None:
    assert len(similar_pairs(text_codes([one, other]))) == 0


def test_blank_texts_are_in_no_pair() -> None:
    codes = text_codes(["", "  \n", "\t"])
    assert not codes.any()
    assert len(similar_pairs(codes)) == 0
    assert len(similar_pairs(np.zeros((0, MINIMUMS), np.uint16))) == 0


def test_near_copies_among_many() -> None:
    originals = [sentence(40, seed) for seed in range(300)]
    copies = [[*words[:38], "entirely", "new"] for words in originals[:30]]
    pairs = similar_pairs(text_codes([" ".join(words) for words in (*originals, *copies)]))
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == {(k, 300 + k) for k in range(30)}
    assert (pairs.distance <= 0.2).all()
    assert (pairs.distance > 0).mean() > 0.9


def test_texts_from_a_template_are_in_no_pair() -> None:
    template = sentence(30, 0)
    texts = [" ".join([*template[:15], f"{number}", *template[15:]]) for number in range(1_000, 1_040)]
    others = [" ".join(sentence(30, seed)) for seed in range(1, 11)]
    codes = text_codes([*texts, *others, *(f"{other}!" for other in others)])
    assert (codes[0] == codes[1]).mean() > 0.8
    pairs = similar_pairs(codes)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(k, k + 10) for k in range(40, 50)]


def test_a_few_texts_that_are_nearly_the_same_are_all_in_pairs() -> None:
    template = sentence(60, 0)
    texts = [" ".join([*template, f"{number}"]) for number in range(10)]
    pairs = similar_pairs(text_codes(texts))
    assert len(pairs) == 45


def test_columns_count_together_in_any_order() -> None:
    table = pa.table({"title": ["one", "two"], "body": ["first text", "second text"]})
    np.testing.assert_array_equal(text_table_codes(table), text_table_codes(table.select(["body", "title"])))
    assert not np.array_equal(*text_table_codes(table))
