"""Tests and limits of a total over strata that were sampled at random without replacement.

A total is tested at the most likely composition of the strata that has it (the constrained maximum of the likelihood);
at this composition the tail probability of the stratified estimate is computed exactly, as a convolution of
hypergeometric distributions. This is the estimated p-value of Lloyd ("Exact p-values for discrete models obtained by
estimation and maximization", Australian & New Zealand Journal of Statistics 50, 2008). With one stratum it is the
hypergeometric twin of Clopper and Pearson's test (Buonaccorsi, "A note on confidence intervals for proportions in
finite populations", The American Statistician 41, 1987). With more strata the coverage is not proved but simulated: see
docs/review.md and the tests.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# A tolerance for rounding errors, so that a probability equal to the tail does not exceed it.
SLACK = 1e-9
# With several strata, a tail is compared with this share of its nominal size. The p-value is estimated, and without
# this reserve the smallest coverage in a simulation of 126 cases was 94.7 % instead of 95.3 %.
TAIL_SHARE = 0.92
# The distribution of an estimate is computed on a grid of this many cells, rounded so that tails become larger.
_CELLS = 2048
# Outcomes more than this many standard deviations (and twice as many rows) from their mean are left out.
_REACH = 7
# Halvings of the range of a multiplier: the rest is far below one row.
_HALVINGS = 45

_IntArray = npt.NDArray[np.int64]
_FloatArray = npt.NDArray[np.float64]


class Tails(NamedTuple):
    """Probabilities of what was seen or something more extreme, each (B,)."""

    at_least: _FloatArray  # of an estimate at least as high
    at_most: _FloatArray  # of an estimate at most as high


def tails(rows: npt.ArrayLike, judged: npt.ArrayLike, counted: npt.ArrayLike, total: npt.ArrayLike) -> Tails:
    """Return the tail probabilities of B samples of H strata if `total` rows count.

    Args:
        rows: (B, H) rows of each stratum.
        judged: (B, H) rows that were drawn and judged, at least 1 in each stratum.
        counted: (B, H) judged rows that count.
        total: (B,) rows that count in all strata together. It must be possible: not fewer than were counted, and
            not so many that judged rows contradict it.
    """
    rows, judged, counted = _samples(rows, judged, counted)
    population = _most_likely(rows, judged, counted, np.asarray(total, np.int64).reshape(-1))
    return _exact_tails(rows, judged, counted, population)


def limits_of_total(
    rows: npt.ArrayLike, judged: npt.ArrayLike, counted: npt.ArrayLike, confidence: float
) -> tuple[_IntArray, _IntArray]:
    """Return the fewest and the most rows that may count, each (B,): totals beyond them are refuted.

    Args:
        rows, judged, counted: (B, H) as for `tails`.
        confidence: Each limit is refuted wrongly with a probability of about (1 - confidence) / 2 at most.
    """
    rows, judged, counted = _samples(rows, judged, counted)
    tail = (1 - confidence) / 2 * (1 if rows.shape[1] == 1 else TAIL_SHARE) + SLACK
    fewest = counted.sum(axis=1)
    most = fewest + (rows - judged).sum(axis=1)
    middle = np.clip(np.rint((rows * counted / judged).sum(axis=1)).astype(np.int64), fewest, most)
    # Both limits are searched at once: the lower ones of B samples, then the upper ones.
    rows, judged, counted = (np.tile(values, (2, 1)) for values in (rows, judged, counted))
    is_upper = np.repeat([False, True], len(middle))
    possible, refuted = np.tile(middle, 2), np.concatenate([fewest - 1, most + 1])
    while (is_open := abs(refuted - possible) > 1).any():
        total = np.where(is_open, (possible + refuted) // 2, possible)
        found = tails(rows, judged, counted, total)
        is_possible = np.where(is_upper, found.at_most, found.at_least) > tail
        possible = np.where(is_open & is_possible, total, possible)
        refuted = np.where(is_open & ~is_possible, total, refuted)
    return possible[: len(middle)], possible[len(middle) :]


def _samples(
    rows: npt.ArrayLike, judged: npt.ArrayLike, counted: npt.ArrayLike
) -> tuple[_IntArray, _IntArray, _IntArray]:
    """Return three (B, H) arrays."""
    arrays = np.broadcast_arrays(*(np.atleast_2d(np.asarray(values, np.int64)) for values in (rows, judged, counted)))
    return arrays[0], arrays[1], arrays[2]


def _most_likely(rows: _IntArray, judged: _IntArray, counted: _IntArray, total: _IntArray) -> _IntArray:
    """Return the (B, H) composition of each total that is most likely, given what was drawn.

    The likelihood is the binomial one, sharpened by the finite population correction. Its maximum under the constraint
    solves a quadratic equation in each stratum for a common multiplier.
    """
    sharper = (rows - 1 + (rows == 1)) / np.maximum(rows - judged, 1e-9)
    least, greatest = counted / rows, 1 - (judged - counted) / rows

    def shares(multiplier: _FloatArray) -> _FloatArray:
        mu = multiplier[:, None] * rows / sharper
        linear = mu + judged
        root = np.sqrt(np.maximum(linear**2 - 4 * mu * counted, 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(linear > 0, 2 * counted / (linear + root), (linear - root) / (2 * mu))
        return np.asarray(np.clip(np.nan_to_num(found), least, greatest))

    # The share falls in the multiplier, which may have any magnitude and sign.
    low, high = np.full(len(total), -40.0), np.full(len(total), 40.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_too_much = (shares(np.sinh(middle)) * rows).sum(axis=1) > total
        low, high = np.where(is_too_much, middle, low), np.where(is_too_much, high, middle)
    exact = shares(np.sinh((low + high) / 2)) * rows
    return _rounded(exact, counted, rows - (judged - counted), total)


def _rounded(exact: _FloatArray, least: _IntArray, greatest: _IntArray, total: _IntArray) -> _IntArray:
    """Return whole numbers with these sums, close to `exact` and within limits."""
    whole = np.clip(np.floor(exact + 1e-9).astype(np.int64), least, greatest)
    fraction = exact - whole
    missing = total - whole.sum(axis=1)
    for number in range(whole.shape[1]):
        # The stratum with the number-th largest fraction takes what it can.
        column = np.argsort(-fraction, axis=1, kind="stable")[:, number, None]
        at = np.take_along_axis(whole, column, axis=1)[:, 0]
        room = np.clip(missing, *(np.take_along_axis(one, column, axis=1)[:, 0] - at for one in (least, greatest)))
        step = np.clip(room, -1, 1)
        np.put_along_axis(whole, column, (at + step)[:, None], axis=1)
        missing = missing - step
    for number in range(whole.shape[1]):
        step = np.clip(missing, least[:, number] - whole[:, number], greatest[:, number] - whole[:, number])
        whole[:, number] += step
        missing = missing - step
    return whole


def _exact_tails(rows: _IntArray, judged: _IntArray, counted: _IntArray, population: _IntArray) -> Tails:
    """Return the tails of the estimated total, the sum of rows / judged times the drawn rows that count."""
    weight = rows / judged
    supports = [_support(*(values[:, h] for values in (rows, judged, population))) for h in range(rows.shape[1])]
    lowest = sum(weight[:, h] * supports[h][0][:, 0] for h in range(rows.shape[1]))
    spread = sum(weight[:, h] * np.ptp(supports[h][0], axis=1) for h in range(rows.shape[1]))
    cell = np.maximum(spread, 1e-9) / (_CELLS - rows.shape[1] - 2)
    transform: npt.NDArray[np.complex128] | None = None
    for h, (drawn, probability) in enumerate(supports):
        place = np.rint((drawn - drawn[:, :1]) * weight[:, h, None] / cell[:, None]).astype(np.int64)
        grid = np.zeros((len(rows), _CELLS))
        np.add.at(grid, (np.arange(len(rows))[:, None], np.minimum(place, _CELLS - 1)), probability)
        one = np.fft.rfft(grid, axis=1)
        transform = one if transform is None else transform * one
    assert transform is not None
    density = np.maximum(np.fft.irfft(transform, n=_CELLS, axis=1), 0)
    seen = ((weight * counted).sum(axis=1) - lowest) / cell
    # Each stratum is rounded by at most half a cell. What was seen belongs to both tails.
    slack = 0.5 * rows.shape[1] + 1e-6
    cells = np.arange(_CELLS)
    at_least = np.where(cells >= (seen - slack)[:, None], density, 0).sum(axis=1)
    at_most = np.where(cells <= (seen + slack)[:, None], density, 0).sum(axis=1)
    return Tails(np.minimum(at_least, 1), np.minimum(at_most, 1))


def _support(rows: _IntArray, judged: _IntArray, population: _IntArray) -> tuple[_IntArray, _FloatArray]:
    """Return the numbers of drawn rows that may count, (B, S), and their hypergeometric probabilities."""
    from scipy.special import gammaln

    fewest, most = np.maximum(0, judged - (rows - population)), np.minimum(judged, population)
    mean = judged * population / rows
    deviation = np.sqrt(mean * (1 - population / rows))
    # What lies further out is too rare to matter, and would make the cells of the grid larger.
    reach = _REACH * deviation + 2 * _REACH
    fewest = np.maximum(fewest, np.floor(mean - reach).astype(np.int64))
    most = np.minimum(most, np.ceil(mean + reach).astype(np.int64))
    drawn = np.minimum(fewest[:, None] + np.arange(int((most - fewest).max()) + 1), most[:, None])
    is_first = np.ones(drawn.shape, bool)
    is_first[:, 1:] = drawn[:, 1:] != drawn[:, :-1]

    def log_choose(n: _IntArray, k: _IntArray) -> _FloatArray:
        found: _FloatArray = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        return found

    n, k, m = rows[:, None], population[:, None], judged[:, None]
    return drawn, np.exp(log_choose(k, drawn) + log_choose(n - k, m - drawn) - log_choose(n, m)) * is_first
