"""The figures of a cell: how well three methods rank, cut, and estimate the share of wrong labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cleanlab.count import estimate_joint
from cleanlab.filter import find_label_issues
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from detection_bench.cells import Cell, Name
from labelaudit.detection.cut import choose_cut
from labelaudit.detection.row_scores import RowScores, score_rows
from labelaudit.detection.wrong_labels import WEAK_DISAGREEMENT, WIDEST_RANGE, estimate_wrong
from labelaudit.findings import ErrorRange
from labelaudit.row_dynamics import Dynamics

OURS, CLEANLAB, ARGMAX, WITH_DYNAMICS = "labelaudit", "cleanlab", "argmax ≠ given", "with dynamics"
# The lower ends of the bins of p_wrong.
BIN_STARTS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# The expected calibration error is a mean over this many bins of equally many rows.
CALIBRATION_BINS = 15

_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MethodFigures:
    """How one method does on one cell. Shares are 0..1; None: it does not exist, for example without wrong labels."""

    average_precision: float | None  # of the ranking
    auroc: float | None
    best_f1: float | None  # of the best cut of the ranking, which needs the true labels
    f1: float | None  # of the flags
    precision: float | None  # of the flags
    flagged: float
    estimate: float  # of the share of wrong labels
    expected_precision: float | None = None  # the mean p_wrong of the flags
    calibration_error: float | None = None


@dataclass(frozen=True)
class Bin:
    """The rows whose p_wrong is in one of the bins."""

    rows: int
    expected: float  # wrong labels: the sum of p_wrong
    wrong: int  # wrong labels


@dataclass(frozen=True)
class CellFigures:
    """The figures of a cell."""

    name: Name
    rows: int
    classes: int
    wrong: float  # the true share of wrong labels, 0..1
    low: float  # the range of labelaudit
    high: float
    is_narrowed: bool  # the range was wider than a reader can use, and only its middle is shown
    noise: str  # the kind that was found
    certainty: float
    methods: dict[str, MethodFigures]
    bins: list[Bin]

    @property
    def is_covered(self) -> bool:
        """Whether the range contains the true share."""
        return self.low <= self.wrong <= self.high

    def difference(self, other: str) -> float | None:
        """Return our F1 minus the F1 of another method; None without wrong labels."""
        ours, theirs = self.methods[OURS].f1, self.methods[other].f1
        return None if ours is None or theirs is None else ours - theirs


def measure(cell: Cell) -> CellFigures:
    """Return the figures of a cell."""
    is_wrong = cell.labels != cell.truth
    scores = score_rows([(cell.labels, cell.pred_probs)], cell.pred_probs.shape[1])
    ours, p_wrong, error_range, noise = _ours(scores, is_wrong)
    methods = {OURS: ours, CLEANLAB: _cleanlab(cell, is_wrong), ARGMAX: _argmax(scores, is_wrong)}
    if cell.dynamics is not None:
        methods[WITH_DYNAMICS] = _ours(scores, is_wrong, cell.dynamics)[0]
    return CellFigures(
        name=cell.name,
        rows=len(cell.labels),
        classes=cell.pred_probs.shape[1],
        wrong=float(is_wrong.mean()),
        low=error_range.low,
        high=error_range.high,
        is_narrowed=is_narrowed(error_range, float(scores.disagrees.mean())),
        noise=noise[0],
        certainty=noise[1],
        methods=methods,
        bins=reliability(p_wrong, is_wrong),
    )


def figures_of(
    score: npt.NDArray[np.floating], is_flagged: _Bools, is_wrong: _Bools, *, estimate: float, p_wrong: bool = False
) -> MethodFigures:
    """Return the figures of a ranking and its flags.

    Args:
        score: (M,) higher: more doubtful.
        is_flagged: (M,)
        is_wrong: (M,) the truth.
        estimate: of the share of wrong labels.
        p_wrong: `score` is a probability, whose calibration counts.
    """
    flagged, hits, wrong = (int(mask.sum()) for mask in (is_flagged, is_flagged & is_wrong, is_wrong))
    has_both = 0 < wrong < len(is_wrong)
    return MethodFigures(
        average_precision=float(average_precision_score(is_wrong, score)) if has_both else None,
        auroc=float(roc_auc_score(is_wrong, score)) if has_both else None,
        best_f1=best_f1(score, is_wrong) if has_both else None,
        f1=2 * hits / (flagged + wrong) if wrong else None,
        precision=hits / flagged if flagged else None,
        flagged=flagged / len(is_wrong),
        estimate=estimate,
        expected_precision=float(score[is_flagged].mean()) if p_wrong and flagged else None,
        calibration_error=calibration_error(score, is_wrong) if p_wrong else None,
    )


def best_f1(score: npt.NDArray[np.floating], is_wrong: _Bools) -> float:
    """Return the F1 of the best cut. A cut cannot separate equal rows."""
    precision, recall, _ = precision_recall_curve(is_wrong, score)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def calibration_error(p_wrong: npt.NDArray[np.floating], is_wrong: _Bools) -> float:
    """Return the expected calibration error: the mean distance of predicted and observed share, 0..1."""
    order = np.argsort(p_wrong, kind="stable")
    parts = [part for part in np.array_split(order, CALIBRATION_BINS) if len(part)]
    distances = [len(part) * abs(float(p_wrong[part].mean()) - float(is_wrong[part].mean())) for part in parts]
    return sum(distances) / len(p_wrong)


def reliability(p_wrong: npt.NDArray[np.floating], is_wrong: _Bools) -> list[Bin]:
    """Return the bins that `BIN_STARTS` begin."""
    numbers = np.searchsorted(BIN_STARTS, p_wrong.astype(np.float64), side="right") - 1
    size = len(BIN_STARTS)
    rows, wrong = np.bincount(numbers, minlength=size), np.bincount(numbers[is_wrong], minlength=size)
    expected = np.bincount(numbers, p_wrong, minlength=size)
    return [Bin(int(r), float(e), int(w)) for r, e, w in zip(rows, expected, wrong, strict=True)]


def is_narrowed(error_range: ErrorRange, disagreement: float) -> bool:
    """Return whether a range is only the middle of what the probabilities leave open.

    Args:
        error_range: of labelaudit.
        disagreement: the share of rows whose predicted class is not the given one.
    """
    ratio = error_range.high / max(error_range.low, 1e-12)
    return disagreement > WEAK_DISAGREEMENT and ratio > WIDEST_RANGE - 1e-6


def _ours(
    scores: RowScores, is_wrong: _Bools, dynamics: Dynamics | None = None
) -> tuple[MethodFigures, npt.NDArray[np.float32], ErrorRange, tuple[str, float]]:
    found = estimate_wrong(scores, dynamics)
    cut = choose_cut(found, found.p_wrong, None, None)  # as the filter `auto` does without verdicts
    figures = figures_of(found.p_wrong, cut.is_above, is_wrong, estimate=found.error_range.estimate, p_wrong=True)
    return figures, found.p_wrong, found.error_range, (found.noise.kind.value, found.noise.certainty)


def _cleanlab(cell: Cell, is_wrong: _Bools) -> MethodFigures:
    """Return the figures of the defaults: filter, score and joint distribution."""
    pred_probs = cell.pred_probs.astype(np.float64)
    is_flagged = find_label_issues(cell.labels, pred_probs, n_jobs=1)
    p_given = pred_probs[np.arange(len(is_wrong)), cell.labels]
    joint = estimate_joint(cell.labels, pred_probs)
    return figures_of(1 - p_given, is_flagged, is_wrong, estimate=1 - float(np.trace(joint)))


def _argmax(scores: RowScores, is_wrong: _Bools) -> MethodFigures:
    margin = scores.p_other - scores.p_given
    return figures_of(margin, scores.disagrees, is_wrong, estimate=float(scores.disagrees.mean()))
