"""Evidence that a label is wrong: one number per row, which ranks the rows and is not a probability yet.

It is the log-odds `log(p_other / p_given)` of the most probable other class, out of fold, with three corrections:

1. **Confidence.** Networks are too confident, or not confident enough if labels were smoothed. One scale makes the
   highest probability agree with how often the prediction is the given label, as temperature scaling does (Guo et al.,
   "On Calibration of Modern Neural Networks", ICML 2017).
2. **Pairs of classes.** By Bayes' theorem, the odds that a label `given` should be `other` contain the rate at which
   `other` is labeled as `given`. The confident half of the rows shows these rates, because most disagreement there is
   label noise. They are shrunk towards their mean as far as chance explains their differences (empirical Bayes with a
   gamma prior). A model that confuses two classes does so in both directions, and its probabilities contain that
   already. So the difference of the two directions counts fully, and their mean half. Both count by another half,
   because the probabilities of a model that was trained on the noise contain a part of it too.
3. **Training dynamics**, if the model was trained here: the probability of the given label while models were trained on
   the row. Both log-odds get the same weight. docs/training-dynamics.md reports on which data this helps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelaudit.detection.row_scores import RowScores
from labelaudit.row_dynamics import Dynamics

_FloatArray = npt.NDArray[np.float64]

_SMALLEST = 1e-6
# Rows of each predicted class that count as confident.
CONFIDENT_SHARE = 0.5
# The scale is 1 with this standard deviation before any row is seen, so that a perfect model keeps a finite one.
_SCALE_DEVIATION = 0.7
_NEWTON_STEPS = 30
# Label noise alone makes agreement depend less on confidence, so a lower scale does not show too much confidence.
LEAST_SCALE = 0.7
# The weight of the pairs' rates, and of what both directions of a pair have in common.
_PAIR_WEIGHT = 0.5
_SYMMETRIC_WEIGHT = 0.5
# The difference of both directions counts fully and their mean less, which gives each direction a weight.
_FORWARD_WEIGHT = _PAIR_WEIGHT * (1 + _SYMMETRIC_WEIGHT) / 2
_BACKWARD_WEIGHT = _PAIR_WEIGHT * (_SYMMETRIC_WEIGHT - 1) / 2
# So that a single disagreement never decides about a pair.
_LEAST_PRIOR_ERRORS = 0.3


@dataclass(frozen=True)
class PairLogOdds:
    """How much more often one class is labeled as another than usual, weighted.

    Most pairs never occur, so only the others are stored. A matrix of all pairs would be too large for many classes.
    """

    never: _FloatArray  # (K,) the logarithm of the ratio if a class is never labeled as the other one
    occurring: npt.NDArray[np.int64]  # (P,) `first class * K + second class` of pairs that occur, ascending
    increase: _FloatArray  # (P,) what it adds to the log-odds

    @classmethod
    def fit(cls, scores: RowScores, is_confident: npt.NDArray[np.bool_]) -> PairLogOdds:
        """Fit the rates to the confident rows, (M,) bool."""
        classes = scores.num_classes
        predicted, labels = scores.predicted[is_confident].astype(np.int64), scores.labels[is_confident]
        differs = predicted != labels
        pairs, counts = np.unique(predicted[differs] * classes + labels[differs], return_counts=True)
        rows = np.bincount(predicted, minlength=classes)
        # Every pair of a class is expected equally often.
        expected = rows * (counts.sum() / max(1, rows.sum()) / (classes - 1))
        # The variance beyond that of Poisson counts shows how much the rates differ: that of a gamma distribution.
        squares = (classes - 1) * float((expected**2).sum())
        surplus = squares + float((counts * (counts - 2 * expected[pairs // classes])).sum()) - float(counts.sum())
        if surplus <= 0:
            return cls(np.zeros(classes), np.empty(0, np.int64), np.empty(0))
        prior_errors = max(squares / surplus, _LEAST_PRIOR_ERRORS)
        increase = np.log1p(counts / prior_errors)
        both_ways = np.concatenate([pairs, pairs % classes * classes + pairs // classes])
        occurring, position = np.unique(both_ways, return_inverse=True)
        weighted = np.concatenate([_FORWARD_WEIGHT * increase, _BACKWARD_WEIGHT * increase])
        total = np.bincount(position, weights=weighted).astype(np.float64)
        return cls(-np.log1p(expected / prior_errors), occurring, total)

    def of(self, other: npt.NDArray[np.integer], given: npt.NDArray[np.integer]) -> _FloatArray:
        """Return the log-odds to add for each row with these two different classes, (M,) each."""
        log_odds: _FloatArray = _FORWARD_WEIGHT * self.never[other] + _BACKWARD_WEIGHT * self.never[given]
        if len(self.occurring):
            codes = other.astype(np.int64) * len(self.never) + given
            places = np.minimum(np.searchsorted(self.occurring, codes), len(self.occurring) - 1)
            log_odds += np.where(self.occurring[places] == codes, self.increase[places], 0)
        return log_odds


@dataclass(frozen=True)
class LabelEvidence:
    """How the evidence of a row follows from its scores, as fitted to all rows."""

    scale: float  # of the log-odds
    pairs: PairLogOdds

    @classmethod
    def fit(cls, scores: RowScores, rank: _FloatArray) -> LabelEvidence:
        """Fit the scale and the pairs' rates to M rows with their `rank_within_predicted`."""
        return cls(_confidence_scale(scores), PairLogOdds.fit(scores, rank < CONFIDENT_SHARE))

    def of(self, scores: RowScores, dynamics: Dynamics | None = None) -> _FloatArray:
        """Return the evidence of each row, (M,), higher if its label is more doubtful.

        Args:
            scores: M rows.
            dynamics: of the same rows. They belong to the labels of the training, so a label that was changed later
                must be judged without them. Rows with NaN have only the evidence out of fold.

        Raises:
            ValueError: `dynamics` are not of M rows.
        """
        if dynamics is not None and len(dynamics) != len(scores):
            raise ValueError(
                f"The training dynamics are of {len(dynamics):,} rows, but there are probabilities of {len(scores):,} "
                "rows. Give both for the same rows, in the same order."
            )
        ratio = np.log(np.maximum(scores.p_other, _SMALLEST).astype(np.float64))
        ratio -= np.log(np.maximum(scores.p_given, _SMALLEST))
        evidence = self.scale * ratio
        if dynamics is not None:
            evidence = _with_dynamics(evidence, dynamics)
        # Added last: the dynamics say nothing about how often classes are exchanged.
        return evidence + self.pairs.of(scores.other, scores.labels)


def rank_within_predicted(scores: RowScores) -> _FloatArray:
    """Return the rank of each row by confidence among the rows with the same prediction: near 0 for the most confident.

    Ranks are within classes, because classes differ in difficulty and noise. Equal rows are in random order: in the
    order of the dataset, a part of it with many errors would look more or less confident than it is.
    """
    shuffled = np.random.default_rng(0).permutation(len(scores))
    # One integer sorts by class, then by falling probability: the bits of positive floats rise with their values.
    confidence = np.maximum(scores.p_predicted, np.float32(0)).view(np.int32)
    keys = (scores.predicted.astype(np.int64) << 32) - confidence
    order = shuffled[np.argsort(keys[shuffled], kind="stable")]
    counts = np.bincount(scores.predicted, minlength=scores.num_classes)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(scores))
    rank[order] = (np.arange(len(scores)) - starts + 0.5) / np.repeat(counts, counts)
    return rank


def _confidence_scale(scores: RowScores) -> float:
    """Return the slope of a logistic regression of agreement on the log-odds of the highest probability."""
    p = np.clip(scores.p_predicted.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    log_odds = np.log(p / (1 - p))
    agrees = ~scores.disagrees
    precision = 1 / _SCALE_DEVIATION**2
    offset, log_scale = 0.0, 0.0
    # Newton's method for the offset and the logarithm of the slope, whose prior is normal.
    for _ in range(_NEWTON_STEPS):
        slope = np.exp(log_scale)
        expected = 1 / (1 + np.exp(-(offset + slope * log_odds)))
        residual, weight, lever = agrees - expected, expected * (1 - expected), slope * log_odds
        gradient = np.array([residual.sum(), (residual * lever).sum() - precision * log_scale])
        cross = (weight * lever).sum()
        hessian = np.array([[weight.sum() + 1e-3, cross], [cross, (weight * lever**2).sum() + precision]])
        step = np.linalg.solve(hessian, gradient)
        step /= max(1.0, float(np.abs(step).max()))
        offset, log_scale = offset + step[0], log_scale + step[1]
        if np.abs(step).max() < 1e-6:
            break
    return max(float(np.exp(log_scale)), LEAST_SCALE)


def _with_dynamics(evidence: _FloatArray, dynamics: Dynamics) -> _FloatArray:
    """Return the mean of two log-odds. Its spread is that of the first one, for which the calibration holds."""
    p = np.clip(dynamics.p_given.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    learned = np.log((1 - p) / p)
    is_known = ~np.isnan(learned)
    if not is_known.any() or evidence[is_known].std() == 0 or learned[is_known].std() == 0:
        return evidence
    known, other = evidence[is_known], learned[is_known]
    both = (known - known.mean()) / known.std() + (other - other.mean()) / other.std()
    combined = evidence.copy()
    combined[is_known] = known.mean() + known.std() * both / max(float(both.std()), _SMALLEST)
    return combined
