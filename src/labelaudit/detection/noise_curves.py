"""How many labels are wrong, and what kind of noise it is, from how disagreement changes with confidence.

Rows are sorted by the confidence of their prediction. At the rank u (0: most confident, 1: least) a label disagrees
with the prediction because it is wrong, with probability e(u), or because the model is, with probability m(u). Only the
sum of the two can be seen, and nothing in the probabilities separates them for certain (Liu, "Identifiability of Label
Noise Transition Matrix", ICML 2023). What separates them is knowledge about the two curves:

- **m(u)**: models err on rows on which they are not confident. In all experiments of docs/detection.md the log-odds of
  m are close to a straight line over the normal quantiles of u, and its slope follows from its height within 0.1 to
  0.2.
- **e(u)**: errors on *any* examples (labels exchanged by a fault or at random) do not depend on u. Errors on *hard*
  examples (people mistake what looks alike) rise with u, about 0.4 times as steeply as m: people find difficult what a
  model does, but not only that. A model that learned from such labels also repeats some of their errors, which then
  cannot be seen as disagreement.

The result is the posterior distribution of the rate over a grid of such curves. Each kind is equally probable before,
and the prior of the rate has three parts: data that people labeled once (around 10 %, 2 to 39 %), curated data (around
0.7 %) and very noisy data (around 35 %). Weak models leave most of the prior as it is; confident ones outweigh it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

_FloatArray = npt.NDArray[np.float64]

RANK_BINS = 20
# The least confident tenth says little about errors, and most about the exact form of the curves.
_USED_BINS = 18
# The curves are approximations: a count is as uncertain as if it had this many expected cases more of Poisson noise.
_TOLERANCE = 25.0
# Log-odds of m in the middle; deviation of its slope from the usual one; log-odds of e in the middle; slope of e.
_M_HEIGHTS = np.linspace(-9, 1.6, 45)
_M_SLOPES = np.linspace(-0.45, 0.45, 7)
_E_HEIGHTS = np.linspace(-11, 1.4, 63)
_E_SLOPES = np.linspace(-0.5, 1.6, 15)
# The usual slope of m at a height, and the standard deviation around it.
_USUAL_SLOPE = (1.04, -0.33)
_SLOPE_DEVIATION = 0.1
_M_PRIOR = (-3.0, 2.0)
# The log-odds of the rate: weight, mean and standard deviation of curated, usual and very noisy data.
_RATE_PRIORS = ((0.2, -5.0, 1.2), (0.75, -2.2, 0.9), (0.05, -0.6, 0.5))
# The slope of e: around 0, or around this share of the slope of m.
_FLAT_DEVIATION = 0.15
_SHARED_SLOPE = (0.4, 0.13)
_LEAST_M_SLOPE = 0.4
# A model repeats errors on hard examples: this share of what independent errors would coincide.
_REPEATED_SHARE = 0.7
_QUANTILES = 12


@dataclass(frozen=True)
class NoiseLevel:
    """One possible rate of wrong labels."""

    rate: float  # 0..1
    is_hard: bool  # errors are on hard examples
    weight: float  # the probability of this level; all levels sum to 1


@dataclass(frozen=True)
class NoisePosterior:
    """What is known about the rate of wrong labels."""

    p_hard: float  # the probability that errors are on hard examples, 0..1
    low: float  # the quantiles of the rate: 5 %,
    median: float  # 50 %,
    high: float  # 95 %
    levels: tuple[NoiseLevel, ...]


def fit_noise(
    disagreements: npt.NDArray[np.integer], rows: npt.NDArray[np.integer], num_classes: int
) -> NoisePosterior:
    """Return the posterior distribution of the rate of wrong labels.

    Args:
        disagreements: (RANK_BINS,) the rows of each bin whose prediction is not the given label. All bins have the same
            width in u. The most confident bin is first.
        rows: (RANK_BINS,) all rows of each bin.
        num_classes: K, at least 2.
    """
    curves = _curves(num_classes)
    log_likelihood = _log_likelihood(curves, disagreements, rows)
    log_likelihood += curves.log_m_prior[:, None]
    likelihood = np.exp(log_likelihood - log_likelihood.max())
    flat = likelihood.sum(axis=0) * curves.flat_prior
    hard = (likelihood * curves.hard_prior).sum(axis=0)
    total = flat.sum() + hard.sum()
    flat, hard = flat / total, hard / total
    rates = np.concatenate([curves.flat_rates, curves.hard_rates])
    low, median, high = _quantiles(rates, np.concatenate([flat, hard]), np.array([0.05, 0.5, 0.95]))
    levels = [
        NoiseLevel(float(rate), is_hard, float(weights.sum()) / _QUANTILES)
        for is_hard, of_kind, weights in ((False, curves.flat_rates, flat), (True, curves.hard_rates, hard))
        for rate in _quantiles(of_kind, weights, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    ]
    return NoisePosterior(float(hard.sum()), float(low), float(median), float(high), tuple(levels))


@dataclass(frozen=True)
class _Curves:
    """The grid: C curves m and E curves e, over the bins."""

    m: _FloatArray  # (C, RANK_BINS)
    e: _FloatArray  # (E, RANK_BINS)
    coincidence: float  # the share of rows with both errors whose label is the prediction
    log_m_prior: _FloatArray  # (C,)
    flat_prior: _FloatArray  # (E,)
    hard_prior: _FloatArray  # (C, E)
    flat_rates: _FloatArray  # (E,)
    hard_rates: _FloatArray  # (E,), with the errors that the model repeats


@cache
def _curves(num_classes: int) -> _Curves:
    quantiles = ndtri((np.arange(RANK_BINS) + 0.5) / RANK_BINS)
    most = (num_classes - 1) / num_classes
    heights, deviations = (axis.ravel() for axis in np.meshgrid(_M_HEIGHTS, _M_SLOPES, indexing="ij"))
    slopes = _USUAL_SLOPE[0] + _USUAL_SLOPE[1] * heights + deviations
    m = most * expit(heights[:, None] + slopes[:, None] * quantiles)
    e_heights, e_slopes = (axis.ravel() for axis in np.meshgrid(_E_HEIGHTS, _E_SLOPES, indexing="ij"))
    e = most * expit(e_heights[:, None] + e_slopes[:, None] * quantiles)
    coincidence = (num_classes - 1) ** -0.5
    unseen = _REPEATED_SHARE * coincidence
    total_heights = logit(np.minimum(expit(e_heights) / (1 - unseen), 1 - 1e-3))
    shared = np.maximum(slopes, _LEAST_M_SLOPE)[:, None]
    return _Curves(
        m=m,
        e=e,
        coincidence=coincidence,
        log_m_prior=np.log(_normal(deviations, 0, _SLOPE_DEVIATION)) + np.log(_normal(heights, *_M_PRIOR)),
        flat_prior=_rate_prior(e_heights) * _normal(e_slopes, 0, _FLAT_DEVIATION),
        hard_prior=_rate_prior(total_heights) * _normal(e_slopes, _SHARED_SLOPE[0] * shared, _SHARED_SLOPE[1] * shared),
        flat_rates=e.mean(axis=1),
        hard_rates=np.minimum(e.mean(axis=1) / (1 - unseen), most),
    )


def _log_likelihood(
    curves: _Curves, disagreements: npt.NDArray[np.integer], rows: npt.NDArray[np.integer]
) -> _FloatArray:
    """Return the log-likelihood of the disagreements for each pair of curves, (C, E)."""
    used = np.flatnonzero(rows[:_USED_BINS] > 0)
    seen, m = disagreements[used].astype(np.float64), curves.m[:, used]
    # Expected disagreements, rows * (e + m - (1 + coincidence) * e * m), as always + m * visible.
    always = curves.e[:, used].T * rows[used, None]
    visible = rows[used, None] - (1 + curves.coincidence) * always
    log_likelihood = np.empty((len(curves.m), len(curves.e)))
    # One curve at a time, because the temporary arrays then stay in the cache of the CPU.
    for row, heights in zip(log_likelihood, m, strict=True):
        expected = always + heights[:, None] * visible
        tolerated = expected + _TOLERANCE
        expected /= tolerated
        # Negative binomial: Poisson with a tolerance. The product of 18 bins is at most 1e306 for 1e17 rows a bin.
        row[:] = seen @ np.log(expected, out=expected) - _TOLERANCE * np.log(tolerated.prod(axis=0))
    return log_likelihood


def _rate_prior(log_odds: _FloatArray) -> _FloatArray:
    parts = [weight * _normal(log_odds, mean, deviation) for weight, mean, deviation in _RATE_PRIORS]
    density: _FloatArray = np.sum(parts, axis=0)
    return density


def _normal(x: _FloatArray, mean: float | _FloatArray, deviation: float | _FloatArray) -> _FloatArray:
    """Return the density of a normal distribution."""
    density: _FloatArray = np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
    return density


def _quantiles(values: _FloatArray, weights: _FloatArray, shares: _FloatArray) -> _FloatArray:
    order = np.argsort(values)
    # Interpolated, because the grid of rates is coarse.
    cumulative = np.cumsum(weights[order])
    cumulative = (cumulative - weights[order] / 2) / max(float(cumulative[-1]), np.finfo(float).tiny)
    quantiles: _FloatArray = np.exp(np.interp(shares, cumulative, np.log(values[order])))
    return quantiles
