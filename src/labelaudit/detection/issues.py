"""Label issues: the calibrated probability that each label is wrong, and the flags.

The filter `auto` flags from a cut of that probability. The other filters are those of cleanlab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from labelaudit.detection.answer_evidence import AnsweredRows, AnswerEvidence, weigh_answers, with_evidence
from labelaudit.detection.cleanlab_filters import flag_by_cleanlab, too_small_classes
from labelaudit.detection.conflicting_copies import p_wrong_of_copies
from labelaudit.detection.cut import choose_cut, recalibrate
from labelaudit.detection.judged_sample import JudgedSample
from labelaudit.detection.noise_tables import DoubtedPairs, class_table, confusion_table
from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.detection.row_scores import RowScores, score_blocks
from labelaudit.detection.wrong_labels import WrongLabelModel, WrongLabels, estimate_wrong
from labelaudit.errors import ConfigError
from labelaudit.findings import ErrorRange, Noise, Promise
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import AUTO_FILTER, FILTERS

_BoolArray = npt.NDArray[np.bool_]


class _Judged(NamedTuple):
    """What people decided about M rows."""

    is_fine: _BoolArray  # (M,)
    is_wrong: _BoolArray  # (M,)
    is_removed: _BoolArray  # (M,) to be removed

    @property
    def is_dismissed(self) -> _BoolArray:
        """(M,) not flagged, even if the detector flags them."""
        return self.is_fine | self.is_removed


@dataclass(frozen=True)
class LabelIssues:
    """The results of detection for M labels of K classes."""

    scores: RowScores
    p_wrong: npt.NDArray[np.float32]  # (M,) 0..1, calibrated; 1 or 0 if a person judged the label wrong or fine
    p_wrong_without_verdicts: npt.NDArray[np.float32]  # (M,) 0..1, what the model alone says
    is_label_issue: _BoolArray  # (M,)
    is_dismissed: _BoolArray  # (M,) not flagged only because a person judged the label fine or wants to remove the row
    classes: pd.DataFrame  # K rows, columns of schemas.CLASSES, most noise first
    confusions: pd.DataFrame  # columns of schemas.CONFUSIONS, most flagged rows first
    error_range: ErrorRange  # the share of wrong labels
    noise: Noise
    cut: float | None  # the lowest p_wrong of an unjudged row that is flagged; None with a filter of cleanlab
    # The cut of what the model alone says, before verdicts.
    cut_without_verdicts: float | None
    model: WrongLabelModel
    notes: tuple[str, ...]
    other: npt.NDArray[np.int32]  # (M,) the most probable other class, also by the answers of annotators
    p_other: npt.NDArray[np.float32]  # (M,) its probability by the model alone
    p_wrong_of_model: npt.NDArray[np.float32]  # (M,) 0..1, without answers and verdicts
    evidence: AnswerEvidence | None = None  # None without answers

    @property
    def label_score(self) -> npt.NDArray[np.float64]:
        """(M,) 0..1, the probability of the given label; low: doubtful."""
        return self.scores.p_given.astype(np.float64)

    @property
    def predicted_labels(self) -> npt.NDArray[np.int32]:
        """(M,) the most probable class."""
        return self.scores.predicted

    @property
    def suggested_labels(self) -> npt.NDArray[np.int32]:
        """(M,) the most probable other class of a flagged row, else -1."""
        return np.where(self.is_label_issue, self.other, np.int32(-1))

    @property
    def flag_precision(self) -> float | None:
        """The expected share of wrong labels among the flags, 0..1; None if nothing is flagged."""
        flagged = self.p_wrong[self.is_label_issue]
        return float(flagged.mean(dtype=np.float64)) if len(flagged) else None


def find_issues(
    labels: npt.NDArray[np.int64],
    probabilities: ProbabilityBlocks,
    class_names: Sequence[str],
    *,
    filter_by: str = AUTO_FILTER,
    promise: Promise | None = None,
    is_fine: _BoolArray | None = None,
    is_wrong: _BoolArray | None = None,
    is_removed: _BoolArray | None = None,
    sample: JudgedSample | None = None,
    dynamics: Dynamics | None = None,
    copies: npt.NDArray[np.int64] | None = None,
    answered: AnsweredRows | None = None,
) -> LabelIssues:
    """Find labels that are probably wrong.

    Verdicts of people change what is known, but not what the detector flags: a row judged wrong is flagged only if the
    detector flags it, and a row that is judged fine or is to be removed is dismissed if it does.

    Args:
        labels: (M,) int64 in 0..K-1, every class present.
        probabilities: M rows of K classes that passed `gather_folds` or `check_external`.
        class_names: K names.
        filter_by: one of `FILTERS`.
        promise: a promised precision or recall of the filter `auto`. None: the highest expected F1.
        is_fine: (M,) bool, rows whose label a person confirmed. They are not flagged, and their p_wrong is 0.
        is_wrong: (M,) bool, rows whose label a person judged wrong. Their p_wrong is 1.
        is_removed: (M,) bool, rows that a person wants to remove. They are not flagged, keep their p_wrong, and do not
            count in the range, the classes and the pairs.
        sample: verdicts on randomly drawn rows. They correct the p_wrong of the others, and prove a promised precision.
        dynamics: how the M rows were learned; None for probabilities of other models.
        copies: (M,) int64, equal for rows that show the same thing, so that at most one of several labels is right; -1
            without a copy. None: unknown. Without a promise, `auto` also flags rows that this makes doubtful enough.
        answered: the answers of several annotators, which are evidence about the labels; None if there are none.

    Raises:
        ConfigError: unknown filter.
    """
    if filter_by not in FILTERS:
        raise ConfigError(f"Unknown filter {filter_by!r}. Use one of: {', '.join(FILTERS)}.")
    judged = _Judged(
        *(np.zeros(len(labels), bool) if mask is None else mask for mask in (is_fine, is_wrong, is_removed))
    )
    scores = score_blocks(labels, probabilities)
    of_model = estimate_wrong(scores, dynamics)
    evidence = None if answered is None else weigh_answers(answered, scores, of_model.p_wrong)
    wrong = of_model if evidence is None else with_evidence(of_model, evidence)
    other, p_other = _other_labels(scores, evidence)
    recalibrated = recalibrate(wrong.p_wrong, sample)
    cut = choose_cut(wrong, recalibrated, sample, promise) if filter_by == AUTO_FILTER else None
    is_detected = flag_by_cleanlab(probabilities, scores, filter_by=filter_by) if cut is None else cut.is_above
    known = _with_verdicts(replace(wrong, p_wrong=recalibrated), judged)
    if copies is not None:
        # A row that is to be removed says nothing about the labels of its copies.
        copies = np.where(judged.is_removed, -1, copies)
        known = _with_copies(known, labels, copies, judged)
        # A promise was proved for the rows above the cut alone.
        if cut is not None and promise is None:
            is_detected |= p_wrong_of_copies(recalibrated, labels, copies) >= cut.p_wrong
    is_label_issue = is_detected & ~judged.is_dismissed
    of_staying = np.where(judged.is_removed, np.float32(0), known.p_wrong)
    pairs = DoubtedPairs.count(replace(scores, other=other), of_staying, is_label_issue)
    staying = np.bincount(scores.labels[~judged.is_removed], minlength=len(class_names))
    # Canaries are planted in labels, not in answers, so only the model can catch them.
    of_canaries = cut if cut is None or evidence is None else choose_cut(of_model, of_model.p_wrong, None, promise)
    return LabelIssues(
        scores=scores,
        p_wrong=known.p_wrong,
        p_wrong_without_verdicts=wrong.p_wrong,
        is_label_issue=is_label_issue,
        is_dismissed=is_detected & judged.is_dismissed,
        classes=class_table(scores, pairs, class_names, staying),
        confusions=confusion_table(scores, pairs, class_names, staying),
        error_range=known.error_range,
        noise=wrong.noise,
        cut=None if cut is None else cut.p_wrong,
        cut_without_verdicts=None if of_canaries is None else of_canaries.p_wrong_without_verdicts,
        model=wrong.model,
        notes=(*_notes(scores, class_names, filter_by), *(cut.notes if cut else ())),
        other=other,
        p_other=p_other,
        p_wrong_of_model=of_model.p_wrong,
        evidence=evidence,
    )


def flags_of_other_labels(
    probabilities: ProbabilityBlocks, changed: RowScores, found: LabelIssues, *, filter_by: str
) -> _BoolArray:
    """Return what the detector flags if some rows have other labels, (M,) bool.

    A cut of p_wrong and all that was fitted for it stay as they are. Filters of cleanlab are applied again. Training
    dynamics do not count, because they belong to the labels of the training.

    Args:
        probabilities: M rows of K classes.
        changed: their scores with the other labels.
        found: the result of `find_issues` with the original labels.
        filter_by: its filter.
    """
    if found.cut_without_verdicts is None:
        return flag_by_cleanlab(probabilities, changed, filter_by=filter_by)
    return np.asarray(found.model.p_wrong(changed) >= found.cut_without_verdicts)


def _other_labels(
    scores: RowScores, evidence: AnswerEvidence | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the most probable other class of each row, also by the answers, and its probability by the model."""
    if evidence is None:
        return scores.other, scores.p_other
    has_answers = evidence.other >= 0
    other = np.where(has_answers, evidence.other, scores.other)
    return other, np.where(has_answers, evidence.p_other, scores.p_other)


def _with_verdicts(wrong: WrongLabels, judged: _Judged) -> WrongLabels:
    """Return what is known after people judged some rows: these are no longer uncertain, and limit the range.

    The range is that of the rows that stay, unless none does.
    """
    is_fine, is_wrong, is_removed = judged
    if not (is_fine | is_wrong | is_removed).any():
        return wrong
    p_wrong = np.where(is_wrong, 1, np.where(is_fine, 0, wrong.p_wrong)).astype(np.float32)
    stays = ~is_removed if not is_removed.all() else np.ones_like(is_removed)
    limits = float(is_wrong[stays].mean()), float(1 - is_fine[stays].mean())
    before = wrong.error_range
    removed = float(wrong.p_wrong[~stays].sum(dtype=np.float64))
    ends = ((end * len(stays) - removed) / int(stays.sum()) for end in (before.low, before.high))
    low, high = (min(max(share, limits[0]), limits[1]) for share in ends)
    estimate = min(max(float(p_wrong[stays].mean(dtype=np.float64)), low), high)
    return replace(wrong, p_wrong=p_wrong, error_range=ErrorRange(estimate, low, high, before.basis))


def _with_copies(
    known: WrongLabels, labels: npt.NDArray[np.int64], copies: npt.NDArray[np.int64], judged: _Judged
) -> WrongLabels:
    """Return what is known if at most one label of a group of copies is right.

    A person's verdict stands, and it says something about the copies.
    """
    of_copies = p_wrong_of_copies(known.p_wrong, labels, copies)
    return replace(known, p_wrong=np.where(judged.is_fine | judged.is_wrong, known.p_wrong, of_copies))


def _notes(scores: RowScores, class_names: Sequence[str], filter_by: str) -> tuple[str, ...]:
    lines = [
        f"The filter {filter_by} never flags the only row with the label {class_names[int(k)]!r}."
        for k in too_small_classes(scores, filter_by=filter_by)
    ]
    absent = np.flatnonzero(np.bincount(scores.labels, minlength=len(class_names)) == 0)
    lines += [f"No row has the label {class_names[int(k)]!r}." for k in absent]
    return tuple(lines)
