"""How the learning rate changes over a fit."""

from __future__ import annotations

import math
from collections.abc import Callable

from labelaudit.errors import ConfigError

# A share of the peak rate for each point of a fit, from 0 (the first step) to 1 (the end).
Schedule = Callable[[float], float]

# Share of the steps in which one_cycle warms up, and the share of the peak rate that it starts from.
_WARM_UP, _START = 0.25, 0.04
# Share of the steps in which triangular warms up.
_RISE = 0.1


def one_cycle(progress: float) -> float:
    """A linear warm-up, then down along a cosine (Smith & Topin, "Super-Convergence", 2018)."""
    if progress < _WARM_UP:
        return _START + (1 - _START) * progress / _WARM_UP
    return cosine((progress - _WARM_UP) / (1 - _WARM_UP))


def cosine(progress: float) -> float:
    """From 1 down to 0 (Loshchilov & Hutter, "SGDR", ICLR 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def triangular(progress: float) -> float:
    """A short linear warm-up, then down to 0 on a straight line (as in the speed runs on CIFAR-10)."""
    if progress < _RISE:
        return _START + (1 - _START) * progress / _RISE
    return (1 - progress) / (1 - _RISE)


def constant(progress: float) -> float:
    return 1.0


SCHEDULES: dict[str, Schedule] = {
    "one_cycle": one_cycle,
    "triangular": triangular,
    "cosine": cosine,
    "constant": constant,
}


def resolve_schedule(schedule: str | Schedule) -> Schedule:
    """The function that `schedule` names, or `schedule` itself. Raises `ConfigError` for an unknown name."""
    if callable(schedule):
        return schedule
    if schedule not in SCHEDULES:
        raise ConfigError(f"schedule {schedule!r} is unknown: use {', '.join(SCHEDULES)} or a function of 0..1.")
    return SCHEDULES[schedule]
