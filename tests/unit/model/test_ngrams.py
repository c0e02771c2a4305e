"""Hashed n-grams: counts by hand, stateless, in order."""

from __future__ import annotations

import numpy as np

from labelaudit.model.ngrams import HASHED_FEATURES, hash_texts


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
    assert [row.nnz for row in counts] == [3, 1]
