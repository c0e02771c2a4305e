"""Label issues by confident learning. The only importer of cleanlab.

The method is that of Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR
70, 2021), as implemented in cleanlab. This module adds a suggested label per flagged row and tables per class and per
pair of classes. cleanlab's warnings become notes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from cleanlab import count, dataset, filter, rank

from labelaudit.errors import ConfigError
from labelaudit.schemas import FILTERS


@dataclass(frozen=True)
class LabelIssues:
    """The results of confident learning for M labels of K classes."""

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
    pred_probs: npt.NDArray[np.float32],
    class_names: Sequence[str],
    *,
    filter_by: str = "prune_by_noise_rate",
    is_fine: npt.NDArray[np.bool_] | None = None,
) -> LabelIssues:
    """Find labels that are probably wrong.

    Args:
        labels: (M,) int64 in 0..K-1, every class present.
        pred_probs: (M, K) float32 that passed `gather_folds` or `check_external`.
        class_names: K names.
        filter_by: one of `FILTERS`, cleanlab's names.
        is_fine: (M,) bool, rows whose label a person confirmed. They are not flagged and not counted as flags. The
            estimates (noise, error rate) depend on the probabilities only and do not change.

    Raises:
        ConfigError: unknown filter.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_label_issue = flag_issues(labels, pred_probs, filter_by=filter_by)
        joint = count.estimate_joint(labels, pred_probs)
    is_dismissed = np.zeros(len(labels), dtype=bool) if is_fine is None else is_label_issue & is_fine
    is_label_issue = is_label_issue & ~is_dismissed
    label_score = rank.get_self_confidence_for_each_label(labels, pred_probs).astype(np.float64)
    flagged = np.flatnonzero(is_label_issue)
    suggested = np.full(len(labels), -1, dtype=np.int64)
    suggested[flagged] = _most_probable_other(labels[flagged], pred_probs[flagged])
    return LabelIssues(
        label_score=label_score,
        is_label_issue=is_label_issue,
        is_dismissed=is_dismissed,
        predicted_labels=pred_probs.argmax(axis=1).astype(np.int64),
        suggested_labels=suggested,
        classes=_class_table(labels, suggested, label_score, joint, class_names),
        confusions=_confusion_table(labels, suggested, joint, class_names),
        error_rate=float(1 - joint.trace()),
        notes=_notes(caught, labels, class_names),
    )


def flag_issues(
    labels: npt.NDArray[np.int64], pred_probs: npt.NDArray[np.float32], *, filter_by: str
) -> npt.NDArray[np.bool_]:
    """Return the flags of `find_issues`, (M,) bool, and let cleanlab warn.

    Raises:
        ConfigError: unknown filter.
    """
    if filter_by not in FILTERS:
        raise ConfigError(f"Unknown filter {filter_by!r}. Use one of: {', '.join(FILTERS)}.")
    flags: npt.NDArray[np.bool_] = filter.find_label_issues(labels, pred_probs, filter_by=filter_by, n_jobs=1)
    # cleanlab keeps a copy of all probabilities in its module, for as long as the process lives.
    vars(filter).pop("pred_probs_by_class", None)
    vars(filter).pop("prune_count_matrix_cols", None)
    return flags


def _most_probable_other(labels: npt.NDArray[np.int64], pred_probs: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    others = pred_probs.copy()
    others[np.arange(len(labels)), labels] = -1
    suggested: npt.NDArray[np.int64] = others.argmax(axis=1).astype(np.int64)
    return suggested


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


def _notes(
    caught: Sequence[warnings.WarningMessage], labels: npt.NDArray[np.int64], class_names: Sequence[str]
) -> tuple[str, ...]:
    absent = np.flatnonzero(np.bincount(labels, minlength=len(class_names)) == 0)
    lines = [f"cleanlab: {' '.join(str(warning.message).split())}" for warning in caught]
    lines += [f"No row has the label {class_names[int(k)]!r}." for k in absent]
    return tuple(dict.fromkeys(lines))
