"""The tables of label noise per class and per pair of classes: sums of `p_wrong`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from labelaudit.detection.row_scores import RowScores

_IntArray = npt.NDArray[np.int64]
_FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DoubtedPairs:
    """The P pairs of a given label and the most probable other one that occur, in the order of their class numbers."""

    given: _IntArray  # (P,)
    other: _IntArray  # (P,)
    flagged: _IntArray  # (P,) flagged rows
    wrong: _FloatArray  # (P,) sum of p_wrong over all rows, flagged or not

    @classmethod
    def count(
        cls, scores: RowScores, p_wrong: npt.NDArray[np.float32], is_flagged: npt.NDArray[np.bool_]
    ) -> DoubtedPairs:
        """Count the rows of `scores`, each with its `p_wrong` and its flag, (M,) each."""
        # One number per pair: a matrix of all pairs would be too large for many classes.
        codes = scores.labels.astype(np.int64) * scores.num_classes + scores.other
        pairs, pair_of = np.unique(codes, return_inverse=True)
        flagged = np.bincount(pair_of[is_flagged], minlength=len(pairs))
        wrong = _sums(pair_of, p_wrong, len(pairs))
        return cls(pairs // scores.num_classes, pairs % scores.num_classes, flagged, wrong)

    def by_given(self, values: npt.NDArray[np.generic], num_classes: int) -> _FloatArray:
        """Return the sums of (P,) `values` per given label, (K,)."""
        return _sums(self.given, values, num_classes)

    def by_other(self, values: npt.NDArray[np.generic], num_classes: int) -> _FloatArray:
        """Return the sums of (P,) `values` per other label, (K,)."""
        return _sums(self.other, values, num_classes)


def _sums(groups: _IntArray, values: npt.NDArray[np.generic], count: int) -> _FloatArray:
    """Return the sum of the values of each group 0..count-1."""
    return np.bincount(groups, weights=values, minlength=count).astype(np.float64)


def class_table(
    scores: RowScores, pairs: DoubtedPairs, class_names: Sequence[str], staying: _IntArray | None = None
) -> pd.DataFrame:
    """Return one row per class with the columns of schemas.CLASSES, the highest label noise first.

    `label_noise` is the mean p_wrong of the rows with the label. `inverse_label_noise` is the share of the true class
    that has another label: what moves to the class, divided by its rows after all moves.

    Args:
        staying: (K,) rows of each class without those that are to be removed, which `pairs` must not contain. Both
            shares are of them. None: all rows stay.
    """
    num_classes = len(class_names)
    examples = np.bincount(scores.labels, minlength=num_classes)
    staying = examples if staying is None else staying
    leaving, joining = pairs.by_given(pairs.wrong, num_classes), pairs.by_other(pairs.wrong, num_classes)
    noise = leaving / np.maximum(staying, 1)
    truly = staying - leaving + joining
    order = np.argsort(-noise, kind="stable")
    columns = {
        "label_issues": pairs.by_given(pairs.flagged, num_classes).astype(np.int64),
        "inverse_label_issues": pairs.by_other(pairs.flagged, num_classes).astype(np.int64),
        "label_noise": noise,
        "inverse_label_noise": np.divide(joining, truly, out=np.zeros(num_classes), where=truly > 0),
        "label_quality_score": 1 - noise,
        "mean_label_score": np.bincount(scores.labels, weights=scores.p_given, minlength=num_classes)
        / np.maximum(examples, 1),
    }
    return pd.DataFrame(
        {
            "class_name": np.asarray(class_names, dtype=object)[order],
            "status": "scored",
            "examples": examples[order],
            **{name: values[order] for name, values in columns.items()},
        }
    )


def confusion_table(
    scores: RowScores, pairs: DoubtedPairs, class_names: Sequence[str], staying: _IntArray | None = None
) -> pd.DataFrame:
    """Return one row per pair with the columns of schemas.CONFUSIONS, most flagged rows first.

    `estimated_examples` is the sum of p_wrong of the rows with this pair, flagged or not.

    Args:
        staying: (K,) as for `class_table`.
    """
    examples = np.bincount(scores.labels, minlength=len(class_names)) if staying is None else staying
    names = np.asarray(class_names, dtype=object)
    table = pd.DataFrame(
        {
            "given_label": names[pairs.given],
            "suggested_label": names[pairs.other],
            "examples": pairs.flagged,
            "estimated_examples": pairs.wrong,
            "share_of_given": pairs.wrong / np.maximum(examples[pairs.given], 1),
        }
    )[(pairs.wrong > 0) | (pairs.flagged > 0)]
    return table.sort_values(["examples", "estimated_examples"], ascending=False, kind="stable", ignore_index=True)
