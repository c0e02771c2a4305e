"""Detection of probability columns that are in another order than the class names.

On average a model gives a class a higher probability on rows with this label than on others. If two columns are
exchanged, it is the other way round. The statistic is the `lead` of the given class over the class of the other column.
It is centred per column, so that a model's preference for one class does not count.

A table of all thresholds is in `labelaudit.detection.fold_health`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from labelaudit.detection.agreement import Agreement, FloatArray, IntArray

# An exchange needs a clearly negative lead: in standard errors of the other folds' rows and of the fold's own rows, and
# as a share of the lead in the other folds.
MIN_REVERSAL = 3.5
MIN_OWN_REVERSAL = 2.5
MIN_REVERSAL_SHARE = 0.4
# Half-trained networks order classes by their initial weights. So the other folds are a reference only if they agree
# with the labels at least this well, and an exchange counts only if the lead of a row is this many of its standard
# deviations.
MIN_CORRELATION = 0.3
MIN_EFFECT = 0.25
# Models of different folds may prefer different classes. Mean probabilities vary by this much between folds (standard
# deviation), or more if the other folds vary more.
USUAL_DRIFT = 0.05
DRIFTS_APART = 8.0
# Mean probabilities of trained models differ from the shares of the labels by less than this. Those of a network that
# predicts one class for all rows differ by more, which is not an exchange.
MEANS_APART = 0.15


class _Exchange(NamedTuple):
    classes: IntArray  # (d,) given classes
    columns: IntArray  # (d,) the columns that seem to have their probabilities


def is_standard(others: Sequence[Agreement]) -> bool:
    """Return whether folds agree with the labels well enough to be a reference for another fold's columns."""
    return bool(others) and bool(np.median([other.correlation for other in others]) >= MIN_CORRELATION)


def means_are_shares(folds: Sequence[Agreement]) -> bool:
    """Return whether mean probabilities are close to the shares of the labels, as they are after training."""
    apart = [np.abs(fold.mean_probs - fold.counts / fold.examples) for fold in folds]
    return bool(np.median(apart, axis=0).max() < MEANS_APART)


def find_permuted(folds: Sequence[Agreement], log_odds: float) -> list[int]:
    """Find classes whose columns are exchanged in all folds, from the labels only.

    The reversal is divided by the root of its own squares. Such a self-normalised sum has a normal tail for any
    distribution of rows (Efron, "Student's t-test under symmetry conditions", 1969).

    Returns:
        The classes, or an empty list.
    """
    lead = _sum(folds, "lead")
    squares = _sum(folds, "lead_squares")
    for exchange in _candidates(lead):
        reversal = -lead[exchange.classes, exchange.columns].sum()
        error = math.sqrt(squares[exchange.classes, exchange.columns].sum())
        bound = math.sqrt(2 * (_log_choices(exchange, len(lead)) + log_odds))
        rows = sum(float(fold.counts[exchange.classes].sum()) for fold in folds)
        if error > 0 and reversal > max(bound, MIN_EFFECT * math.sqrt(rows)) * error:
            return sorted(int(k) for k in exchange.classes)
    return []


def find_permuted_against(measured: Agreement, others: Sequence[Agreement], log_odds: float) -> list[int]:
    """Find classes whose columns are exchanged in one fold, from the labels and the other folds.

    This is the likelihood ratio of two normal hypotheses: the lead equals that of the other folds, or its negative. It
    needs half the effect that the labels alone would need.

    Returns:
        The classes, or an empty list.
    """
    if not is_standard(others):
        return []
    others_lead, variance = _per_row(others)
    _, own_variance = _per_row([measured])
    variance = np.maximum(variance, own_variance)
    for exchange in _candidates(measured.lead):
        counts = measured.counts[exchange.classes]
        reversal = -measured.lead[exchange.classes, exchange.columns].sum()
        expected = float((counts * others_lead[exchange.classes, exchange.columns]).sum())
        error = math.sqrt(float((counts * variance[exchange.classes, exchange.columns]).sum()))
        own_error = math.sqrt(measured.lead_squares[exchange.classes, exchange.columns].sum())
        is_known = expected > MIN_EFFECT * error * math.sqrt(counts.sum())
        is_clear = reversal > max(MIN_REVERSAL * error, MIN_OWN_REVERSAL * own_error, MIN_REVERSAL_SHARE * expected)
        needed = _log_choices(exchange, len(measured.counts)) + log_odds
        if is_known and is_clear and 2 * reversal * expected > needed * error**2:
            return sorted(int(k) for k in exchange.classes)
    return []


def find_swapped_means(measured: Agreement, others: Sequence[Agreement]) -> list[int]:
    """Find two classes whose mean probabilities are exchanged, compared with the other folds.

    This detects that a large class is exchanged with a small one even if the model hardly separates them.

    Returns:
        The two classes, or an empty list.
    """
    if not others or not means_are_shares(others):
        return []
    own = _mean_lead(measured)
    rest = np.array([_mean_lead(other) for other in others])
    usual = np.median(rest, axis=0)
    spread = rest.var(axis=0) + (2 * USUAL_DRIFT if len(others) == 1 else USUAL_DRIFT) ** 2
    rows = np.maximum(measured.counts[:, None] + measured.counts, 1)
    squares = measured.lead_squares + measured.lead_squares.T
    drift = (usual - own) / np.sqrt(spread + squares / rows**2)
    agrees = measured.lead + measured.lead.T > 3 * np.sqrt(squares)
    is_swapped = (own < -0.5 * usual) & (drift > DRIFTS_APART) & ~agrees & _fit_exchanged(measured)
    if not is_swapped.any():
        return []
    pair = np.unravel_index(np.where(is_swapped, drift, 0).argmax(), drift.shape)
    return sorted(int(k) for k in pair)


def _fit_exchanged(measured: Agreement) -> npt.NDArray[np.bool_]:
    """Return (K, K): whether two mean probabilities, if exchanged, are close to the shares of the labels."""
    share = measured.counts / measured.examples
    is_near: npt.NDArray[np.bool_] = np.abs(measured.mean_probs[:, None] - share) < MEANS_APART
    return is_near & is_near.T


def _candidates(lead: FloatArray) -> list[_Exchange]:
    """Return the exchanges to test: the cycles of the best assignment of columns, and the worst pair."""
    given, columns = linear_sum_assignment(lead)
    cycles = _cycles(columns)
    pairs = lead + lead.T
    a, b = np.unravel_index(pairs.argmin(), pairs.shape)
    exchanges = [_Exchange(given[cycle], columns[cycle]) for cycle in cycles]
    if len(cycles) > 1:
        all_cycles = np.concatenate(cycles)
        exchanges.insert(0, _Exchange(given[all_cycles], columns[all_cycles]))
    if a != b:
        exchanges.append(_Exchange(np.array([a, b]), np.array([b, a])))
    return exchanges


def _cycles(columns: IntArray) -> list[IntArray]:
    """Return the cycles of a permutation that have at least two members."""
    cycles = []
    is_seen = columns == np.arange(len(columns))
    for start in range(len(columns)):
        cycle = []
        k = start
        while not is_seen[k]:
            is_seen[k] = True
            cycle.append(k)
            k = int(columns[k])
        if cycle:
            cycles.append(np.array(cycle))
    return cycles


def _log_choices(exchange: _Exchange, num_classes: int) -> float:
    """Return an upper bound of the log of the number of exchanges of this many classes."""
    return len(exchange.classes) * math.log(num_classes)


def _sum(folds: Sequence[Agreement], name: str) -> FloatArray:
    total: FloatArray = np.sum([getattr(fold, name) for fold in folds], axis=0)
    return total


def _per_row(folds: Sequence[Agreement]) -> tuple[FloatArray, FloatArray]:
    """Return the (K, K) mean and variance of the lead of one row of each given class."""
    counts = np.maximum(np.sum([fold.counts for fold in folds], axis=0), 1)[:, None]
    mean = _sum(folds, "lead") / counts
    return mean, np.maximum(_sum(folds, "lead_squares") / counts - mean**2, 0) * counts / np.maximum(counts - 1, 1)


def _mean_lead(measured: Agreement) -> FloatArray:
    """Return the (K, K) mean lead of the given class over rows of two classes, not centred."""
    uncentred = measured.lead + measured.counts[:, None] * (measured.mean_probs[:, None] - measured.mean_probs)
    rows = measured.counts[:, None] + measured.counts
    mean: FloatArray = (uncentred + uncentred.T) / np.maximum(rows, 1)
    return mean
