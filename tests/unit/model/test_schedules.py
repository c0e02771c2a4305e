"""Schedules at points known by hand, and within the peak everywhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ConfigError
from labelaudit.model.schedules import SCHEDULES, constant, cosine, one_cycle, resolve_schedule


@pytest.mark.parametrize("name", SCHEDULES)
@given(progress=st.floats(0, 1))
def test_schedules_stay_within_the_peak(name: str, progress: float) -> None:
    assert -1e-12 <= SCHEDULES[name](progress) <= 1


@pytest.mark.parametrize("name", SCHEDULES)
@given(progress=st.floats(0, 0.999))
def test_schedules_are_continuous(name: str, progress: float) -> None:
    assert abs(SCHEDULES[name](progress + 0.001) - SCHEDULES[name](progress)) < 0.011


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "constant"])
def test_schedules_end_at_0(name: str) -> None:
    assert SCHEDULES[name](1.0) == pytest.approx(0, abs=1e-12)


def test_points_known_by_hand() -> None:
    assert [constant(p) for p in (0, 0.3, 1)] == [1, 1, 1]
    assert [cosine(p) for p in (0, 1 / 3, 0.5, 1)] == pytest.approx([1, 0.75, 0.5, 0])
    assert [one_cycle(p) for p in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx([0.04, 0.52, 1, 0.5, 0])


def test_names_are_resolved_and_functions_are_unchanged() -> None:
    assert resolve_schedule("one_cycle") is one_cycle
    assert resolve_schedule(math.sqrt) is math.sqrt
    with pytest.raises(ConfigError, match=r"Schedule 'spiral' is unknown\. Use one_cycle, .* or a function of 0\.\.1"):
        resolve_schedule("spiral")
