"""Which columns contain vectors that can be the input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa

from labelaudit.codec import JsonObject
from labelaudit.data.vectors import MIN_SAME_LENGTH, contains_numbers, typical_length
from labelaudit.errors import DatasetError
from labelaudit.text import listing

VECTOR_NAMES = ("embedding", "embeddings", "emb", "vector", "vectors", "features", "feature_vector", "representation")
# Lists of numbers that are not features: tokens, outputs of a model, and places in an image.
_OTHER_LISTS = re.compile(
    r"(^|_)(ids?|mask|tokens?|probs?|probabilit(y|ies)|logits?|scores?|predictions?|preds?|bbox(es)?|box(es)?)\d*$",
    re.IGNORECASE,
)
_WRITTEN_OUT = re.compile(r"\s*\[(?=\D*\d)[-+.,;\s\deE]*+\]\s*")
AS_TEXT = "contains vectors as text"
# Share of the lists that have the most frequent length, in a column that is guessed to contain vectors.
_MIN_REGULAR = 0.9


def are_features(name: str, column: pa.ChunkedArray, type: pa.DataType, feature: JsonObject) -> bool:
    """Return whether a column seems to contain vectors that describe the examples, such as embeddings.

    Args:
        name: the column.
        column: its first rows.
        type: its type in all files.
        feature: its Hugging Face feature, or an empty object.
    """
    if not contains_numbers(type) or _OTHER_LISTS.search(name) or _contains_classes(feature):
        return False
    length, share = typical_length(column)
    return length > 1 and share >= _MIN_REGULAR


def check_vectors(name: str, column: pa.ChunkedArray, type: pa.DataType) -> None:
    """Check that a column that the user named contains vectors of one length.

    Raises:
        DatasetError: it contains something else, or its first lists have several lengths.
    """
    if not contains_numbers(type):
        raise DatasetError(
            f"Column {name!r} contains no vectors: its type is {type}. Name a column of lists of numbers."
        )
    length, share = typical_length(column)
    if not length:
        raise DatasetError(
            f"Column {name!r} contains no vectors: its first {len(column)} rows are missing or empty lists. Name "
            "another column."
        )
    if share <= MIN_SAME_LENGTH:
        raise DatasetError(
            f"Column {name!r} cannot be the input: its lists have different lengths, and only {share:.0%} of the first "
            f"{len(column)} have the most frequent one, {length}. All vectors of a dataset must have the same length. "
            "Reduce each list to one vector, for example to its mean over tokens."
        )


def are_written_out(values: Iterable[str]) -> bool:
    """Return whether all texts are lists of numbers in brackets, as pandas writes vectors to CSV."""
    texts = list(values)
    return bool(texts) and all(_WRITTEN_OUT.fullmatch(text) for text in texts)


def other_vectors(names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on columns of vectors that are not the input, if there are any."""
    verb = "contains" if len(names) == 1 else "contain"
    others = listing(map(repr, names))
    return (f"not used: {others}, which also {verb} vectors; name the input with dataset.input",) if names else ()


def _contains_classes(feature: JsonObject) -> bool:
    inner = feature.get("feature")
    return isinstance(inner, dict) and inner.get("_type") == "ClassLabel"
