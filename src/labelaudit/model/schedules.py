"""How the learning rate changes over a fit."""

from __future__ import annotations

import math
from collections.abc import Callable

from labelaudit.errors import ConfigError

# From progress in 0 (first step) to 1 (end of training) to a share of the peak learning rate.
Schedule = Callable[[float], float]

# Share of the steps in which one_cycle warms up, and the share of the peak rate at its first step.
_WARM_UP, _START = 0.25, 0.04
# Share of the steps in which triangular warms up.
_RISE = 0.1


def one_cycle(progress: float) -> float:
    """Rise linearly, then fall along a cosine (Smith & Topin, "Super-Convergence", 2018)."""
    if progress < _WARM_UP:
        return _START + (1 - _START) * progress / _WARM_UP
    return cosine((progress - _WARM_UP) / (1 - _WARM_UP))


def cosine(progress: float) -> float:
    """Fall from 1 to 0 along a cosine (Loshchilov & Hutter, "SGDR", ICLR 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def triangular(progress: float) -> float:
    """Rise linearly for a short time, then fall linearly to 0 (as in the speed runs on CIFAR-10)."""
    if progress < _RISE:
        return _START + (1 - _START) * progress / _RISE
    return (1 - progress) / (1 - _RISE)


def constant(progress: float) -> float:
    """Stay at the peak rate."""
    return 1.0


SCHEDULES: dict[str, Schedule] = {
    "one_cycle": one_cycle,
    "triangular": triangular,
    "cosine": cosine,
    "constant": constant,
}


def resolve_schedule(schedule: str | Schedule) -> Schedule:
    """Return the function named `schedule`, or `schedule` itself if it is a function.

    Raises:
        ConfigError: The name is unknown.
    """
    if callable(schedule):
        return schedule
    if schedule not in SCHEDULES:
        raise ConfigError(f"Schedule {schedule!r} is unknown. Use {', '.join(SCHEDULES)} or a function of 0..1.")
    return SCHEDULES[schedule]
