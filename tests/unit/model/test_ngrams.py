"""Hashed n-grams: counts by hand, stateless, in order, in all scripts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer

from labelaudit.model.ngrams import HASHED_FEATURES, hash_texts, text_ngrams


def _shown(text: str) -> list[str]:
    """The n-grams of a text; those of characters after a "#"."""
    return [ngram.replace("\0", "#") for ngram in text_ngrams(text)]


def test_words_and_pairs_are_counted() -> None:
    counts = hash_texts(["Red red car", "", "a"])
    assert counts.shape == (3, HASHED_FEATURES)
    assert counts.dtype == np.float32
    # "red" twice, "car", "red red", "red car"; nothing; the word "a".
    assert [sorted(counts[row].data.tolist()) for row in range(3)] == [[1, 1, 1, 2], [], [1]]


def test_a_text_is_hashed_the_same_in_any_company() -> None:
    alone, together = hash_texts(["some words here"]), hash_texts(["other", "some words here"])
    assert (alone != together[1]).nnz == 0


def test_generators_and_other_scripts_are_taken() -> None:
    counts = hash_texts(text for text in ["привет мир", "你好"])
    # Two words and a pair; a word, two characters and their pair.
    assert [row.nnz for row in counts] == [3, 4]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(max_codepoint=0x2FF) | st.sampled_from("“”…€ЖяאबΩ☺ "), max_size=60), min_size=1))
def test_scripts_with_spaces_have_the_words_of_scikit_learn(texts: list[str]) -> None:
    vectorizer = HashingVectorizer(
        n_features=HASHED_FEATURES,
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",
        alternate_sign=False,
        norm=None,
        dtype="float32",
    )
    # The dot above is a mark, which belongs to its letter here. Lower case makes it from one letter alone.
    texts = [text.replace("İ", "I") for text in texts]
    counts, expected = hash_texts(texts), vectorizer.transform(texts)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(counts, name), getattr(expected, name), strict=True)


@pytest.mark.parametrize(
    ("text", "ngrams"),
    [
        ("很好吃。", ["很好吃", "#很", "#好", "#吃", "#很好", "#好吃", "#很好吃"]),
        ("iPhone很好", ["iphone", "很好", "iphone 很好", "#很", "#好", "#很好"]),
        ("第3章", ["第", "3", "章", "第 3", "3 章", "#第", "#章"]),
        # Full-width letters and digits, half-width kana.
        ("\uff21\uff22\uff11", ["ab1"]),
        ("ｶﾞﾑ", ["ガム", "#ガ", "#ム", "#ガム"]),
        # A long vowel is a character; vowel signs and tone marks are not.
        ("コーヒ", ["コーヒ", "#コ", "#ー", "#ヒ", "#コー", "#ーヒ", "#コーヒ"]),
        ("ที่นี่", ["ที่นี่", "#ที่", "#นี่", "#ที่นี่"]),
        ("学校에", ["学校에", "#学", "#校", "#에", "#学校", "#校에", "#学校에"]),
        ("한국", ["한국", "#한", "#국", "#한국"]),
        # Words with marks stay whole; a decomposed letter is the composed one.
        ("हिन्दी भाषा", ["हिन्दी", "भाषा", "हिन्दी भाषा"]),
        ("e\u0301te\u0301", ["été"]),
        ("བོད་སྐད", ["བོད", "སྐད", "བོད སྐད"]),
        # How an emoji is drawn changes no word.
        ("1\ufe0f\u20e3 ❤\ufe0f 😀 ok", ["1", "ok", "1 ok"]),
        ("𠮷野", ["𠮷野", "#𠮷", "#野", "#𠮷野"]),
    ],
)  # fmt: skip
def test_characters_of_scripts_without_spaces(text: str, ngrams: list[str]) -> None:
    assert _shown(text) == ngrams


@pytest.mark.parametrize("length", [1, 50_000])
def test_a_long_run_has_three_ngrams_a_character(length: int) -> None:
    total = hash_texts(["字" * length]).sum()
    assert total == 1 + length + max(0, length - 1) + max(0, length - 2)


def test_columns_have_features_of_their_own() -> None:
    first, second = ["a cat sleeps"], ["no dog barks"]
    together, swapped = hash_texts(first, second), hash_texts(second, first)
    # Three words and two pairs of each.
    assert together.nnz == 10
    assert (together != swapped).nnz == 20
    # The first column is hashed as if it were alone.
    alone = hash_texts(first)
    assert together[0, alone.indices].sum() == 5


def test_what_two_columns_share_is_counted() -> None:
    apart, alike = hash_texts(["a b"], ["c d"]), hash_texts(["a b"], ["b c"])
    # The shared word, and three tenths: one of three n-grams is shared.
    assert (apart.sum(), alike.sum()) == (6, 6 + 1 + 3)
    assert hash_texts(["", "a"], ["", ""]).sum() == 1
