"""Texts as hashed n-gram counts. Nothing is fitted, so this runs once per machine and not once per fold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy import sparse

HASHED_FEATURES = 2**18
# All settings that determine the counts. They are part of the key of a cache.
HASHING = {"features": HASHED_FEATURES, "analyzer": "word", "ngrams": [1, 2], "lowercase": True}


def hash_texts(texts: Iterable[str]) -> sparse.csr_matrix:
    """Count the words and word pairs of each text, in a hashed vocabulary.

    Method: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.

    Returns:
        CSR matrix (N, HASHED_FEATURES) of float32 counts, with rows in the order of `texts`.
    """
    # Imported here because only texts need it, and the import is slow.
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=HASHED_FEATURES,
        analyzer="word",
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",
        lowercase=True,
        alternate_sign=False,
        norm=None,
        dtype="float32",
    )
    return vectorizer.transform(texts)
