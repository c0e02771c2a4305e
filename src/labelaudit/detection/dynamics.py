"""Evidence that a label is wrong, from out-of-fold probabilities and training dynamics together.

A row is predicted by the one model of a repeat that did not see it, and was learned by the k-1 others. How much they
resisted its label is further evidence, at no cost. docs/training-dynamics.md reports on which data it helps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from labelaudit.detection.row_scores import RowScores
from labelaudit.row_dynamics import Dynamics

_SMALLEST = 1e-6


def wrong_evidence(scores: RowScores, dynamics: Dynamics | None) -> npt.NDArray[np.float32]:
    """Return evidence that each given label is wrong, as uncalibrated log-odds (M,): the mean of two log-odds.

    The first is `log(p_other / p_given)` out of fold, whose sigmoid is the ratio p_other / (p_other + p_given). The
    second is `log((1 - p) / p)`, with the mean probability p of the given label in training. Both have the weight 1/2,
    which was not tuned. The evidence rises with `p_other` and falls with `p_given` and with p.

    It ranks rows. It is not calibrated, because a network learns wrong labels too, so p is too high. It must not judge
    a label that was changed after training, such as that of a canary: p belongs to the label of the training.

    Args:
        scores: of M rows, out of fold.
        dynamics: of the same rows, or None. Without it, or for rows with NaN, the result is the first part alone.
    """
    evidence = np.log(np.maximum(scores.p_other, _SMALLEST) / np.maximum(scores.p_given, _SMALLEST))
    if dynamics is None:
        return np.asarray(evidence, np.float32)
    p = np.clip(dynamics.p_given, _SMALLEST, 1 - _SMALLEST)
    learned = np.log((1 - p) / p)
    return np.asarray((evidence + np.where(np.isnan(learned), evidence, learned)) / 2, np.float32)
