"""Finds columns of probabilities that stand in another order than their class names say.

A model's probability of a class is higher, on average, on rows that bear this label than on others. For two
columns exchanged the reverse holds. The statistic is the `lead` of the given class over the one it
would be exchanged with, centred per column, so that a model's liking for one class does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from labelaudit.detection.agreement import Agreement, FloatArray, IntArray

# An exchange must show as a clearly negative lead, whatever the other folds let expect: in standard errors
# of the other folds' rows and of its own, and as a share of the lead that the others show.
MIN_REVERSAL = 3.5
MIN_OWN_REVERSAL = 2.5
MIN_REVERSAL_SHARE = 0.4
# Half-trained networks order classes as their first weights happened to. The other folds are taken as a
# standard only where they agree with the labels at least this well, and an exchange counts only where
# the lead of a row is this many of its standard deviations.
MIN_CORRELATION = 0.3
MIN_EFFECT = 0.25
# A model may like one class more than another fold's model does: two mean probabilities may move by this
# much (standard deviation) from fold to fold, and more where the other folds show more.
USUAL_DRIFT = 0.05
DRIFTS_APART = 8.0
# Mean probabilities of trained models are the shares of the labels, up to this. It tells an exchange from a
# network that fell for one class.
MEANS_APART = 0.15


class _Exchange(NamedTuple):
    classes: IntArray  # (d,) given classes
    columns: IntArray  # (d,) where their probabilities seem to stand


def is_standard(others: Sequence[Agreement]) -> bool:
    """Whether folds agree with the labels well enough to judge another fold's columns by them."""
    return bool(others) and bool(np.median([other.correlation for other in others]) >= MIN_CORRELATION)


def means_are_shares(folds: Sequence[Agreement]) -> bool:
    """Whether mean probabilities are the shares of the labels, as training makes them sooner or later."""
    apart = [np.abs(fold.mean_probs - fold.counts / fold.examples) for fold in folds]
    return bool(np.median(apart, axis=0).max() < MEANS_APART)


def find_permuted(folds: Sequence[Agreement], log_odds: float) -> list[int]:
    """Classes whose columns are exchanged, judged by the labels alone (all folds alike).

    The reversal is measured against its own squares (a self-normalised sum), which keeps to the normal
    tail for any distribution of single rows (Efron, "Student's t-test under symmetry conditions", 1969).

    Returns:
        The classes concerned, or an empty list.
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
    """Classes whose columns are exchanged in one fold, judged by the labels and by the other folds.

    Likelihood ratio of two normal hypotheses, "the lead is what the others show" and "it is the negative of
    that": it needs half the effect that the labels alone would need.

    Returns:
        The classes concerned, or an empty list.
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
    """Two classes whose mean probabilities changed places against the other folds.

    Sees a large class exchanged with a small one also where the model hardly tells them apart.

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
    """(K, K): whether two mean probabilities, exchanged, are the shares of the labels."""
    share = measured.counts / measured.examples
    is_near: npt.NDArray[np.bool_] = np.abs(measured.mean_probs[:, None] - share) < MEANS_APART
    return is_near & is_near.T


def _candidates(lead: FloatArray) -> list[_Exchange]:
    """Exchanges worth a test: the cycles of the best assignment of columns, and the worst pair."""
    given, columns = linear_sum_assignment(lead)
    cycles = _cycles(columns)
    pairs = lead + lead.T
    a, b = np.unravel_index(pairs.argmin(), pairs.shape)
    exchanges = [_Exchange(given[cycle], columns[cycle]) for cycle in cycles]
    if len(cycles) > 1:
        everyone = np.concatenate(cycles)
        exchanges.insert(0, _Exchange(given[everyone], columns[everyone]))
    if a != b:
        exchanges.append(_Exchange(np.array([a, b]), np.array([b, a])))
    return exchanges


def _cycles(columns: IntArray) -> list[IntArray]:
    """Cycles of two or more of a permutation."""
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
    """At least the log of how many exchanges of so many classes there are."""
    return len(exchange.classes) * math.log(num_classes)


def _sum(folds: Sequence[Agreement], name: str) -> FloatArray:
    total: FloatArray = np.sum([getattr(fold, name) for fold in folds], axis=0)
    return total


def _per_row(folds: Sequence[Agreement]) -> tuple[FloatArray, FloatArray]:
    """(K, K) mean and variance of the lead of one row of each given class."""
    counts = np.maximum(np.sum([fold.counts for fold in folds], axis=0), 1)[:, None]
    mean = _sum(folds, "lead") / counts
    return mean, np.maximum(_sum(folds, "lead_squares") / counts - mean**2, 0) * counts / np.maximum(counts - 1, 1)


def _mean_lead(measured: Agreement) -> FloatArray:
    """(K, K) mean lead of the given class over rows of two classes, not centred."""
    uncentred = measured.lead + measured.counts[:, None] * (measured.mean_probs[:, None] - measured.mean_probs)
    rows = measured.counts[:, None] + measured.counts
    mean: FloatArray = (uncentred + uncentred.T) / np.maximum(rows, 1)
    return mean
