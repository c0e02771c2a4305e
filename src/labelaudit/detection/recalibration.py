"""Correct p_wrong by verdicts on a random sample.

Three steps, from stiff to flexible, so that few verdicts change little and many can change everything:

1. Logistic recalibration (Cox, "Two further applications of a model for binary regression", Biometrika 45, 1958): a
   shift and a slope of the log odds.
2. Shrinkage towards the p_wrong of the model, as in positive-part James-Stein estimation: if verdicts contradict it no
   more than chance does, nothing changes.
3. Isotonic regression of the verdicts on the result, together with pseudo-verdicts that agree with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Fewer verdicts are left to the model.
LEAST_VERDICTS = 60
# No row is certain before somebody looks at it.
LEAST_P = 1e-5
# The likelihood ratio statistic of step 1 is 2 on average, and exceeds 4 in 14 % of samples, if p_wrong is right.
_CHANCE = 4.0
# Pseudo-verdicts in all. With this many verdicts, verdicts and model weigh the same in step 3.
_PSEUDO_VERDICTS = 2000
# Precision of the prior of shift and slope: keeps them finite if p_wrong separates the verdicts.
_PRIOR_PRECISION = 1.0
_LEAST_SLOPE = 0.05
_NEWTON_STEPS = 50

_FloatArray = npt.NDArray[np.float64]


def recalibrated_p_wrong(
    p_wrong: npt.NDArray[np.floating],
    positions: npt.NDArray[np.integer],
    is_wrong: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.floating] | None = None,
) -> npt.NDArray[np.float32]:
    """Return p_wrong of M rows after n verdicts: rising with `p_wrong`, never 0 or 1.

    The verdicts on the reviewed rows themselves are not put in: their p_wrong says what is expected of similar rows.

    Args:
        p_wrong: (M,) probabilities before any verdict.
        positions: (n,) rows that were drawn at random and judged, at least `LEAST_VERDICTS`; otherwise nothing changes.
        is_wrong: (n,) whether the label was judged wrong.
        weights: (n,) how many rows a judged row stands for. None if the chance of a row to be drawn depends on
            its p_wrong only: rows with equal p_wrong then count equally, which is more precise.
    """
    before = np.clip(p_wrong.astype(np.float64), LEAST_P, 1 - LEAST_P)
    if len(positions) < LEAST_VERDICTS:
        return before.astype(np.float32)
    weight = np.ones(len(positions)) if weights is None else weights.astype(np.float64)
    # Verdicts with unequal weights are worth fewer (Kish's effective sample size).
    weight = weight * weight.sum() / (weight**2).sum()
    verdict = is_wrong.astype(np.float64)
    shift, slope = _shrunk_logistic(_log_odds(before[positions]), verdict, weight)
    curve = 1 / (1 + np.exp(-(shift + slope * _log_odds(before))))
    after = _isotonic(curve, curve[positions], verdict, weight)
    return np.clip(after, LEAST_P, 1 - LEAST_P).astype(np.float32)


def _log_odds(probability: _FloatArray) -> _FloatArray:
    found: _FloatArray = np.log(probability) - np.log1p(-probability)
    return found


def _shrunk_logistic(log_odds: _FloatArray, verdict: _FloatArray, weight: _FloatArray) -> tuple[float, float]:
    """Return shift and slope of the log odds, (0, 1) if they fit well enough."""
    inputs = np.stack([np.ones_like(log_odds), log_odds], axis=1)
    neutral = np.array([0.0, 1.0])
    found = neutral
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-inputs @ found))
        gradient = inputs.T @ (weight * (verdict - p)) - _PRIOR_PRECISION * (found - neutral)
        curvature = (inputs * (weight * p * (1 - p))[:, None]).T @ inputs + _PRIOR_PRECISION * np.eye(2)
        found = found + np.clip(np.linalg.solve(curvature, gradient), -1, 1)
    found = np.array([found[0], max(found[1], _LEAST_SLOPE)])

    def log_likelihood(parameters: _FloatArray) -> float:
        return float((weight * (verdict * (inputs @ parameters) - np.logaddexp(0, inputs @ parameters))).sum())

    ratio = 2 * (log_likelihood(found) - log_likelihood(neutral))
    kept = max(0.0, 1 - _CHANCE / ratio) if ratio > 0 else 0.0
    shift, slope = neutral + kept * (found - neutral)
    return float(shift), float(slope)


def _isotonic(curve: _FloatArray, judged: _FloatArray, verdict: _FloatArray, weight: _FloatArray) -> _FloatArray:
    """Return the isotonic regression of verdicts and pseudo-verdicts on the curve, at all its values."""
    # Imported late: most audits have no verdicts.
    from sklearn.isotonic import IsotonicRegression

    inputs = np.concatenate([judged, judged, [0.0, 1.0]])
    targets = np.concatenate([verdict, judged, [0.0, 1.0]])
    pseudo = weight * _PSEUDO_VERDICTS / len(weight)
    weights = np.concatenate([weight, pseudo, [1.0, 1.0]])
    regression = IsotonicRegression(y_min=0, y_max=1)
    found: _FloatArray = regression.fit(inputs, targets, sample_weight=weights).predict(curve)
    return found
