"""`p_wrong`: the calibrated probability that each given label is wrong, and the range of the share of wrong labels.

`labelaudit.detection.noise_curves` says which shares of wrong labels are plausible, and how probable each is.
`labelaudit.detection.label_evidence` ranks the rows. For each plausible share, a logistic curve over the evidence gives
probabilities whose mean is that share; `p_wrong` is their mean over all shares. The flags are the list with the highest
expected F1, also over all shares: a share that is only possible counts with its probability, so that the list is not
chosen for one guess.

The slope of the logistic curve is 1 if errors are rare: then the evidence is the log-odds by Bayes' theorem. With many
errors it is steeper, because the probabilities of the given label contain the noise itself and do not fall below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, log_expit

from labelaudit.detection.label_evidence import LabelEvidence, rank_within_predicted
from labelaudit.detection.noise_curves import RANK_BINS, NoiseLevel, NoisePosterior, fit_noise
from labelaudit.detection.row_scores import RowScores
from labelaudit.findings import ErrorRange, Noise, NoiseKind, RateBasis
from labelaudit.row_dynamics import Dynamics
from labelaudit.shares import rounded_range

_FloatArray = npt.NDArray[np.float64]

# Below this many rows, the low end of the range is 0.
FEWEST_ROWS = 10
# If more labels than this disagree with the models, the probabilities often leave a range from next to nothing to a
# third, which says nothing to a reader. Then the range is the part around its median with high / low = 3.
# docs/detection.md says how often such a range contains the truth.
WEAK_DISAGREEMENT = 0.25
WIDEST_RANGE = 3.0
# A kind of noise is named if it is at least this probable.
NAMED_KIND = 0.75
# The slope of the logistic curve: without errors, and its increase per share of errors.
_SLOPES = {False: (1.0, 4.0), True: (0.9, 2.0)}
# If single rows do not matter, they are grouped by evidence: finely at the top, because few rows are flagged.
_GROUPS = 4000
_LOWEST_RATE = 1e-7
# The temporary arrays of so many rows stay in the cache of the CPU.
_ROWS_AT_ONCE = 16_384
_HIGHEST_LOG_ODDS = 700.0
# The expected F1 of the flags must be so many times that of flagging all rows, which helps a reader as little as none.
_LEAST_GAIN = 1.02
_BOTH_SIDES: tuple[Literal["right", "left"], ...] = ("right", "left")


@dataclass(frozen=True)
class WrongLabelModel:
    """How p_wrong follows from the evidence of a row."""

    evidence: LabelEvidence
    slopes: _FloatArray  # (L,) of the logistic curve of each level
    offsets: _FloatArray  # (L,)
    weights: _FloatArray  # (L,) the probability of each level

    def p_wrong(self, scores: RowScores, dynamics: Dynamics | None = None) -> npt.NDArray[np.float32]:
        """Return the probability that each label is wrong, (M,) float32 in 0..1.

        Args:
            scores: M rows, also with other labels than those that were fitted.
            dynamics: of the same rows and labels, or None.
        """
        return self.at(self.evidence.of(scores, dynamics)).astype(np.float32)

    def at(self, evidence: _FloatArray) -> _FloatArray:
        """Return the probability at each value of the evidence, (n,)."""
        p_wrong = np.zeros(len(evidence))
        for start in range(0, len(evidence), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            for slope, offset, weight in zip(self.slopes, self.offsets, self.weights, strict=True):
                # `expit` takes three times as long.
                odds_against = np.exp(np.minimum(-slope * evidence[rows] - offset, _HIGHEST_LOG_ODDS))
                p_wrong[rows] += weight / (1 + odds_against)
        return p_wrong


@dataclass(frozen=True)
class WrongLabels:
    """The results of calibration for M rows."""

    p_wrong: npt.NDArray[np.float32]  # (M,) calibrated probability that the given label is wrong
    best_cut: float  # rows from this p_wrong on are the list with the highest expected F1
    error_range: ErrorRange
    noise: Noise
    model: WrongLabelModel


def estimate_wrong(scores: RowScores, dynamics: Dynamics | None = None) -> WrongLabels:
    """Estimate which labels are wrong, and how many.

    Args:
        scores: M rows, at least one.
        dynamics: how the same rows were learned; None for probabilities of other models.
    """
    rank = rank_within_predicted(scores)
    evidence = LabelEvidence.fit(scores, rank)
    values = evidence.of(scores, dynamics)
    posterior = fit_noise(*_disagreements_by_rank(scores, rank), scores.num_classes)
    groups = _Groups.of(values)
    levels = [level for level in posterior.levels if level.weight > 0]
    slopes = np.array([_slope(level) for level in levels])
    offsets = np.array([groups.offset(level.rate, slope) for level, slope in zip(levels, slopes, strict=True)])
    weights = np.array([level.weight for level in levels])
    model = WrongLabelModel(evidence, slopes, offsets, weights / weights.sum())
    p_wrong = model.at(values).astype(np.float32)
    start, expected_f1 = groups.best_list(model)
    error_range = _error_range(posterior, float(p_wrong.mean(dtype=np.float64)), scores)
    return WrongLabels(
        p_wrong,
        best_cut=_best_cut(p_wrong, values, start, expected_f1),
        error_range=error_range,
        noise=_noise(posterior, len(scores), error_range, has_list=np.isfinite(start)),
        model=model,
    )


def _best_cut(p_wrong: npt.NDArray[np.float32], evidence: _FloatArray, start: float, expected_f1: float) -> float:
    """Return a p_wrong that separates the rows from `start` on from the others, and fits labels that are planted later.

    A label belongs to the best list if its p_wrong is at least half of the expected F1 (Lipton, Elkan and Naryanaswamy,
    "Optimal Thresholding of Classifiers to Maximize F1 Measure", 2014).
    """
    lowest_flagged = p_wrong[evidence >= start].min(initial=1.0)
    highest_unflagged = p_wrong[p_wrong < lowest_flagged].max(initial=0.0)
    return max(min(float(lowest_flagged), expected_f1 / 2), float(np.nextafter(highest_unflagged, np.float32(2))))


def _disagreements_by_rank(scores: RowScores, rank: _FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    bins = np.minimum((rank * RANK_BINS).astype(np.int64), RANK_BINS - 1)
    return np.bincount(bins[scores.disagrees], minlength=RANK_BINS), np.bincount(bins, minlength=RANK_BINS)


def _slope(level: NoiseLevel) -> float:
    least, increase = _SLOPES[level.is_hard]
    return least + increase * level.rate


@dataclass(frozen=True)
class _Groups:
    """Rows in groups of similar evidence, the most doubtful group first."""

    rows: _FloatArray  # (G,)
    evidence: _FloatArray  # (G,) the mean
    lowest: _FloatArray  # (G,) the lowest

    @classmethod
    def of(cls, evidence: _FloatArray) -> _Groups:
        descending = np.sort(evidence)[::-1]
        total = len(descending)
        ends = np.concatenate([np.geomspace(1, total, _GROUPS), np.linspace(1, total, _GROUPS)])
        ends = np.unique(np.round(ends).astype(np.int64))
        # Equal rows stay together, because a cut cannot separate them, and apart from others if there are many of them.
        first, last = (total - np.searchsorted(descending[::-1], descending[ends - 1], side) for side in _BOTH_SIDES)
        ends = np.unique(np.concatenate([first[first > 0], last]))
        rows = np.diff(ends, prepend=0)
        sums = np.add.reduceat(descending, ends - rows)
        return cls(rows.astype(np.float64), sums / rows, descending[ends - 1])

    def offset(self, rate: float, slope: float) -> float:
        """Return the offset of the logistic curve whose mean over all rows is `rate`."""
        wanted = max(rate, _LOWEST_RATE)

        def surplus(offset: float) -> float:
            return float((self.rows * expit(offset + slope * self.evidence)).sum() / self.rows.sum() - wanted)

        most = float(slope * np.abs(self.evidence).max()) + 50
        return float(brentq(surplus, -most, most))

    def best_list(self, model: WrongLabelModel) -> tuple[float, float]:
        """Return the lowest evidence of the list with the highest expected F1, and that F1.

        The empty list is right (F1 is 1) if no label is wrong, and wrong (0) otherwise. It is also best if the evidence
        says next to nothing, so that no list is clearly better than all rows. Its lowest evidence is infinite.
        """
        sizes = np.cumsum(self.rows)
        expected_f1, nothing_wrong = np.zeros(len(sizes)), 0.0
        for slope, offset, weight in zip(model.slopes, model.offsets, model.weights, strict=True):
            log_odds = offset + slope * self.evidence
            wrong = self.rows * expit(log_odds)
            expected_f1 += weight * 2 * np.cumsum(wrong) / (sizes + wrong.sum())
            nothing_wrong += weight * np.exp((self.rows * log_expit(-log_odds)).sum())
        best = int(expected_f1.argmax())
        if expected_f1[best] <= max(nothing_wrong, _LEAST_GAIN * expected_f1[-1]):
            return np.inf, 0.0
        return float(self.lowest[best]), float(expected_f1[best])


def _is_narrowed(posterior: NoisePosterior, scores: RowScores) -> bool:
    return bool(scores.disagrees.mean() > WEAK_DISAGREEMENT and posterior.high > WIDEST_RANGE * posterior.low)


def _error_range(posterior: NoisePosterior, estimate: float, scores: RowScores) -> ErrorRange:
    low, high, rows = posterior.low, posterior.high, len(scores)
    if _is_narrowed(posterior, scores):
        low = max(low, min(posterior.median / WIDEST_RANGE**0.5, high / WIDEST_RANGE))
        high = min(high, low * WIDEST_RANGE)
    if low * rows < FEWEST_ROWS:
        low = 0.0
    return ErrorRange(min(max(estimate, low), high), low, high, RateBasis.PROBABILITIES)


def _noise(posterior: NoisePosterior, rows: int, error_range: ErrorRange, *, has_list: bool) -> Noise:
    kind, sentence = _kind(posterior, rows, has_list=has_list)
    sentences = [sentence, *narrowing_in_words(posterior, error_range, rows)]
    return Noise(kind, max(posterior.p_hard, 1 - posterior.p_hard), " ".join(sentences))


def narrowing_in_words(posterior: NoisePosterior, error_range: ErrorRange, rows: int) -> list[str]:
    """Return what is possible beyond the reported range, in sentences; none if it reads the same.

    Args:
        posterior: what is possible.
        error_range: what is reported.
        rows: M.
    """
    low, high = rounded_range(posterior.low, posterior.high, rows)
    is_narrowed = posterior.low < error_range.low or posterior.high > error_range.high
    if not is_narrowed or (low, high) == rounded_range(error_range.low, error_range.high, rows):
        return []
    return [
        f"With models this weak, any share from {low} to {high} is possible.",
        "The range is the most plausible part of that.",
    ]


def _kind(posterior: NoisePosterior, rows: int, *, has_list: bool) -> tuple[NoiseKind, str]:
    if posterior.median * rows < FEWEST_ROWS:
        return NoiseKind.UNKNOWN, "There are too few wrong labels to see what kind they are."
    if not has_list:
        sentence = "The probabilities say next to nothing about which labels are wrong, or what kind of noise it is."
        return NoiseKind.UNKNOWN, sentence
    if max(posterior.p_hard, 1 - posterior.p_hard) < NAMED_KIND:
        return NoiseKind.UNKNOWN, (
            "The probabilities do not show whether errors are mostly on hard examples or on any examples, so both are "
            "considered."
        )
    if posterior.p_hard > 1 / 2:
        return NoiseKind.HARD_EXAMPLES, (
            "Disagreement falls as the models become more confident, as if people mistake what looks alike. It is "
            "assumed that the models repeat some of these errors."
        )
    return NoiseKind.ANY_EXAMPLES, (
        "Even the most confident predictions disagree with many labels, as if labels were exchanged regardless of the "
        "example."
    )
