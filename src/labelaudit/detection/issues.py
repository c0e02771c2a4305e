"""Label issues: flags, a suggested label per flagged row, and tables per class and per pair of classes.

The only importer of cleanlab. Its filters are in `labelaudit.detection.cleanlab_filters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from cleanlab import dataset

from labelaudit.detection.cleanlab_filters import estimate_joint, flag_by_cleanlab, too_small_classes
from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.detection.row_scores import RowScores, score_blocks
from labelaudit.detection.wrong_labels import best_cut, estimate_wrong
from labelaudit.errors import ConfigError
from labelaudit.schemas import AUTO_FILTER, FILTERS


@dataclass(frozen=True)
class LabelIssues:
    """The results of detection for M labels of K classes."""

    scores: RowScores
    p_wrong: npt.NDArray[np.float32]  # (M,) calibrated probability that the label is wrong
    cut: float | None  # the lowest p_wrong that is flagged; None with a filter of cleanlab
    label_score: npt.NDArray[np.float64]  # (M,) 0..1, the probability of the given label; low: doubtful
    is_label_issue: npt.NDArray[np.bool_]  # (M,)
    is_dismissed: npt.NDArray[np.bool_]  # (M,) not flagged only because a person judged the label fine
    predicted_labels: npt.NDArray[np.int64]  # (M,) the most probable class
    suggested_labels: npt.NDArray[np.int64]  # (M,) the most probable other class of a flagged row, else -1
    classes: pd.DataFrame  # K rows, columns of schemas.CLASSES, lowest quality first
    confusions: pd.DataFrame  # columns of schemas.CONFUSIONS, most flagged rows first
    error_rate: float  # estimated share of wrong labels, 0..1
    notes: tuple[str, ...]


def find_issues(
    labels: npt.NDArray[np.int64],
    probabilities: ProbabilityBlocks,
    class_names: Sequence[str],
    *,
    filter_by: str = AUTO_FILTER,
    is_fine: npt.NDArray[np.bool_] | None = None,
) -> LabelIssues:
    """Find labels that are probably wrong.

    Args:
        labels: (M,) int64 in 0..K-1, every class present.
        probabilities: M rows of K classes that passed `gather_folds` or `check_external`.
        class_names: K names.
        filter_by: one of `FILTERS`.
        is_fine: (M,) bool, rows whose label a person confirmed. They are not flagged and not counted as flags. The
            estimates (noise, error rate) depend on the probabilities only and do not change.

    Raises:
        ConfigError: unknown filter.
    """
    if filter_by not in FILTERS:
        raise ConfigError(f"Unknown filter {filter_by!r}. Use one of: {', '.join(FILTERS)}.")
    scores = score_blocks(labels, probabilities)
    wrong = estimate_wrong(scores)
    # The cut with the highest expected F1 is half of that F1, so it is never higher than a half.
    cut = min(best_cut(wrong.p_wrong), 0.5) if filter_by == AUTO_FILTER else None
    if cut is None:
        is_label_issue = flag_by_cleanlab(probabilities, scores, filter_by=filter_by)
    else:
        is_label_issue = wrong.p_wrong >= cut
    joint = estimate_joint(probabilities, scores)
    is_dismissed = np.zeros(len(labels), dtype=bool) if is_fine is None else is_label_issue & is_fine
    is_label_issue = is_label_issue & ~is_dismissed
    label_score = scores.p_given.astype(np.float64)
    suggested = np.where(is_label_issue, scores.other, -1).astype(np.int64)
    return LabelIssues(
        scores=scores,
        p_wrong=wrong.p_wrong,
        cut=cut,
        label_score=label_score,
        is_label_issue=is_label_issue,
        is_dismissed=is_dismissed,
        predicted_labels=scores.predicted.astype(np.int64),
        suggested_labels=suggested,
        classes=_class_table(labels, suggested, label_score, joint, class_names),
        confusions=_confusion_table(labels, suggested, joint, class_names),
        error_rate=float(1 - joint.trace()),
        notes=_notes(scores, class_names, filter_by),
    )


def is_above_cut(
    probabilities: ProbabilityBlocks, scores: RowScores, *, filter_by: str, cut: float | None
) -> npt.NDArray[np.bool_]:
    """Return the flags of other labels for the same rows, (M,) bool.

    Args:
        probabilities: M rows of K classes.
        scores: their scores with the other labels.
        filter_by: the filter of `find_issues`.
        cut: its cut, which is not chosen again; None with a filter of cleanlab.
    """
    if cut is None:
        return flag_by_cleanlab(probabilities, scores, filter_by=filter_by)
    return np.asarray(estimate_wrong(scores).p_wrong >= cut)


def _class_table(
    labels: npt.NDArray[np.int64],
    suggested: npt.NDArray[np.int64],
    label_score: npt.NDArray[np.float64],
    joint: npt.NDArray[np.float64],
    class_names: Sequence[str],
) -> pd.DataFrame:
    num_classes = len(class_names)
    health = dataset.rank_classes_by_label_quality(joint=joint, num_examples=len(labels))
    order = health["Class Index"].to_numpy()
    examples = np.bincount(labels, minlength=num_classes)
    is_issue = suggested >= 0
    return pd.DataFrame(
        {
            "class_name": np.asarray(class_names, dtype=object)[order],
            "status": "scored",
            "examples": examples[order],
            "label_issues": np.bincount(labels[is_issue], minlength=num_classes)[order],
            "inverse_label_issues": np.bincount(suggested[is_issue], minlength=num_classes)[order],
            "label_noise": health["Label Noise"],
            "inverse_label_noise": health["Inverse Label Noise"],
            "label_quality_score": health["Label Quality Score"],
            "mean_label_score": (
                np.bincount(labels, weights=label_score, minlength=num_classes) / np.maximum(examples, 1)
            )[order],
        }
    )


def _confusion_table(
    labels: npt.NDArray[np.int64],
    suggested: npt.NDArray[np.int64],
    joint: npt.NDArray[np.float64],
    class_names: Sequence[str],
) -> pd.DataFrame:
    num_classes = len(class_names)
    examples = np.bincount(labels, minlength=num_classes)
    flagged = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(flagged, (labels[suggested >= 0], suggested[suggested >= 0]), 1)
    estimated = joint * len(labels)
    np.fill_diagonal(estimated, 0)
    given, other = np.nonzero((estimated > 0) | (flagged > 0))
    table = pd.DataFrame(
        {
            "given_label": np.asarray(class_names, dtype=object)[given],
            "suggested_label": np.asarray(class_names, dtype=object)[other],
            "examples": flagged[given, other],
            "estimated_examples": estimated[given, other],
            "share_of_given": estimated[given, other] / np.maximum(examples[given], 1),
        }
    )
    return table.sort_values(["examples", "estimated_examples"], ascending=False, kind="stable", ignore_index=True)


def _notes(scores: RowScores, class_names: Sequence[str], filter_by: str) -> tuple[str, ...]:
    lines = [
        f"The filter {filter_by} never flags the only row with the label {class_names[int(k)]!r}."
        for k in too_small_classes(scores, filter_by=filter_by)
    ]
    absent = np.flatnonzero(np.bincount(scores.labels, minlength=len(class_names)) == 0)
    lines += [f"No row has the label {class_names[int(k)]!r}." for k in absent]
    return tuple(lines)
