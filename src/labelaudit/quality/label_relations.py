"""Measures of inputs that predict a label alone, so that a model can use them in place of the content.

Each class is compared with all others on each measure: the share of pairs, one row of the class and one other, in which
the row of the class has the larger value (the area under the ROC curve; H. Mann and D. Whitney, 1947). Only a
large effect is reported, and only if it is not chance: p-values are corrected for the number of comparisons (Y.
Benjamini and Y. Hochberg, 1995). Nothing is fitted to the labels, so all rows are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from labelaudit.findings import LabelRelation

# The share of pairs from which the measure counts as a prediction: a threshold on it then separates the class from the
# others with a balanced accuracy of about 88 % (if values are normally distributed with one spread).
LEAST_PAIRS = 0.95
# Different contents that a class, and all others, must have.
_FEWEST_ROWS = 20
_FALSE_DISCOVERIES = 0.01
_TAIL = 0.1
_NORMAL_95 = 1.96


def label_relations(
    measures: Mapping[str, npt.NDArray[np.floating]], labels: npt.NDArray[np.int64], class_names: tuple[str, ...]
) -> tuple[LabelRelation, ...]:
    """Return the measures that predict a class, the strongest first.

    Args:
        measures: by name, (n,) values; NaN if unknown.
        labels: (n,) class numbers.
        class_names: K names.
    """
    found: list[tuple[float, LabelRelation]] = []
    comparisons = 0
    for name, values in measures.items():
        is_known = ~np.isnan(values)
        known, known_labels = values[is_known], labels[is_known]
        counts = np.bincount(known_labels, minlength=len(class_names))
        compared = np.flatnonzero((counts >= _FEWEST_ROWS) & (len(known) - counts >= _FEWEST_ROWS))
        comparisons += len(compared)
        pairs, p_values = _larger_pairs(known, known_labels, counts)
        for number in compared:
            if max(pairs[number], 1 - pairs[number]) >= LEAST_PAIRS:
                relation = _relation(name, known, known_labels == number, float(pairs[number]), class_names[number])
                found.append((float(p_values[number]), relation))
    found.sort(key=lambda pair: pair[0])
    # The largest p-value that is small enough for its rank decides; the others are not needed.
    passed = [
        rank for rank, (p_value, _) in enumerate(found, 1) if p_value <= _FALSE_DISCOVERIES * rank / max(1, comparisons)
    ]
    kept = [relation for _, relation in found[: max(passed, default=0)]]
    kept.sort(key=lambda one: (-one.pairs, one.measure, one.class_name))
    return tuple(_without_mirrored(kept) if len(np.unique(labels)) == 2 else kept)


def _larger_pairs(
    values: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (K,) shares of pairs in which the row of a class has the larger value, and p-values. Ties count half."""
    total = len(values)
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[inverse]
    others = np.maximum(total - counts, 1)
    inside = np.maximum(counts, 1)
    pairs = (np.bincount(labels, ranks, minlength=len(counts)) - inside * (inside + 1) / 2) / (inside * others)
    # The variance without an effect, with ties.
    tied = ((ties.astype(np.float64) ** 3 - ties).sum()) / max(1, total * (total - 1))
    variance = (total + 1 - tied) / (12 * inside * others)
    z = np.abs(pairs - 0.5) / np.sqrt(np.maximum(variance, 1e-300))
    return pairs, np.array([math.erfc(one / math.sqrt(2)) for one in z])


def _relation(
    measure: str, values: npt.NDArray[np.floating], is_class: npt.NDArray[np.bool_], larger: float, class_name: str
) -> LabelRelation:
    is_low = larger < 0.5
    pairs = 1 - larger if is_low else larger
    signed = values if is_low else -values
    is_tail = signed <= np.quantile(signed, _TAIL, method="inverted_cdf")
    rows, others = int(is_class.sum()), int((~is_class).sum())
    error = _standard_error(pairs, rows, others)
    return LabelRelation(
        measure=measure,
        is_low=is_low,
        class_name=class_name,
        pairs=pairs,
        low=max(0.0, pairs - _NORMAL_95 * error),
        high=min(1.0, pairs + _NORMAL_95 * error),
        tail=float(is_tail.mean()),
        share=float(is_tail[is_class].mean()),
        share_of_others=float(is_tail[~is_class].mean()),
    )


def _standard_error(pairs: float, rows: int, others: int) -> float:
    """Return the standard error of a share of pairs (J. Hanley and B. McNeil, 1982)."""
    two_rows, two_others = pairs / (2 - pairs), 2 * pairs**2 / (1 + pairs)
    variance = pairs * (1 - pairs) + (rows - 1) * (two_rows - pairs**2) + (others - 1) * (two_others - pairs**2)
    return math.sqrt(max(0.0, variance) / (rows * others))


def _without_mirrored(relations: list[LabelRelation]) -> list[LabelRelation]:
    """Return the relations without those that say the same of the other one of two classes."""
    kept: list[LabelRelation] = []
    for one in relations:
        is_mirrored = any(
            other.measure == one.measure and other.is_low != one.is_low and abs(other.pairs - one.pairs) < 1e-9
            for other in kept
        )
        if not is_mirrored:
            kept.append(one)
    return kept
