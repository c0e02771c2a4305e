"""Texts as hashed n-gram counts. Stateless, so it is done once per machine and not once per fold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy import sparse

HASHED_FEATURES = 2**18
# Everything that decides what the counts are; a cache of counts has it in its key.
HASHING = {"features": HASHED_FEATURES, "analyzer": "word", "ngrams": [1, 2], "lowercase": True}


def hash_texts(texts: Iterable[str]) -> sparse.csr_matrix:
    """Counts of the words and word pairs of each text, in a hashed vocabulary.

    Returns a CSR matrix (N, HASHED_FEATURES) of float32 counts, rows in the order of `texts`. Hash kernel:
    Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
    """
    # Only texts need it, and it takes longer to import than all else that reading a dataset needs.
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
